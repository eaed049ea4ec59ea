"""From the trained network to the model that is served: transitions beside it, everything calibrated.

network --table of transitions--> model --margins, weight (on validation)--> with "liked" --> bundle
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from moerec.artifacts.bundle import UserSample
from moerec.data.sequences import Histories
from moerec.data.split import HoldOut
from moerec.evaluation.evaluate import Cases, cases, evaluate
from moerec.evaluation.metrics import hit_rate, ndcg
from moerec.evaluation.model_scorer import ModelScorer, encoded
from moerec.models.config import ModelConfig
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender
from moerec.training.calibrate import (
    Encoded,
    TransitionCalibration,
    calibrate_liked,
    calibrate_margins,
)
from moerec.training.liked import with_liked
from moerec.training.loop import Trained
from moerec.training.newcomers import calibrate_newcomers
from moerec.training.transitions import TransitionCounts, TransitionTable

CALIBRATION_USERS: Final = 10_000
"""At most so many users of the validation set decide ..."""

CALIBRATION_SCORES: Final = 200_000_000
"""... and of a catalogue of more than 20,000 items only so many that they have so many scores together, since
they are ranked under twenty mixtures."""

FEWEST_CALIBRATION_USERS: Final = 200

SAMPLED_USERS: Final = 8_192
"""They show an index of items where users are."""

UNVALIDATED_SHARE: Final = 0.3
"""The share of the transitions where nothing is held out to choose it on."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What goes into the bundle: configuration, weights, the figures that were measured on the way, and
    at most `SAMPLED_USERS` users."""

    config: ModelConfig
    weights: dict[str, NDArray[Any]]
    metrics: dict[str, float]
    users: UserSample


def finish(
    trained: Trained,
    histories: Histories,
    held: HoldOut,
    *,
    neighbors: int,
    covisits: float,
    liked_from: float | None,
    device: torch.device,
    seed: int,
) -> Finished:
    """Count transitions of the events that `held` lets train, and calibrate on its validation events.

    Without any, the newest events of the training stand in for the margins, and the share is fixed.
    `covisits` is the share of the table that may go to what the same users visited in any order. The
    head for "liked" is there if `liked_from` says what that is; lists mind it only if validation says so.
    """
    config = replace(trained.config, neighbors=min(neighbors, trained.config.items))
    model = load_model(config.to_dict(), trained.weights | _empty_table(config)).to(device)
    lengths = held.train_lengths.tolist()
    train = [histories.items_of(user)[:length] for user, length in enumerate(lengths)]
    counts = TransitionCounts(train, config.items, config.neighbors)
    held_out = sampled_cases(histories, held, CALIBRATION_USERS, seed)
    everybody = _newest_trained(histories, held, seed) if held_out is None else held_out
    calibrate_margins(model, everybody)
    answers = list(encoded(model, everybody.histories))
    sampled = _some_of(answers, seed)
    deciding = everybody
    if len(everybody) > (most := calibration_users(config.items)):
        deciding = everybody.some(np.arange(most))
        answers = list(encoded(model, deciding.histories))
    if held_out is not None:
        metrics = _choose_transitions(model, counts, deciding, answers, sorted({0.0, covisits}))
    else:
        _place(model, counts.table())
        share = UNVALIDATED_SHARE if config.neighbors else 0.0
        TransitionCalibration(model, deciding, answers).use(share)
        metrics = {"transition_share": share, "covisit_share": 0.0}
    metrics["newcomer_length"] = calibrate_newcomers(model, deciding, answers)
    ranks = None
    if liked_from is not None:
        model = with_liked(model, histories, held.train_lengths, liked_from, seed)
        metrics["liked_weight"] = 0.0
        if held_out is not None:
            metrics["liked_weight"], ranks = calibrate_liked(model, deciding, answers)
    elif held_out is not None:
        ranks = evaluate(ModelScorer(model), deciding, config.items).ranks
    if ranks is not None:
        metrics |= {"validation_ndcg@10": ndcg(ranks, 10), "validation_hr@10": hit_rate(ranks, 10)}
    weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    return Finished(model.config, weights, metrics, sampled)


def calibration_users(items: int) -> int:
    """How many users decide, at most, over a catalogue of so many items.

    >>> calibration_users(3_416), calibration_users(100_000), calibration_users(5_000_000)
    (10000, 2000, 200)
    """
    return min(CALIBRATION_USERS, max(FEWEST_CALIBRATION_USERS, CALIBRATION_SCORES // items))


def _some_of(answers: Encoded, seed: int) -> UserSample:
    vectors_UD = torch.cat([users.vectors for users, _ in answers]).half().cpu().numpy()
    recent_UR = torch.cat([users.recent for users, _ in answers]).int().cpu().numpy()
    chosen = np.random.default_rng(seed).permutation(len(vectors_UD))[:SAMPLED_USERS]
    return UserSample(vectors_UD[chosen], recent_UR[chosen])


def sampled_cases(histories: Histories, held: HoldOut, limit: int, seed: int) -> Cases | None:
    """At most `limit` of the validation events, the same for the same seed; None if there are none."""
    users, places = held.targets("validation")
    if len(users) == 0:
        return None
    chosen = np.random.default_rng(seed).permutation(len(users))[:limit]
    return cases(histories, users[chosen], places[chosen].astype(np.int64))


def _newest_trained(histories: Histories, held: HoldOut, seed: int) -> Cases:
    users = np.flatnonzero(held.train_lengths >= 2)
    chosen = np.random.default_rng(seed).permutation(users)[:CALIBRATION_USERS]
    return cases(histories, chosen, held.train_lengths[chosen].astype(np.int64) - 1)


def _choose_transitions(
    model: MoERecommender,
    counts: TransitionCounts,
    questions: Cases,
    answers: Encoded,
    covisits: Sequence[float],
) -> dict[str, float]:
    """Give the model the table, and the weight of it, that rank `questions` best."""
    if not model.config.neighbors:
        return {"transition_share": 0.0, "covisit_share": 0.0}
    calibration = TransitionCalibration(model, questions, answers)
    found = {}
    for part in covisits:
        _place(model, counts.table(part))
        found[part] = calibration.best()
    best = max(covisits, key=lambda part: found[part][1])
    _place(model, counts.table(best))
    calibration.use(found[best][0])
    return {"transition_share": found[best][0], "covisit_share": best}


def _empty_table(config: ModelConfig) -> dict[str, NDArray[Any]]:
    shape = (config.items + 1, config.neighbors)
    return {
        "transitions.neighbors": np.zeros(shape, np.int32),
        "transitions.chances": np.zeros(shape, np.float32),
    }


def _place(model: MoERecommender, table: TransitionTable) -> None:
    model.transitions.neighbors.copy_(torch.as_tensor(table.items))
    model.transitions.chances.copy_(torch.as_tensor(table.chances))
