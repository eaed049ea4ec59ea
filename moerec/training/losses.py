"""Next-item losses: softmax over all items, or over shared negatives.

Letters: N positions with a target, D width, V items, M shared negatives, C positions of a chunk.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_LOGITS: Final = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Logits that are in memory at a time: what the caches of a core hold, or what a GPU likes."""


def full_softmax(
    rows_ND: Tensor, items_VD: Tensor, targets_N: Tensor, temperature: float
) -> Tensor:
    """Mean cross entropy over the whole catalogue; rows and items have length 1, targets are 1..V.

    Under autocast its matrix products run in the reduced type, all sums in float32.
    """
    # Dividing the rows, not the N x V logits, saves a pass over the largest array of a step.
    loss: Tensor = _CatalogueSoftmax.apply(  # type: ignore[no-untyped-call]
        rows_ND / temperature, items_VD[1:], targets_N - 1
    )
    return loss


class _CatalogueSoftmax(torch.autograd.Function):
    """Cross entropy whose N x V logits never exist at once.

    The gradient of a chunk is made while its logits are at hand (as in Liger Kernel, Hsu et al. 2024,
    arXiv:2410.10989): one pass over the catalogue where autograd would keep and read it three times.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's own type lacks what its documentation promises
        rows_ND: Tensor,
        items_VD: Tensor,
        targets_N: Tensor,
    ) -> Tensor:
        N, kind = len(rows_ND), rows_ND.device.type
        reduced = (
            torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        )
        items = items_VD.to(reduced)
        row_gradient, item_gradient = torch.empty_like(rows_ND), torch.zeros_like(items_VD)
        total = torch.zeros((), device=rows_ND.device)
        chunk = max(CHUNK_LOGITS.get(kind, CHUNK_LOGITS["cuda"]) // len(items), 1)
        with torch.autocast(kind, enabled=False):
            for start in range(0, N, chunk):
                rows_CD = rows_ND[start : start + chunk].to(reduced)
                targets_C1 = targets_N[start : start + chunk, None]
                logits_CV = (rows_CD @ items.T).float()
                logits_CV -= logits_CV.amax(1, keepdim=True)
                target_C1 = logits_CV.gather(1, targets_C1)
                normaliser_C1 = logits_CV.exp_().sum(1, keepdim=True)
                total += (normaliser_C1.log() - target_C1).sum()
                # d loss / d logits = softmax - one-hot, over the mean's N
                logits_CV /= normaliser_C1 * N
                logits_CV.scatter_add_(1, targets_C1, torch.full_like(target_C1, -1.0 / N))
                gradient_CV = logits_CV.to(reduced)
                row_gradient[start : start + chunk] = gradient_CV @ items
                item_gradient += gradient_CV.T @ rows_CD
        ctx.save_for_backward(row_gradient, item_gradient)
        return total / N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        row_gradient, item_gradient = ctx.saved_tensors
        return row_gradient * gradients[0], item_gradient * gradients[0], None


def shared_softmax(
    rows_ND: Tensor,
    items_VD: Tensor,
    targets_N: Tensor,
    temperature: float,
    negatives_M: Tensor,
    log_expected_M: Tensor,
) -> Tensor:
    """Mean cross entropy against M negatives that all positions share.

    `log_expected_M` is the log of how often a negative is drawn on average; it is taken off the
    negatives' logits alone, since the positive is not sampled (logQ correction in the form of
    arXiv:2507.09331). A negative that is the target itself does not count.
    """
    rows_ND = rows_ND / temperature
    positive_N1 = (rows_ND * items_VD[targets_N]).sum(1, keepdim=True)
    negative_NM = (rows_ND @ items_VD[negatives_M].T).float() - log_expected_M
    hit_NM = negatives_M[None, :] == targets_N[:, None]
    logits = torch.cat([positive_N1, negative_NM.masked_fill(hit_NM, float("-inf"))], dim=1)
    return functional.cross_entropy(logits, torch.zeros_like(targets_N))
