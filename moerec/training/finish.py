"""From the trained network to the model that is served: transitions beside it, everything calibrated.

network --table of transitions--> model --thresholds, weight (on validation)--> with "liked" --> bundle
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from moerec.data.sequences import Histories
from moerec.data.split import HoldOut
from moerec.evaluation.evaluate import Cases, cases, evaluate
from moerec.evaluation.model_scorer import ModelScorer
from moerec.models.config import ModelConfig
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender
from moerec.training.calibrate import (
    calibrate_liked,
    calibrate_thresholds,
    calibrate_transitions,
)
from moerec.training.liked import with_liked
from moerec.training.loop import Trained
from moerec.training.transitions import transition_table

CALIBRATION_USERS: Final = 10_000
"""At most so many users of the validation set decide."""

UNVALIDATED_SHARE: Final = 0.3
"""The share of the transitions where nothing is held out to choose it on."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What goes into the bundle: configuration, weights, and the figures that were measured on the way."""

    config: ModelConfig
    weights: dict[str, NDArray[Any]]
    metrics: dict[str, float]


def finish(
    trained: Trained,
    histories: Histories,
    held: HoldOut,
    *,
    neighbors: int,
    liked_from: float | None,
    device: torch.device,
    seed: int,
) -> Finished:
    """Count transitions of the events that `held` lets train, and calibrate on its validation events.

    Without any, the newest events of the training stand in for the thresholds, the share is fixed, and
    lists do not mind what is liked. The head for "liked" is there if `liked_from` says what that is.
    """
    config = replace(trained.config, neighbors=min(neighbors, trained.config.items))
    model = _with_transitions(config, trained.weights, histories, held).to(device)
    chosen = sampled_cases(histories, held, CALIBRATION_USERS, seed)
    if chosen is not None:
        calibrate_thresholds(model, chosen)
        metrics = {"transition_share": calibrate_transitions(model, chosen)}
    else:
        trained_on = _newest_trained(histories, held, seed)
        calibrate_thresholds(model, trained_on)
        share = calibrate_transitions(model, trained_on, (UNVALIDATED_SHARE,))
        metrics = {"transition_share": share}
    if liked_from is not None:
        model = with_liked(model, histories, held.train_lengths, liked_from, seed)
        metrics["liked_weight"] = calibrate_liked(model, chosen) if chosen is not None else 0.0
    if chosen is not None:
        summary = evaluate(ModelScorer(model), chosen, config.items).summary
        metrics |= {f"validation_{name}": summary[name] for name in ("ndcg@10", "hr@10")}
    weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    return Finished(model.config, weights, metrics)


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


def _with_transitions(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]],
    histories: Histories,
    held: HoldOut,
) -> MoERecommender:
    lengths = held.train_lengths.tolist()
    train = [histories.items_of(user)[:length] for user, length in enumerate(lengths)]
    items, chances = transition_table(train, config.items, config.neighbors)
    table = {"transitions.neighbors": items, "transitions.chances": chances}
    return load_model(config.to_dict(), weights | table)
