"""After the last step: the numbers that are set on validation, not by gradients.

* the margins of the routers, so that in evaluation mode a token wakes the mean number of experts
  that the configuration asks for;
* the weight of the table of transitions beside the network;
* how much a list minds what will be liked.

Letters: U users, D width, V items, N tokens.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moerec.evaluation import metrics
from moerec.evaluation.evaluate import Cases, rank_targets, what_leaves
from moerec.evaluation.model_scorer import encoded, flat_events
from moerec.models.encoder import Encoder
from moerec.models.liked import joined
from moerec.models.recommender import MoERecommender, UserVectors, take_out
from moerec.models.router import Router, behind_best

SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Shares of the transitions in the mixture that are tried, 0 being the network alone."""

LIKED_WEIGHTS: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Weights of "liked" in a list that are tried; 1 ranks by P(next) * P(liked)."""

MARGIN_TOKENS: Final = 25_000
"""So many tokens set a router's margin: the mean of k is then known to half a per cent."""

Encoded = list[tuple[UserVectors, list[int]]]
"""What `encoded` yields: of all questions, encoded once for everything that is set with them."""


def calibrate_margins(model: MoERecommender, questions: Cases) -> None:
    """Set each router's margin so that the mean over all tokens of `questions` is `mean_experts`.

    Layer after layer, since what a layer's tokens are depends on the layers before.
    """
    config = model.config
    if config.min_experts == config.max_experts or not len(questions):
        return
    sample = _some(questions, config.receptive_field)
    blocks = model.encoder.blocks
    for place, router in enumerate(_routers(model.encoder)):
        seen: list[Tensor] = []
        hook = router.register_forward_hook(_keep_optional_slots(seen))
        # The layers after it do not matter to it, and need not run.
        model.encoder.blocks = blocks[: place + 1]
        for _ in encoded(model, sample.histories):
            pass
        model.encoder.blocks = blocks
        hook.remove()
        optional = torch.cat(seen)
        wanted = round((config.mean_experts - config.min_experts) * len(optional))
        behind = optional.flatten().sort().values
        margin = behind[min(wanted, len(behind)) - 1] if wanted else behind[0] - 1.0
        router.margin.copy_(margin)


class TransitionCalibration:
    """Finds how much the table of transitions should count; `answers` are the questions, encoded.

    A share s of the mixture is the weight s / (1 - s) * exp(mean log of the softmax's normaliser):
    one number for all users, so that no answer needs the normaliser, which would read the catalogue.
    """

    def __init__(self, model: MoERecommender, questions: Cases, answers: Encoded) -> None:
        self._model = model
        self._questions = questions
        self._encoded = answers
        with torch.inference_mode():
            self._items_VD = model.item_vectors()
            logs = [self._log_normaliser(users) for users, _ in self._encoded]
        self._level = float(torch.cat(logs).mean().exp()) if logs else 0.0

    def best(self, shares: Sequence[float] = SHARES) -> tuple[float, float]:
        """Set the weight of the model's table to the share that ranks best; the share, and NDCG@10."""
        found = self._ndcg(shares)
        best = int(np.argmax(found))
        self.use(shares[best])
        return shares[best], found[best]

    def use(self, share: float) -> None:
        """Set the weight of the model's table to this share, in [0, 1)."""
        self._model.transitions.weight.fill_(self._weight(share))

    def _weight(self, share: float) -> float:
        return share / (1 - share) * self._level

    @torch.inference_mode()
    def _ndcg(self, shares: Sequence[float]) -> list[float]:
        """NDCG@10 of each share. What does not depend on the share is computed once."""
        ranks: list[list[NDArray[np.int64]]] = [[] for _ in shares]
        for users, rows in self._encoded:
            cosines_BV = users.vectors @ self._items_VD.T
            odds_BV = torch.exp(cosines_BV / self._model.config.temperature)
            chance_BV = self._model.transitions.chance(users.recent)
            past = [self._questions.histories[row] for row in rows]
            targets = self._questions.targets[rows]
            for place, share in enumerate(shares):
                mixed_BV = torch.add(odds_BV, chance_BV, alpha=self._weight(share))
                ranks[place].append(rank_targets(mixed_BV.cpu().numpy(), past, targets)[0])
        return [metrics.ndcg(np.concatenate(found), 10) if found else 0.0 for found in ranks]

    def _log_normaliser(self, users: UserVectors) -> Tensor:
        cosines_BV = users.vectors @ self._items_VD[1:].T
        return torch.logsumexp(cosines_BV / self._model.config.temperature, dim=1)


def calibrate_liked(
    model: MoERecommender,
    questions: Cases,
    answers: Encoded,
    weights: Sequence[float] = LIKED_WEIGHTS,
) -> tuple[float, NDArray[np.int64]]:
    """Set the weight of "liked" in lists to the one that ranks `questions` best.

    Returns it, and the rank of each target. 0, and lists by the next item alone, unless another is better.
    `answers` are the questions as encoded by `model`, or by what it was before it had the head.
    """
    head = model.liked
    if head is None:
        raise ValueError("this model has no head to calibrate")
    # No answer, no history: to `evaluate` all items score alike then, and ties count against the model.
    unanswered = np.where(questions.targets != 0, model.config.items, metrics.MISS)
    ranks = {weight: unanswered.copy() for weight in weights}
    with torch.inference_mode():
        items_VD = model.item_vectors()
        for users, rows in answers:
            past = [questions.histories[row] for row in rows]
            windows, prefixes, _ = model.cut(*flat_events(model, past))
            liked_BG = head.user_rows(users.vectors, joined(prefixes, windows))
            scores = model.score(users.vectors, users.recent, items_VD)
            leaving = what_leaves(past, questions.targets[rows])
            take_out(scores, [items.tolist() for items in leaving])
            for weight in weights:
                head.weight.fill_(weight)
                ranked = model.rerank(scores, liked_BG).float().cpu().numpy()
                ranks[weight][rows] = rank_targets(ranked, past, questions.targets[rows])[0]
    best = max(weights, key=lambda weight: metrics.ndcg(ranks[weight], 10))
    head.weight.fill_(best)
    return best, ranks[best]


def _some(questions: Cases, window: int) -> Cases:
    """The first questions that have `MARGIN_TOKENS` tokens, or all."""
    tokens = np.cumsum([min(len(history), window) for history in questions.histories])
    count = int(np.searchsorted(tokens, MARGIN_TOKENS)) + 1
    return Cases(questions.users[:count], questions.histories[:count], questions.targets[:count])


def _routers(encoder: Encoder) -> list[Router]:
    return [module for module in encoder.modules() if isinstance(module, Router)]


def _keep_optional_slots(seen: list[Tensor]) -> Any:  # noqa: ANN401
    def hook(router: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        ranked_NK, _experts = router.rank(router.scores(*inputs[:2]))  # type: ignore[operator]
        seen.append(behind_best(ranked_NK)[:, router.config.min_experts :])  # type: ignore[union-attr]

    return hook
