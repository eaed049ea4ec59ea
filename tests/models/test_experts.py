"""The experts: what is fast without gradients equals what is plain with them."""

import pytest
import torch
from torch.nn import functional

from moerec.models.experts import CACHED, PIECE, Experts, grouped, one_by_one
from moerec.models.router import Routing


@pytest.mark.parametrize("rows", [0, 1, PIECE, 2 * PIECE + 3])
def test_pieces_equal_the_whole(rows: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    hidden = CACHED // PIECE // 4
    experts = Experts(2, 12, hidden)
    x = torch.randn(rows, 12)
    whole = experts.run(1, x)
    gate, up = x @ experts.gate_up_EDG[1, :, :hidden], x @ experts.gate_up_EDG[1, :, hidden:]
    plain = (functional.silu(gate) * up) @ experts.down_EFD[1]
    torch.testing.assert_close(whole, plain, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(experts.run(1, x), plain, atol=1e-5, rtol=1e-5)


def test_the_input_is_left_as_it_was() -> None:
    """The hidden values are overwritten where nobody needs them: the rows themselves never."""
    experts = Experts(1, 8, 1_024)
    x = torch.randn(CACHED // 2_048 + 1, 8)
    before = x.clone()
    with torch.inference_mode():
        experts.run(0, x)
    assert torch.equal(x, before)


def test_sorting_by_expert_changes_neither_sums_nor_gradients() -> None:
    """Against every expert on every token; one expert has nobody."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    experts, x = Experts(5, 6, 7), torch.randn(40, 6, requires_grad=True)
    chosen_NK = torch.rand(40, 4).argsort(dim=1)
    active_NK = torch.arange(4) < torch.randint(1, 5, (40, 1))
    gates_NK = (torch.rand(40, 4) * active_NK).requires_grad_()
    everything = [x, gates_NK, *experts.parameters()]
    found = experts(x, Routing(chosen_NK, gates_NK, active_NK))
    weights_NE = torch.zeros(40, 5).scatter(1, chosen_NK, gates_NK * active_NK)
    plain = sum(weights_NE[:, [expert]] * experts.run(expert, x) for expert in range(5))
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    toward = torch.randn(40, 6)
    gradients = torch.autograd.grad(found, everything, toward)
    expected = torch.autograd.grad(plain, everything, toward)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reduced", [False, True])
def test_the_grouped_product_is_one_expert_after_the_other(reduced: bool) -> None:
    """What a GPU runs, on a processor; values and gradients, in float32 and under autocast."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    experts, rows = Experts(4, 16, 24), torch.randn(30, 16, requires_grad=True)
    everything = [rows, *experts.parameters()]
    load, toward = torch.tensor([11, 0, 18, 1]), torch.randn(30, 16)
    found = []
    for compute in (one_by_one, grouped):
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            out = compute(rows, load, experts.gate_up_EDG, experts.down_EFD).float()
        found.append([out, *torch.autograd.grad(out, everything, toward)])
    near = 0.05 if reduced else 1e-5
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=near, rtol=near)
