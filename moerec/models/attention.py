"""Causal attention over the last W events, biased by distance and, where the log has times, by age.

Letters: B histories, L positions, D width, H heads, C = D / H width of a head, W window,
N blocks of S positions that each look at J positions: its own block and the one before.
There are no absolute positions: a row depends on the W - 1 rows before it and on nothing else, which
is what lets a user's state be extended event by event. The age of an event is the time from it to the
event that looks back, both known when that event is read: no time of a target is used anywhere.
"""

from typing import Any, Final

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
        self.rounds = False
        """Whether keys and values are those of a state that an engine keeps in 8 bits."""
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))
        self.time_bias = nn.Parameter(torch.zeros(heads, TIME_BUCKETS)) if uses_time else None

    def forward(self, x_BLD: Tensor, times_BL: Tensor) -> Tensor:
        """[B, L, D] and times int64 [B, L] in UTC ms -> [B, L, D]."""
        B, L, D = x_BLD.shape
        size = min(self.window, L)
        blocks = -(-L // size)
        padded_BMD = functional.pad(x_BLD, (0, 0, 0, blocks * size - L))
        query_key_value = self.query_key_value(padded_BMD)
        if self.rounds:
            queries, *kept = query_key_value.chunk(3, dim=2)
            query_key_value = torch.cat([queries, *map(in_eight_bits, kept)], dim=2)
        q, k, v = query_key_value.view(B, blocks, size, 3, self.heads, D // self.heads).permute(
            3, 0, 4, 1, 2, 5
        )
        bias = self._bias(functional.pad(times_BL, (0, blocks * size - L)), size)
        mixed_BHNSC = attend(q, _with_previous(k), _with_previous(v), bias)
        mixed_BLD = mixed_BHNSC.permute(0, 2, 3, 1, 4).reshape(B, blocks * size, D)[:, :L]
        out: Tensor = self.output(mixed_BLD)
        return out

    def _bias(self, times_BM: Tensor, size: int) -> Tensor:
        """[H, N, S, J], or [B, H, N, S, J] with times; -inf for the future and beyond the window."""
        M = times_BM.shape[1]
        blocks = M // size
        place_NS = torch.arange(M, device=times_BM.device).view(blocks, size)
        seen_NJ = place_NS
        if blocks > 1:
            seen_NJ = torch.cat([place_NS - size, place_NS], dim=1)
        distance_NSJ = place_NS[:, :, None] - seen_NJ[:, None, :]
        visible_NSJ = (distance_NSJ >= 0) & (distance_NSJ < self.window) & (seen_NJ >= 0)[:, None]
        bias = self.distance_bias[:, distance_NSJ.clamp(0, self.window - 1)]
        if self.time_bias is not None:
            looking_BNS1 = times_BM[:, place_NS][..., None]
            seen_BN1J = times_BM[:, seen_NJ.clamp(min=0)][:, :, None]
            by_age_HBNSJ = self.time_bias[:, age_buckets(looking_BNS1 - seen_BN1J)]
            bias = bias + by_age_HBNSJ.transpose(0, 1)
        return bias.masked_fill(~visible_NSJ, float("-inf"))


def in_eight_bits(x: Tensor) -> Tensor:
    """Each row of `x` rounded to steps of its largest coordinate / 127; a row of zeros stays."""
    step = x.abs().amax(-1, keepdim=True) / 127
    return torch.where(step > 0, (x / step).round() * step, x)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention [..., S, C] over [..., J, C] with an additive bias that has a gradient.

    Products in the type of `q`, softmax in float32.
    """
    out: Tensor = _BiasedAttention.apply(q, k, v, bias)  # type: ignore[no-untyped-call]
    return out


class _BiasedAttention(torch.autograd.Function):
    """What `scaled_dot_product_attention` computes.

    Torch has no fused kernel where the bias is trained; its fallback keeps every intermediate.
    This keeps the probabilities alone, in the reduced type.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's own type lacks what its documentation promises
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor,
    ) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            scale = q.shape[-1] ** -0.5
            weights = torch.softmax((q @ k.mT).float().mul_(scale).add_(bias.float()), -1).to(
                q.dtype
            )
            ctx.save_for_backward(q, k, v, weights)
            ctx.scale, ctx.bias_shape = scale, bias.shape
            return weights @ v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        q, k, v, weights = ctx.saved_tensors
        out = gradients[0].to(q.dtype)
        with torch.autocast(q.device.type, enabled=False):
            from_weights = (out @ v.mT).float()
            # d softmax: p * (g - sum of p * g)
            from_weights -= (from_weights * weights).sum(-1, keepdim=True)
            from_scores = from_weights.mul_(weights)
            bias = from_scores.sum_to_size(ctx.bias_shape)
            from_scores = (from_scores * ctx.scale).to(q.dtype)
            return from_scores @ k, from_scores.mT @ q, weights.mT @ out, bias


def _with_previous(blocks: Tensor) -> Tensor:
    """Each block with the one before it, [B, H, N, S, C] -> [B, H, N, 2S, C]; a lone one stays."""
    if blocks.shape[2] == 1:
        return blocks
    before = functional.pad(blocks[:, :, :-1], (0, 0, 0, 0, 1, 0))
    return torch.cat([before, blocks], dim=3)


def age_buckets(ages: Tensor) -> Tensor:
    """floor(log2(1 + seconds)) of ages in ms, int64; what lies in the future has age 0."""
    seconds = ages.clamp(min=0).float() / 1_000
    # The exponent itself: a logarithm would round up just below a power of two, and not everywhere alike.
    return (torch.frexp(1.0 + seconds).exponent.long() - 1).clamp(max=TIME_BUCKETS - 1)
