"""The laws of the model: what must hold for any weights, shown on small random ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moerec.models.config import SUMMARY_EVENTS, ModelConfig
from moerec.models.events import Events
from moerec.models.recommender import MoERecommender
from tests.tiny import item_events

CONFIG = ModelConfig(
    items=60,
    dim=16,
    layers=2,
    heads=2,
    window=6,
    expert_dim=8,
    dropout=0.0,
    uses_time=1,
    neighbors=7,
)
NOTHING = item_events(torch.zeros(1, 0, dtype=torch.long))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def random_model(config: ModelConfig = CONFIG, seed: int = 0) -> MoERecommender:
    """Random weights, and routers that are far from indifferent."""
    torch.manual_seed(seed)
    model = MoERecommender(config)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.moe.router.balance_bias.normal_(std=0.1)
            block.attention.distance_bias.normal_()
            block.attention.time_bias.normal_()
            block.attention_gate.weight.normal_()
            block.moe_gate.weight.normal_()
    return model.eval()


def random_items(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, CONFIG.items + 1, shape, generator=generator)


def timed(items: Tensor) -> Events:
    """Events whose gaps are a matter of their items alone: some seconds to some weeks."""
    gaps_ms = 1_000 * 2 ** (items * 7 % 22)
    return Events(items, torch.cumsum(gaps_ms, -1), torch.full(items.shape, torch.nan))


def vectors(model: MoERecommender, histories: list[Tensor]) -> Tensor:
    ends = torch.cumsum(torch.tensor([len(history) for history in histories]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    events = [timed(history) for history in histories]
    flat = Events(
        torch.cat([part.items for part in events]),
        torch.cat([part.times for part in events]),
        torch.cat([part.values for part in events]),
    )
    return model.user_vectors(flat, starts, ends).vectors


@pytest.mark.parametrize("place", [0, 3, 8])
def test_causality_by_gradient(place: int) -> None:
    """A row has no gradient at all with respect to later events, and one to its own."""
    model = random_model()
    x = torch.randn(1, 9, CONFIG.dim, requires_grad=True)
    times = torch.zeros(1, 9, dtype=torch.long)
    valid = torch.ones(1, 9, dtype=torch.bool)
    hidden, _ = model.encoder(x, times, valid, torch.zeros(1, CONFIG.dim))
    (gradient,) = torch.autograd.grad(hidden[0, place].sum(), x)
    assert torch.count_nonzero(gradient[0, place + 1 :]) == 0
    assert torch.count_nonzero(gradient[0, place]) > 0


def test_the_gap_between_events_changes_the_answer() -> None:
    model = random_model()
    items = random_items(1, 9)
    apart, _ = model(timed(items), NOTHING)
    at_once, _ = model(item_events(items), NOTHING)
    assert (apart[0, 1:] - at_once[0, 1:]).abs().amax(1).min() > 1e-4


def test_the_time_of_day_does_not() -> None:
    model = random_model()
    events = timed(random_items(1, 9))
    later = Events(events.items, events.times + 86_400_000, events.values)
    torch.testing.assert_close(model(later, NOTHING)[0], model(events, NOTHING)[0])


def test_attention_reaches_the_window_and_no_further() -> None:
    """In one block a row sees W events; the summary, which sees more, is switched off here."""
    model = random_model()
    attention = model.encoder.blocks[0].attention
    x = torch.randn(1, 12, CONFIG.dim, requires_grad=True)
    times = torch.zeros(1, 12, dtype=torch.long)
    (gradient,) = torch.autograd.grad(attention(x, times)[0, 11].sum(), x)
    reached = (gradient[0].abs().sum(1) > 0).tolist()
    assert reached == [False] * 6 + [True] * CONFIG.window


def test_padding_changes_nothing() -> None:
    model = random_model()
    items = random_items(2, 7)
    padded = torch.cat([items, torch.zeros(2, 5, dtype=torch.long)], dim=1)
    prefix = item_events(torch.zeros(2, 0, dtype=torch.long))
    alone, _ = model(timed(items), prefix)
    among, _ = model(timed(padded), prefix)
    torch.testing.assert_close(among[:, :7], alone)


def test_an_answer_does_not_depend_on_its_batch() -> None:
    model = random_model()
    histories = [random_items(length, seed=length) for length in (1, 4, 11, 30, 200)]
    together = vectors(model, histories)
    alone = torch.cat([vectors(model, [history]) for history in histories])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_what_lies_before_the_reach_changes_nothing() -> None:
    """`user_vectors` may cut a history at `reach`: older events weigh less than rounding."""
    model = random_model()
    recent = random_items(CONFIG.reach)
    longer = torch.cat([random_items(40, seed=9), recent])
    torch.testing.assert_close(
        vectors(model, [longer]), vectors(model, [recent]), atol=1e-6, rtol=0
    )


def test_stream_equals_replay() -> None:
    """The newest row of a growing history is the row that one pass over the whole history has there."""
    model = random_model()
    items = random_items(1, CONFIG.receptive_field + 9)
    hidden, _ = model(timed(items), NOTHING)
    whole = torch.nn.functional.normalize(hidden[0], dim=1)
    for length in range(1, items.shape[1] + 1):
        one = vectors(model, [items[0, :length]])
        torch.testing.assert_close(one[0], whole[length - 1], atol=1e-5, rtol=0)


def test_the_summary_carried_over_equals_the_summary_of_all() -> None:
    model = random_model()
    x = torch.randn(3, 20, CONFIG.dim)
    whole = model.encoder.summaries(x, torch.zeros(3, CONFIG.dim))
    carried = model.encoder.last_summary(x[:, :12])
    torch.testing.assert_close(carried, whole[:, 11])
    torch.testing.assert_close(model.encoder.summaries(x[:, 12:], carried), whole[:, 12:])


def test_the_summary_forgets_within_its_events() -> None:
    assert CONFIG.summary_decay**SUMMARY_EVENTS < 2e-7


def test_the_past_of_a_user_changes_the_routing() -> None:
    """User-specific routing: the same last items after another past wake other experts somewhere."""
    model = random_model(replace(CONFIG, layers=1, window=1))
    with torch.no_grad():
        model.encoder.blocks[0].moe.router.from_summary.weight.mul_(20)
    last = random_items(1)
    pasts = [torch.cat([random_items(30, seed=seed), last]) for seed in range(12)]
    ends = torch.cumsum(torch.tensor([len(past) for past in pasts]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    experts = model.user_vectors(item_events(torch.cat(pasts)), starts, ends).experts[:, 0]
    assert len({tuple(row.tolist()) for row in experts}) > 1


def test_vectors_have_length_one_and_the_padding_none() -> None:
    model = random_model()
    torch.testing.assert_close(vectors(model, [random_items(5)]).norm(dim=1), torch.ones(1))
    lengths = model.item_vectors().norm(dim=1)
    assert lengths[0] == 0
    torch.testing.assert_close(lengths[1:], torch.ones(CONFIG.items))


def test_a_masked_expert_runs_for_those_alone_who_may_have_it() -> None:
    """The experts of half the histories are broken: the other half must not notice, the half neither."""
    model = random_model()
    items = random_items(4, 7)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.moe.experts.down_EFD[3].fill_(float("nan"))
    owner = torch.arange(4).repeat_interleave(7)
    masked = torch.zeros(28, 8, dtype=torch.bool)
    masked[owner < 2, 3] = True
    prefix = item_events(torch.zeros(4, 0, dtype=torch.long))
    hidden, routings = model(timed(items), prefix, [masked, masked])
    assert torch.isfinite(hidden[:2]).all()
    assert not torch.isfinite(hidden[2:]).all()
    for routing in routings:
        assert not routing.awake(8)[owner < 2, 3].any()
        assert int(routing.active_NK.sum(1).min()) >= 2


def test_one_expert_is_a_dense_model() -> None:
    """Two equal experts of a sparse model are the one of a dense model, whatever the router says; and
    what lies before the reach feeds nothing."""
    sparse = random_model(replace(CONFIG, experts=2, max_experts=2, mean_experts=2.0), seed=4)
    dense = MoERecommender(CONFIG.dense(CONFIG.expert_dim)).eval()
    with torch.no_grad():
        for block in sparse.encoder.blocks:
            for weights in block.moe.experts.parameters():
                weights[1] = weights[0]
    shared = {
        name: tensor[:1] if ".experts." in name else tensor
        for name, tensor in sparse.state_dict().items()
        if ".router." not in name and "summary_norm" not in name
    }
    dense.load_state_dict(shared)
    items, prefix = random_items(2, 9), item_events(random_items(2, 5, seed=2))
    with torch.inference_mode():
        expected, _ = sparse(timed(items), prefix)
        hidden, routings = dense(timed(items), prefix)
        alone, _ = dense(timed(items), item_events(torch.zeros(2, 0, dtype=torch.long)))
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(hidden, alone)
    assert routings[0].load(1).tolist() == [18]
    assert routings[0].awake(1).all()
    assert dense.config.reach == dense.config.receptive_field


def test_routing_is_in_float32_under_autocast() -> None:
    """bfloat16 rounds two scores to one and flips the choice between them."""
    model = random_model()
    x = torch.randn(50, CONFIG.dim)
    router = model.encoder.blocks[0].moe.router
    with torch.autocast("cpu", torch.bfloat16):
        reduced = router.scores(x, x)
    assert torch.equal(reduced, router.scores(x, x))


def test_experts_of_the_newest_event_are_reported() -> None:
    """The row reported for each history is the routing of its own last event, not of a neighbour's."""
    model = random_model()
    histories = [random_items(length, seed=length) for length in (3, 40, 8)]
    ends = torch.cumsum(torch.tensor([len(history) for history in histories]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    together = model.user_vectors(item_events(torch.cat(histories)), starts, ends).experts
    for row, history in enumerate(histories):
        alone = model.user_vectors(
            item_events(history), torch.tensor([0]), torch.tensor([len(history)])
        ).experts
        assert torch.equal(together[row], alone[0])
    counts = together.sum(-1)
    assert int(counts.min()) >= CONFIG.min_experts
    assert int(counts.max()) <= CONFIG.max_experts
