"""From a user's vector to a list: over the whole catalogue, or where an index says that its items are.

Letters: B users, V items, D width of a vector, n places of a list. Column 0 of a score matrix is padding
and never comes out.
"""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from moerec.engine.index import no_index
from moerec.engine.kernels.lists import Asked, Table, best_items
from moerec.engine.kernels.nearby import Index
from moerec.engine.kernels.standing import FRESH, GONE, NO_ITEMS, Standing, all_here
from moerec.engine.state import Taste
from moerec.models.config import LAST_ITEMS
from moerec.models.liked import RERANKED, LikedHead
from moerec.models.recommender import MoERecommender, take_out
from moerec.models.transitions import shares

Bools = NDArray[np.bool_]

List = tuple[list[int], list[float]]
"""Item indexes and scores, best first; only items that may be in the list."""


class Retrieval(Protocol):
    """Makes lists of tastes. One thread at a time."""

    def lists(
        self, tastes: Sequence[Taste], excluded: Sequence["array[int]"], sizes: Sequence[int]
    ) -> list[List]:
        """The best `sizes[b]` items of each taste (fewer where there are fewer) without `excluded[b]`."""
        ...

    def see_items(self, items_VD: Tensor, gone_V: Bools, moved: Sequence[int]) -> None:
        """From now on these are the items: those there were, in the same rows, and perhaps more.

        Where `gone_V` [V + 1] is true they are in no list; `moved` are those that came or have another vector
        now.
        """
        ...


class TorchRetrieval:
    """Scores every item by the model's own code, on any device: the reference."""

    def __init__(self, model: MoERecommender, items_VD: Tensor) -> None:
        self._model = model
        self._items = items_VD
        self._gone = torch.zeros(len(items_VD), dtype=torch.bool, device=items_VD.device)

    def see_items(
        self,
        items_VD: Tensor,
        gone_V: Bools,
        moved: Sequence[int],  # noqa: ARG002 - all items are read
    ) -> None:
        """As `Retrieval`."""
        self._items, self._gone = items_VD, torch.from_numpy(gone_V).to(items_VD.device)

    def lists(
        self, tastes: Sequence[Taste], excluded: Sequence["array[int]"], sizes: Sequence[int]
    ) -> list[List]:
        """As `Retrieval`."""
        scores = self._model.score(
            self._here([taste.vector for taste in tastes]),
            self._here([taste.recent for taste in tastes]),
            self._items,
        )
        scores.masked_fill_(self._gone, -torch.inf)
        take_out(scores, [items.tolist() for items in excluded])
        liked = [taste.liked for taste in tastes if taste.liked is not None]
        scores = self._model.rerank(scores, self._here(liked) if liked else None)
        return listed(*top_k(scores, max(sizes)), sizes)

    def _here(self, rows: list[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(self._items.device)


class CompiledRetrieval:
    """Reads all items, or those that `index` names, by compiled kernels. For a CPU."""

    def __init__(self, model: MoERecommender, items_VD: Tensor, index: Index | None = None) -> None:
        self._vectors = np.ascontiguousarray(items_VD.float().numpy())
        self._index = index or no_index(self._vectors.shape[1])
        self._standing = all_here(len(self._vectors) - 1)
        self._temperature = model.config.temperature
        self._liked = model.liked if model.liked is not None and model.liked.weight > 0 else None
        table = model.transitions
        self._table = Table(
            np.ascontiguousarray(table.neighbors.numpy()),
            np.ascontiguousarray(table.chances.numpy()),
            shares(torch.ones(1, LAST_ITEMS, dtype=torch.int64))[0].numpy(),
            np.float32(table.weight.item()),
            np.float32(model.config.temperature),
        )

    @property
    def fresh(self) -> int:
        """So many items the index has not met; without an index there are none."""
        return len(self._standing.fresh_N)

    def see_items(self, items_VD: Tensor, gone_V: Bools, moved: Sequence[int]) -> None:
        """As `Retrieval`."""
        self._vectors = np.ascontiguousarray(items_VD.float().numpy())
        self._stand(gone_V, np.union1d(self._standing.fresh_N, moved))

    def use_index(self, index: Index, gone_V: Bools, moved: Sequence[int]) -> None:
        """Takes another index, of all items but those that came or moved since it was begun."""
        self._index = index
        self._stand(gone_V, np.unique(moved))

    def _stand(self, gone_V: Bools, fresh: NDArray[Any]) -> None:
        fresh_N = fresh.astype(np.int32) if len(self._index.centroids_CD) else NO_ITEMS
        of_V = GONE * gone_V.view(np.int8)
        of_V[fresh_N] = np.maximum(of_V[fresh_N], FRESH)
        self._standing = Standing(of_V, fresh_N)

    def lists(
        self, tastes: Sequence[Taste], excluded: Sequence["array[int]"], sizes: Sequence[int]
    ) -> list[List]:
        """As `Retrieval`."""
        least = RERANKED if self._liked is not None else 1
        left_out = array("i")
        for each in excluded:
            left_out += each
        # Concatenating costs half of what stacking does.
        asked = Asked(
            np.concatenate([taste.vector for taste in tastes]).reshape(len(tastes), -1),
            np.concatenate([taste.recent for taste in tastes]).reshape(len(tastes), -1),
            np.array(left_out, np.int32),
            np.fromiter(accumulate(map(len, excluded)), np.int64, len(tastes)),
            np.minimum(np.maximum(sizes, least), len(self._vectors) - 1),
        )
        width = int(asked.sizes_B.max())
        items = np.zeros((len(tastes), width), np.int64)
        scores = np.full((len(tastes), width), -np.inf, np.float32)
        best_items(self._vectors, self._table, self._index, self._standing, asked, items, scores)
        if self._liked is None:
            return listed(scores, items, sizes)
        liked = np.stack([taste.liked for taste in tastes if taste.liked is not None])
        rows, found, values = map(torch.from_numpy, (liked, items, scores))
        return listed(*reranked(self._liked, values, found, rows, self._temperature), sizes)


def reranked(
    head: LikedHead, scores_Bn: Tensor, items_Bn: Tensor, users_BG: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The lists with their first `RERANKED` places in a new order, as `LikedHead.rerank` gives it."""
    first = min(RERANKED, items_Bn.shape[1])
    bonus_BC = logsigmoid(head.logits(users_BG, items_Bn[:, :first]))
    least_B1 = bonus_BC.masked_fill(scores_Bn[:, :first].isneginf(), torch.inf).amin(
        1, keepdim=True
    )
    raised_BC = scores_Bn[:, :first] + head.weight * temperature * (bonus_BC - least_B1)
    order_BC = raised_BC.sort(dim=1, descending=True, stable=True).indices
    scores_Bn[:, :first] = raised_BC.gather(1, order_BC)
    items_Bn[:, :first] = items_Bn[:, :first].gather(1, order_BC)
    return scores_Bn, items_Bn


def listed(
    values_Bn: Tensor | NDArray[np.float32],
    indexes_Bn: Tensor | NDArray[np.int64],
    sizes: Sequence[int],
) -> list[List]:
    """Each row cut to its size, and to where its items end."""
    kept = (values_Bn > -np.inf).sum(1).tolist()
    rows = zip(indexes_Bn.tolist(), values_Bn.tolist(), map(min, kept, sizes), strict=True)
    return [(items[:end], scores[:end]) for items, scores, end in rows]


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
