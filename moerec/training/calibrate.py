"""After the last step: the numbers that are set on validation, not by gradients.

* the thresholds of the routers, so that in evaluation mode a token wakes the mean number of experts
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
from moerec.evaluation.evaluate import Cases, rank_targets
from moerec.evaluation.model_scorer import encoded
from moerec.models.encoder import Encoder
from moerec.models.recommender import MoERecommender, UserVectors
from moerec.models.router import Router

SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the transitions in the mixture that are tried, 0 being the network alone."""

LIKED_WEIGHTS: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Weights of "liked" in a list that are tried; 1 ranks by P(next) * P(liked)."""

Ranks = NDArray[np.int64]


def calibrate_thresholds(model: MoERecommender, questions: Cases) -> None:
    """Set each router's threshold so that the mean over all tokens of `questions` is `mean_experts`.

    Layer after layer, since what a layer's tokens are depends on the layers before.
    """
    config = model.config
    if config.min_experts == config.max_experts or not len(questions):
        return
    for router in _routers(model.encoder):
        seen: list[Tensor] = []
        hook = router.register_forward_hook(_keep_optional_slots(seen))
        for _ in encoded(model, questions.histories):
            pass
        hook.remove()
        optional = torch.cat(seen)
        wanted = round((config.mean_experts - config.min_experts) * len(optional))
        ranked = optional.flatten().sort(descending=True).values
        threshold = ranked[min(wanted, len(ranked)) - 1] if wanted else ranked[0] + 1.0
        router.threshold.copy_(threshold)


def calibrate_transitions(
    model: MoERecommender, questions: Cases, shares: Sequence[float] = SHARES
) -> float:
    """Set the weight of the transitions to the share that ranks `questions` best; returns the share.

    A share s of the mixture is the weight s / (1 - s) * exp(mean log of the softmax's normaliser):
    one number for all users, so that no answer needs the normaliser, which would read the catalogue.
    """
    if not model.config.neighbors or not len(questions):
        return 0.0
    with torch.inference_mode():
        items_VD = model.item_vectors()
        batches = list(encoded(model, questions.histories, items_VD))
        logs = [_log_normaliser(model, users, items_VD) for users, _ in batches]
        level = float(torch.cat(logs).mean().exp()) if logs else 0.0
    found = {}
    for share in shares:
        model.transitions.weight.fill_(share / (1 - share) * level)
        found[share] = _ndcg(model, batches, questions, items_VD)
    best = max(shares, key=lambda share: found[share])
    model.transitions.weight.fill_(best / (1 - best) * level)
    return best


def calibrate_liked(
    model: MoERecommender, questions: Cases, weights: Sequence[float] = LIKED_WEIGHTS
) -> float:
    """Set the weight of "liked" in lists to the one that ranks `questions` best; returns it.

    0, and lists by the next item alone, unless a weight is better than that.
    """
    if model.liked is None or not len(questions):
        return 0.0
    with torch.inference_mode():
        items_VD = model.item_vectors()
    ranks: dict[float, list[Ranks]] = {weight: [] for weight in weights}
    for users, rows in encoded(model, questions.histories, items_VD):
        past = [questions.histories[row] for row in rows]
        with torch.inference_mode():
            scores = model.score(users.vectors, users.recent, items_VD)
            for weight in weights:
                model.liked.weight.fill_(weight)
                ranked = model.rerank(scores, users.liked).float().cpu().numpy()
                ranks[weight].append(rank_targets(ranked, past, questions.targets[rows])[0])
    none = np.zeros(0, np.int64)
    best = max(weights, key=lambda weight: metrics.ndcg(np.concatenate([*ranks[weight], none]), 10))
    model.liked.weight.fill_(best)
    return best


def _log_normaliser(model: MoERecommender, users: UserVectors, items_VD: Tensor) -> Tensor:
    cosines_BV = users.vectors @ items_VD[1:].T
    return torch.logsumexp(cosines_BV / model.config.temperature, dim=1)


def _ndcg(
    model: MoERecommender,
    batches: Sequence[tuple[UserVectors, list[int]]],
    questions: Cases,
    items_VD: Tensor,
) -> float:
    ranks = []
    for users, rows in batches:
        with torch.inference_mode():
            scores = model.score(users.vectors, users.recent, items_VD).float().cpu().numpy()
        past = [questions.histories[row] for row in rows]
        ranks.append(rank_targets(scores, past, questions.targets[rows])[0])
    return metrics.ndcg(np.concatenate([*ranks, np.zeros(0, np.int64)]), 10) if ranks else 0.0


def _routers(encoder: Encoder) -> list[Router]:
    return [module for module in encoder.modules() if isinstance(module, Router)]


def _keep_optional_slots(seen: list[Tensor]) -> Any:  # noqa: ANN401
    def hook(router: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        ranked_NK, _experts = router.rank(router.scores(*inputs[:2]))  # type: ignore[operator]
        seen.append(ranked_NK[:, router.config.min_experts :])  # type: ignore[union-attr]

    return hook
