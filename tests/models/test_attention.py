"""Blocked attention with its own backward pass, against torch's plain one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moerec.models.attention import TIME_BUCKETS, WindowAttention, age_buckets

WINDOW = 6


def random_attention(uses_time: bool) -> WindowAttention:
    torch.manual_seed(0)
    attention = WindowAttention(16, 2, WINDOW, uses_time=uses_time)
    with torch.no_grad():
        attention.distance_bias.normal_()
        if attention.time_bias is not None:
            attention.time_bias.normal_()
    return attention


def plain(attention: WindowAttention, x: Tensor, times: Tensor) -> Tensor:
    """The definition: all L x L places at once."""
    B, L, D = x.shape
    q, k, v = attention.query_key_value(x).view(B, L, 3, 2, 8).permute(2, 0, 3, 1, 4)
    place = torch.arange(L)
    distance = place[:, None] - place[None]
    bias = attention.distance_bias[:, distance.clamp(0, WINDOW - 1)][None]
    if attention.time_bias is not None:
        ages = times[:, :, None] - times[:, None]
        bias = bias + attention.time_bias[:, age_buckets(ages)].transpose(0, 1)
    bias = bias.masked_fill(~((distance >= 0) & (distance < WINDOW)), float("-inf"))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(B, 2, L, L))
    return attention.output(mixed.transpose(1, 2).reshape(B, L, D))


@pytest.mark.parametrize("uses_time", [False, True])
@pytest.mark.parametrize("length", [1, 3, 6, 7, 12, 20])
def test_values_and_gradients_are_those_of_plain_attention(length: int, uses_time: bool) -> None:
    attention = random_attention(uses_time)
    x = torch.randn(3, length, 16, requires_grad=True)
    times = torch.randint(0, 10**10, (3, length)).sort(1).values
    weight = torch.randn(3, length, 16)
    ours, theirs = attention(x, times), plain(attention, x, times)
    torch.testing.assert_close(ours, theirs)
    inputs = [x, *attention.parameters()]
    for got, expected in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_under_autocast_it_stays_close() -> None:
    attention = random_attention(False)
    x, times = torch.randn(2, 20, 16), torch.zeros(2, 20, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = attention(x, times)
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), attention(x, times), atol=0.03, rtol=0.03)


def test_ages_fall_into_powers_of_two_of_a_second() -> None:
    ages_ms = torch.tensor([-5, 0, 999, 1_000, 2_999, 3_000, 3_600_000, 86_400_000, 10**16])
    assert age_buckets(ages_ms).tolist() == [0, 0, 0, 1, 1, 2, 11, 16, TIME_BUCKETS - 1]
