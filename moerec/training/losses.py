"""Next-item losses: softmax over all items, or over shared negatives.

Letters: N positions with a target, D width, V items, M shared negatives.
"""

import torch
from torch import Tensor
from torch.nn import functional


def full_softmax(
    rows_ND: Tensor, items_VD: Tensor, targets_N: Tensor, temperature: float
) -> Tensor:
    """Mean cross entropy over the whole catalogue; rows and items have length 1, targets are 1..V."""
    # Dividing the rows, not the N x V logits, saves a pass over the largest array of a step.
    logits_NV = (rows_ND / temperature) @ items_VD[1:].T
    return functional.cross_entropy(logits_NV, targets_N - 1)


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
    negative_NM = rows_ND @ items_VD[negatives_M].T - log_expected_M
    hit_NM = negatives_M[None, :] == targets_N[:, None]
    logits = torch.cat([positive_N1, negative_NM.masked_fill(hit_NM, float("-inf"))], dim=1)
    return functional.cross_entropy(logits, torch.zeros_like(targets_N))
