"""The losses against their definitions."""

import torch
from torch.nn import functional

from moerec.training.losses import CHUNK_LOGITS, full_softmax, shared_softmax
from moerec.training.negatives import NegativeSampler

ITEMS = functional.normalize(torch.randn(21, 6, generator=torch.Generator().manual_seed(0)), dim=1)
ROWS = functional.normalize(torch.randn(9, 6, generator=torch.Generator().manual_seed(1)), dim=1)
TARGETS = torch.tensor([1, 20, 3, 3, 7, 9, 11, 2, 5])
TEMPERATURE = 1 / 14


def test_full_softmax_is_the_mean_negative_log_likelihood() -> None:
    logits = 14.0 * ROWS @ ITEMS[1:].T
    likelihood = torch.softmax(logits, 1)[torch.arange(9), TARGETS - 1]
    torch.testing.assert_close(
        full_softmax(ROWS, ITEMS, TARGETS, TEMPERATURE), -likelihood.log().mean()
    )


def test_a_target_among_the_negatives_does_not_count() -> None:
    negatives = torch.tensor([3, 8])
    loss = shared_softmax(ROWS[2:3], ITEMS, TARGETS[2:3], TEMPERATURE, negatives, torch.zeros(2))
    one = shared_softmax(ROWS[2:3], ITEMS, TARGETS[2:3], TEMPERATURE, negatives[1:], torch.zeros(1))
    torch.testing.assert_close(loss, one)


def test_shared_negatives_estimate_the_full_softmax() -> None:
    """With many draws, correction and all, the sampled loss comes close to the full one."""
    counts = torch.cat([torch.zeros(1), torch.arange(1, 21)])
    generator = torch.Generator().manual_seed(2)
    items, log_expected = NegativeSampler(counts).draw(200_000, generator)
    sampled = shared_softmax(ROWS, ITEMS, TARGETS, TEMPERATURE, items, log_expected)
    full = full_softmax(ROWS, ITEMS, TARGETS, TEMPERATURE)
    torch.testing.assert_close(sampled, full, atol=0.02, rtol=0)


def test_negatives_are_never_padding_and_follow_half_the_popularity() -> None:
    counts = torch.tensor([0.0, 0.0, 100.0, 0.0, 0.0])
    items, log_expected = NegativeSampler(counts).draw(40_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(items, minlength=5) / 40_000
    torch.testing.assert_close(
        shares, torch.tensor([0.0, 0.125, 0.625, 0.125, 0.125]), atol=0.01, rtol=0
    )
    torch.testing.assert_close(log_expected.exp() / 40_000, shares[items], atol=0.01, rtol=0)
    again, _ = NegativeSampler(counts).draw(40_000, torch.Generator().manual_seed(0))
    assert torch.equal(items, again)


def test_chunks_and_their_gradients_are_those_of_the_plain_loss() -> None:
    """Catalogue and batch are large enough for several chunks, the last of them short."""
    generator = torch.Generator().manual_seed(3)
    items = functional.normalize(torch.randn(3_001, 8, generator=generator), dim=1)
    rows = functional.normalize(torch.randn(900, 8, generator=generator), dim=1)
    targets = torch.randint(1, 3_001, (900,), generator=generator)
    assert CHUNK_LOGITS["cpu"] // 3_000 < 900
    rows.requires_grad_()
    items.requires_grad_()
    plain = functional.cross_entropy(14.0 * rows @ items[1:].T, targets - 1)
    ours = full_softmax(rows, items, targets, TEMPERATURE)
    torch.testing.assert_close(ours, plain)
    for got, expected in zip(
        torch.autograd.grad(3.0 * ours, [rows, items]),
        torch.autograd.grad(3.0 * plain, [rows, items]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, atol=1e-7, rtol=1e-4)


def test_the_loss_in_bfloat16_is_close() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        reduced = full_softmax(ROWS, ITEMS, TARGETS, TEMPERATURE)
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(
        reduced, full_softmax(ROWS, ITEMS, TARGETS, TEMPERATURE), atol=0.03, rtol=0.01
    )
