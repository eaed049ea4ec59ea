"""The router's rules, and the controllers that training moves it with."""

import pytest
import torch

from moerec.models.config import ModelConfig
from moerec.models.moe import MoELayer
from moerec.models.router import Router

CONFIG = ModelConfig(items=10, dim=12, heads=2, expert_dim=6)


def tokens(count: int = 200) -> torch.Tensor:
    return torch.randn(count, CONFIG.dim, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def router() -> Router:
    torch.manual_seed(3)
    return Router(CONFIG)


def test_gates_sum_to_one_over_the_active_slots(router: Router) -> None:
    routing = router(tokens(), tokens())
    torch.testing.assert_close(routing.gates_NK.sum(1), torch.ones(200))
    assert (routing.gates_NK[~routing.active_NK] == 0).all()


@pytest.mark.parametrize(("margin", "awake"), [(9.0, 4), (-9.0, 2)])
def test_two_always_four_at_most(router: Router, margin: float, awake: int) -> None:
    router.margin.fill_(margin)
    assert (router(tokens(), tokens()).active_NK.sum(1) == awake).all()


def test_more_experts_wake_where_the_router_is_undecided(router: Router) -> None:
    """The third is awake where it is close to the first, however high both are."""
    routing = router(tokens(), tokens())
    ranked, _ = router.rank(router.scores(tokens(), tokens()))
    behind = ranked[:, 0] - ranked[:, 2]
    third = routing.active_NK[:, 2]
    assert 0 < int(third.sum()) < 200
    assert behind[third].max() <= float(router.margin) < behind[~third].min()


def test_a_masked_expert_is_never_chosen(router: Router) -> None:
    masked = torch.zeros(8, dtype=torch.bool)
    masked[[1, 5]] = True
    assert set(router(tokens(), tokens()).experts_NK.flatten().tolist()) >= {1, 5}
    routing = router(tokens(), tokens(), masked)
    assert not (torch.isin(routing.experts_NK, torch.tensor([1, 5])) & routing.active_NK).any()


def test_the_balance_bias_selects_but_does_not_weigh(router: Router) -> None:
    """With all experts awake the selection cannot differ, so the bias must leave the gates alone."""
    everyone = ModelConfig(
        items=10, dim=12, heads=2, expert_dim=6, min_experts=8, max_experts=8, mean_experts=8
    )
    router = Router(everyone)
    before = router(tokens(), tokens())
    router.balance_bias.copy_(torch.linspace(-0.3, 0.3, 8))
    after = router(tokens(), tokens())
    torch.testing.assert_close(
        torch.zeros(200, 8).scatter(1, after.experts_NK, after.gates_NK),
        torch.zeros(200, 8).scatter(1, before.experts_NK, before.gates_NK),
    )


def test_equal_scores_go_to_the_lower_expert(router: Router) -> None:
    with torch.no_grad():
        router.from_token.weight.zero_()
        router.from_summary.weight.zero_()
    router.margin.fill_(9.0)
    assert router(tokens(5), tokens(5)).experts_NK.tolist() == [[0, 1, 2, 3]] * 5


def test_load_is_accounted_exactly(router: Router) -> None:
    routing = router(tokens(), tokens())
    assert torch.equal(routing.load(8), routing.awake(8).sum(0))
    assert int(routing.load(8).sum()) == int(routing.active_NK.sum())


def test_every_active_slot_reaches_its_expert_and_no_other() -> None:
    """Against the plain definition: the sum over awake experts of gate * expert(token)."""
    torch.manual_seed(0)
    layer = MoELayer(CONFIG)
    layer.router.margin.fill_(0.1)
    x = tokens(50)
    out, routing = layer(x, x)
    for row in range(50):
        expected = torch.zeros(CONFIG.dim)
        for slot in range(4):
            if routing.active_NK[row, slot]:
                expert = int(routing.experts_NK[row, slot])
                gate, up = (x[row] @ layer.experts.gate_up_EDG[expert]).chunk(2)
                hidden = torch.nn.functional.silu(gate) * up
                expected += routing.gates_NK[row, slot] * (hidden @ layer.experts.down_EFD[expert])
        torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-4)


def test_a_masked_expert_never_runs() -> None:
    """Its weights may be broken: nothing of them may reach the answer."""
    torch.manual_seed(0)
    layer = MoELayer(CONFIG)
    with torch.no_grad():
        layer.experts.down_EFD[2].fill_(float("nan"))
    masked = torch.arange(8) == 2
    assert torch.isfinite(layer(tokens(), tokens(), masked)[0]).all()
    assert not torch.isfinite(layer(tokens(), tokens())[0]).all()


def test_steering_evens_the_load_and_meets_the_budget() -> None:
    """From a router that sends everything to one expert, towards fair shares and the mean budget."""
    torch.manual_seed(0)
    layer = MoELayer(CONFIG)
    layer.router.balance_bias[0] = 0.5
    x = tokens(1000)
    assert layer.router(x, x).load(8).max() > 900
    for _ in range(400):
        routing = layer.router(x, x)
        layer.steer(routing.load(8), len(x), rate=5e-3)
    load = layer.router(x, x).load(8).double()
    assert load.max() / load.sum() < 0.17
    assert float(load.sum()) / 1000 == pytest.approx(CONFIG.mean_experts, abs=0.1)
    assert float(layer.router.balance_bias.mean()) == pytest.approx(0.0625, abs=1e-5)


def test_gradients_reach_the_router_through_the_gates() -> None:
    layer = MoELayer(CONFIG)
    layer(tokens(), tokens())[0].square().sum().backward()
    gradient = layer.router.from_token.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
