"""After the last step: the numbers that are set on validation, not by gradients.

* the margins of the routers, so that in evaluation mode a token wakes the mean number of experts
  that the configuration asks for;
* the weight of the table of transitions beside the network.

Letters: U users, D width, V items, N tokens.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moerec.evaluation import metrics
from moerec.evaluation.evaluate import Cases, rank_targets
from moerec.evaluation.model_scorer import encode
from moerec.models.encoder import Encoder
from moerec.models.recommender import MoERecommender, UserVectors
from moerec.models.router import Router, behind_best

SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Shares of the transitions in the mixture that are tried, 0 being the network alone."""

BATCH: Final = 64

MARGIN_TOKENS: Final = 50_000
"""So many tokens set a router's margin: the mean of k is then known to a third of a per cent."""


def calibrate_margins(model: MoERecommender, questions: Cases) -> None:
    """Set each router's margin so that the mean over all tokens of `questions` is `mean_experts`.

    Layer after layer, since what a layer's tokens are depends on the layers before.
    """
    config = model.config
    if config.min_experts == config.max_experts or not len(questions):
        return
    sample = _some(questions, config.receptive_field)
    for router in _routers(model.encoder):
        seen: list[Tensor] = []
        hook = router.register_forward_hook(_keep_optional_slots(seen))
        for _ in _encoded(model, sample):
            pass
        hook.remove()
        optional = torch.cat(seen)
        wanted = round((config.mean_experts - config.min_experts) * len(optional))
        behind = optional.flatten().sort().values
        margin = behind[min(wanted, len(behind)) - 1] if wanted else behind[0] - 1.0
        router.margin.copy_(margin)


class TransitionCalibration:
    """Finds how much the table of transitions should count: users are encoded once for all tables.

    A share s of the mixture is the weight s / (1 - s) * exp(mean log of the softmax's normaliser):
    one number for all users, so that no answer needs the normaliser, which would read the catalogue.
    """

    def __init__(self, model: MoERecommender, questions: Cases) -> None:
        self._model = model
        self._questions = questions
        with torch.inference_mode():
            self._items_VD = model.item_vectors()
            self._encoded = list(_encoded(model, questions))
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


def _some(questions: Cases, window: int) -> Cases:
    """The first questions that have `MARGIN_TOKENS` tokens, or all."""
    tokens = np.cumsum([min(len(history), window) for history in questions.histories])
    count = int(np.searchsorted(tokens, MARGIN_TOKENS)) + 1
    return Cases(questions.users[:count], questions.histories[:count], questions.targets[:count])


def _encoded(model: MoERecommender, questions: Cases) -> Iterator[tuple[UserVectors, list[int]]]:
    """Users of all questions with a history, batch by batch, with their rows; alike in length."""
    lengths = np.array([len(history) for history in questions.histories])
    order = [row for row in np.argsort(lengths, kind="stable").tolist() if lengths[row]]
    with torch.inference_mode():
        vectors_VD = model.item_vectors()
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield encode(model, [questions.histories[row] for row in rows], vectors_VD), rows


def _routers(encoder: Encoder) -> list[Router]:
    return [module for module in encoder.modules() if isinstance(module, Router)]


def _keep_optional_slots(seen: list[Tensor]) -> Any:  # noqa: ANN401
    def hook(router: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        ranked_NK, _experts = router.rank(router.scores(*inputs[:2]))  # type: ignore[operator]
        seen.append(behind_best(ranked_NK)[:, router.config.min_experts :])  # type: ignore[union-attr]

    return hook
