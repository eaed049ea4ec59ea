"""Exact top-k over item vectors.

Letters: B queries, V items, D width of a vector. Column 0 of a score matrix is padding and never
comes out.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` best columns of each row, best first, ties by lower index.

    The padding of `scores` [B, V+1] is overwritten with -inf. Columns of -inf are in the result where a
    row has fewer than k others. Returns scores and int64 indexes, both [B, min(k, V)].
    """
    scores[:, 0] = -torch.inf
    k = min(k, scores.shape[1] - 1)
    # One place more than asked for shows whether a tie straddles the end of the list.
    values, indexes = scores.topk(k + 1, dim=1)
    straddled = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
    values, indexes = _by_score_then_index(values[:, :k], indexes[:, :k])
    for row in straddled.nonzero().flatten().tolist():
        candidates = (scores[row] >= values[row, -1]).nonzero().flatten()
        ordered = scores[row, candidates].sort(descending=True, stable=True)
        values[row], indexes[row] = ordered.values[:k], candidates[ordered.indices[:k]]
    return values, indexes


def cosine_scores(queries: Tensor, unit_items: Tensor) -> Tensor:
    """Cosines [B, V+1] of `queries` [B, D] with `unit_items` [V+1, D], rows of length 1 (or 0)."""
    return normalize(queries, dim=1) @ unit_items.T


def _by_score_then_index(values: Tensor, indexes: Tensor) -> tuple[Tensor, Tensor]:
    indexes, order = indexes.sort(dim=1)
    values, order_by_score = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, indexes.gather(1, order_by_score)
