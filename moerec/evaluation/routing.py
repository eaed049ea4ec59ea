"""How the experts are used over a whole test set: load, k against difficulty, specialisation.

Every token counts that the model routes when it scores the histories: the last R events of each
(`ModelConfig.receptive_field`). Letters: L layers, E experts, B histories of a batch, T events of the
longest, N tokens, D width, V items (row 0 is the padding), K most experts a token wakes, P places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from moerec.data.sequences import History
from moerec.evaluation.buckets import Buckets
from moerec.evaluation.difficulty import Difficulty, difficulty
from moerec.evaluation.evaluate import Cases
from moerec.evaluation.model_scorer import flat_events
from moerec.evaluation.specialisation import Specialisation, by_category, by_popularity
from moerec.models.recommender import MoERecommender
from moerec.models.router import Routing
from moerec.types import PADDING

BATCH: Final = 64
LOGITS: Final = 1 << 23
"""Most logits held at once: 32 MiB."""

PLACES: Final = Buckets((1, 2, 3, 6, 11, 21, 51, 101, 201))
"""Where in its history an event stands, from 1."""

LARGEST_FAIR_SHARE: Final = 0.25
"""More of a layer's work than this and an expert is overloaded."""


@dataclass(frozen=True, slots=True)
class RoutingReport:
    """Counts over `tokens` routed tokens, the same number in each layer.

    * `load_LE` int64: tokens that each expert ran for;
    * `k_counts_LK` int64 [L, K + 1]: tokens that woke 0 .. K experts;
    * `difficulty` over events that a next one follows within the history, `held_out` over the newest
      ones, whose next is the target. A model has seen most of the former in training.
    """

    tokens: int
    load_LE: NDArray[np.int64]
    k_counts_LK: NDArray[np.int64]
    difficulty: Difficulty
    held_out: Difficulty
    specialisations: list[Specialisation]

    @property
    def shares_LE(self) -> NDArray[np.float64]:
        """Each expert's share of its layer's work; 1 / E is even."""
        shares_LE: NDArray[np.float64] = self.load_LE / self.load_LE.sum(axis=1, keepdims=True)
        return shares_LE

    @property
    def dead(self) -> list[tuple[int, int]]:
        """(layer, expert), both from 1, of each expert that ran for no token."""
        return [
            (int(layer) + 1, int(expert) + 1) for layer, expert in np.argwhere(self.load_LE == 0)
        ]

    @property
    def mean_k_L(self) -> NDArray[np.float64]:
        """Mean number of experts a token woke in each layer."""
        mean_k_L: NDArray[np.float64] = self.load_LE.sum(axis=1) / self.tokens
        return mean_k_L

    def to_dict(self) -> dict[str, Any]:
        """For JSON; lists by layer, then by expert or k."""
        return {
            "tokens": self.tokens,
            "load": self.load_LE.tolist(),
            "share": self.shares_LE.tolist(),
            "largest_share": float(self.shares_LE.max()),
            "dead_experts": [{"layer": layer, "expert": expert} for layer, expert in self.dead],
            "mean_experts_by_layer": self.mean_k_L.tolist(),
            "mean_experts": float(self.mean_k_L.mean()),
            "tokens_by_experts_awake": self.k_counts_LK.tolist(),
            "difficulty": self.difficulty.to_dict(),
            "difficulty_held_out": self.held_out.to_dict(),
            "specialisation": [table.to_dict() for table in self.specialisations],
        }


def measure_routing(
    model: MoERecommender,
    questions: Cases,
    categories: Sequence[Sequence[str]],
    train_counts: NDArray[np.int64],
    *,
    on_progress: Callable[[int], None] = lambda _users: None,
) -> RoutingReport | None:
    """Route every history of `questions`; None if none has a known item.

    `categories[i]` and `train_counts[i + 1]` (training events) belong to the item of index i + 1.
    `on_progress` gets the number of users of each finished batch.
    """
    tally = _Tally(model)
    order = [row for row, history in enumerate(questions.histories) if len(history)]
    # Neighbours in length share a batch, so that little of it is padding.
    order.sort(key=lambda row: len(questions.histories[row]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        tally.add([questions.histories[row] for row in rows], questions.targets[rows])
        on_progress(len(rows))
    return tally.report(categories, train_counts) if order else None


class _Tally:
    """Sums over batches. What is kept for each token is its loss and how many experts it woke."""

    def __init__(self, model: MoERecommender) -> None:
        self._model = model.eval()
        with torch.inference_mode():
            self._item_vectors = model.item_vectors()
        config = model.config
        self._awake_LVE = np.zeros((config.layers, config.items + 1, config.experts), np.int64)
        self._awake_LPE = np.zeros((config.layers, len(PLACES), config.experts), np.int64)
        self._tokens_V = np.zeros(config.items + 1, np.int64)
        self._tokens_P = np.zeros(len(PLACES), np.int64)
        self._k: list[NDArray[np.int8]] = []
        self._loss: list[NDArray[np.float32]] = []
        self._newest: list[NDArray[np.bool_]] = []

    @torch.inference_mode()
    def add(self, histories: Sequence[History], targets_B: NDArray[np.int32]) -> None:
        """Histories that are not empty, and what came next (0: not in the catalogue)."""
        hidden_ND, routings = _encode(self._model, histories, self._item_vectors)
        windows = [history[-self._model.config.receptive_field :] for history in histories]
        items_N = np.concatenate([window.items for window in windows])
        newest_N = np.zeros(len(items_N), dtype=np.bool_)
        newest_N[np.cumsum([len(window) for window in windows]) - 1] = True
        next_N = np.append(items_N[1:], 0)
        next_N[newest_N] = targets_B
        places_N = PLACES.of(
            np.concatenate([_places(*both) for both in zip(histories, windows, strict=True)])
        )
        awake_LNE = [
            routing.awake(self._model.config.experts).cpu().numpy() for routing in routings
        ]
        for layer, awake_NE in enumerate(awake_LNE):
            for expert, awake_N in enumerate(awake_NE.T):
                self._awake_LVE[layer, :, expert] += _count(items_N[awake_N], self._tokens_V)
                self._awake_LPE[layer, :, expert] += _count(places_N[awake_N], self._tokens_P)
        self._tokens_V += _count(items_N, self._tokens_V)
        self._tokens_P += _count(places_N, self._tokens_P)
        self._k.append(np.stack([awake_NE.sum(axis=1) for awake_NE in awake_LNE]).astype(np.int8))
        self._loss.append(self._losses(hidden_ND, next_N))
        self._newest.append(newest_N)

    def _losses(self, hidden_ND: Tensor, next_N: NDArray[np.int32]) -> NDArray[np.float32]:
        """Cross entropy of the true next item over the whole catalogue, in nats; NaN where it is 0.

        The network's own, without the table of transitions: the router has no part in that one.
        """
        rows_ND = functional.normalize(hidden_ND.float(), dim=1) / self._model.config.temperature
        losses_N = np.full(len(next_N), np.nan, dtype=np.float32)
        asked = np.flatnonzero(next_N)
        step = max(LOGITS // len(self._item_vectors), 1)
        for start in range(0, len(asked), step):
            chosen = asked[start : start + step]
            logits_NV = rows_ND[chosen] @ self._item_vectors[1:].T
            targets_N = torch.as_tensor(next_N[chosen].astype(np.int64) - 1).to(logits_NV.device)
            losses = functional.cross_entropy(logits_NV, targets_N, reduction="none")
            losses_N[chosen] = losses.cpu().numpy()
        return losses_N

    def report(
        self, categories: Sequence[Sequence[str]], train_counts: NDArray[np.int64]
    ) -> RoutingReport:
        tokens = int(self._tokens_V.sum())
        load_LE = self._awake_LVE.sum(axis=1)
        rate_LE = load_LE / tokens
        k_LN = np.concatenate(self._k, axis=1)
        loss_N = np.concatenate(self._loss)
        newest_N = np.concatenate(self._newest)
        known_N = ~np.isnan(loss_N)
        inner_N, last_N = known_N & ~newest_N, known_N & newest_N
        most = self._model.config.max_experts
        tables = [
            by_category(categories, self._tokens_V, self._awake_LVE, rate_LE),
            by_popularity(train_counts, self._tokens_V, self._awake_LVE, rate_LE),
            Specialisation(
                "position in history", PLACES.labels, self._tokens_P, self._awake_LPE, rate_LE
            ),
        ]
        return RoutingReport(
            tokens=tokens,
            load_LE=load_LE,
            k_counts_LK=np.stack([np.bincount(k_N, minlength=most + 1) for k_N in k_LN]),
            difficulty=difficulty(k_LN[:, inner_N], loss_N[inner_N]),
            held_out=difficulty(k_LN[:, last_N], loss_N[last_N]),
            specialisations=[table for table in tables if table is not None],
        )


def _encode(
    model: MoERecommender, histories: Sequence[History], vectors_VD: Tensor
) -> tuple[Tensor, list[Routing]]:
    """Hidden rows [N, D] of each history's last R events, history after history, and their routing.

    The one place that calls the model; it reads what `MoERecommender.user_vectors` reads.
    """
    windows_BT, prefixes_BP, _ = model.cut(*flat_events(model, histories))
    hidden_BTD, routings = model(windows_BT, prefixes_BP, vectors_VD=vectors_VD)
    return hidden_BTD[windows_BT.items != PADDING], routings


def _places(history: History, window: History) -> NDArray[np.int64]:
    """Places of the window's events in the history, from 1."""
    return np.arange(len(history) - len(window), len(history)) + 1


def _count(values: NDArray[np.integer], like: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(values, minlength=len(like))
