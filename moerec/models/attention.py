"""Causal attention over the last W events, biased by distance and, where the log has times, by age.

Letters: B histories, L positions, D width, H heads, C = D / H width of a head, W window.
There are no absolute positions: a row depends on the W - 1 rows before it and on nothing else, which
is what lets a user's state be extended event by event. The age of an event is the time from it to the
event that looks back, both known when that event is read: no time of a target is used anywhere.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

TIME_BUCKETS: Final = 32
"""Ages in powers of two of a second: bucket 0 is under a second, 31 is 34 years and more."""


class WindowAttention(nn.Module):
    """Multi-head softmax attention, position t looking at t - W + 1 .. t.

    Each head adds a learned bias for the distance t - j (Shaw et al. 2018, arXiv:1803.02155, as one
    number a distance) and, with `uses_time`, one for log2 of the age tau_t - tau_j (the relative
    time bias of HSTU, Zhai et al. 2024, arXiv:2402.17152, without the time of the target).
    Rows are right-padded: padding comes after a history's last event, so causality alone hides it.
    """

    def __init__(self, dim: int, heads: int, window: int, *, uses_time: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))
        self.time_bias = nn.Parameter(torch.zeros(heads, TIME_BUCKETS)) if uses_time else None

    def forward(self, x_BLD: Tensor, times_BL: Tensor) -> Tensor:
        """[B, L, D] and times int64 [B, L] in UTC ms -> [B, L, D]."""
        B, L, D = x_BLD.shape
        q_BHLC, k_BHLC, v_BHLC = (
            self.query_key_value(x_BLD)
            .view(B, L, 3, self.heads, D // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed_BHLC = functional.scaled_dot_product_attention(
            q_BHLC,
            k_BHLC,
            v_BHLC,
            attn_mask=self._bias(times_BL).to(q_BHLC.dtype),
        )
        out: Tensor = self.output(mixed_BHLC.transpose(1, 2).reshape(B, L, D))
        return out

    def _bias(self, times_BL: Tensor) -> Tensor:
        """[H, L, L], or [B, H, L, L] with times; -inf for the future and beyond the window."""
        place_L = torch.arange(times_BL.shape[1], device=times_BL.device)
        distance_LL = place_L[:, None] - place_L[None, :]
        visible_LL = (distance_LL >= 0) & (distance_LL < self.window)
        bias = self.distance_bias[:, distance_LL.clamp(0, self.window - 1)]
        if self.time_bias is not None:
            bias = bias + self.time_bias[:, age_buckets(times_BL)].transpose(0, 1)
        return bias.masked_fill(~visible_LL, float("-inf"))


def age_buckets(times_BL: Tensor) -> Tensor:
    """floor(log2(1 + seconds from event j to event t)), int64 [B, L, L]; the future has age 0."""
    age_BLL = (times_BL[:, :, None] - times_BL[:, None, :]).clamp(min=0)
    return torch.log2(1.0 + age_BLL.float() / 1_000).long().clamp(max=TIME_BUCKETS - 1)
