"""Causal attention over the last W events, with a learned bias for each distance.

Letters: B histories, L positions, D width, H heads, C = D / H width of a head, W window.
There are no absolute positions: a row depends on the W - 1 rows before it and on nothing else, which
is what lets a user's state be extended event by event.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class WindowAttention(nn.Module):
    """Multi-head softmax attention, position t looking at t - W + 1 .. t.

    Rows are right-padded: padding comes after a history's last event, so causality alone hides it.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))

    def forward(self, x_BLD: Tensor, times_BL: Tensor) -> Tensor:  # noqa: ARG002 - not read yet
        """[B, L, D] -> [B, L, D]; `times_BL` int64, UTC ms."""
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
            attn_mask=self._bias(L).to(x_BLD.dtype),
        )
        out: Tensor = self.output(mixed_BHLC.transpose(1, 2).reshape(B, L, D))
        return out

    def _bias(self, length: int) -> Tensor:
        """[H, L, L]: the bias of each distance, -inf for the future and beyond the window."""
        place_L = torch.arange(length, device=self.distance_bias.device)
        distance_LL = place_L[:, None] - place_L[None, :]
        visible_LL = (distance_LL >= 0) & (distance_LL < self.window)
        bias_HLL = self.distance_bias[:, distance_LL.clamp(0, self.window - 1)]
        return bias_HLL.masked_fill(~visible_LL, float("-inf"))
