"""Trains the head for "liked": which values there are to learn from, a first guess, and the loss.

Letters: B segments, L positions, Q segments that are asked, P places asked of each, n events of a past.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from moerec.errors import UsageError
from moerec.evaluation.factorisation import MatrixFactorisation
from moerec.models.events import Events
from moerec.models.liked import joined
from moerec.models.recommender import MoERecommender
from moerec.training.segments import Batch

QUERIES: Final = 128
"""Segments of a step that the head is asked about, at most."""

PLACES: Final = 32
"""Events of a segment that are judged from one place: the next one and random later ones."""

TRUNK_SHARE: Final = 0.1
"""The part of the head's gradient that reaches the encoder."""

FORGOTTEN: Final = 0.1
"""The share of segments without their past values: at serving some histories have none."""

ONE_SIDED: Final = 0.05
"""The middle of the values is no threshold for "liked" where it leaves less than this on a side."""


def value_settings(values: NDArray[np.float32], liked_from: float | None) -> dict[str, float]:
    """What `ModelConfig` has to know of the training events' values; empty without a head.

    There is none where no two values differ. Without `liked_from` an event is liked from the middle of
    the values' range on (3 of 1 to 5), or from their median where the range has long tails. UsageError
    if a given threshold leaves one side empty.
    """
    values = values[np.isfinite(values)]
    if len(values) == 0 or values.min() == values.max():
        if liked_from is not None:
            raise UsageError(
                "the log has no different values, so nothing tells what is liked",
                "Name the column of the ratings with --value, or leave --liked out.",
            )
        return {}
    threshold = _threshold(values) if liked_from is None else liked_from
    share = float((values >= threshold).mean())
    if share in (0.0, 1.0):
        raise UsageError(
            f"{'no' if share == 0 else 'every'} value of the log is {threshold:g} or more",
            f"Choose --liked between its values, {values.min():g} and {values.max():g}.",
        )
    return {
        "uses_values": 1,
        "value_mean": float(values.mean()),
        "value_std": float(values.std()),
        "liked_from": threshold,
    }


def _threshold(values: NDArray[np.float32]) -> float:
    middle = (float(values.min()) + float(values.max())) / 2
    if ONE_SIDED <= (values >= middle).mean() <= 1 - ONE_SIDED:
        return middle
    median = float(np.median(values))
    # A median that is also the least value would call everything liked.
    return median if median > values.min() else float(values[values > median].min())


@torch.no_grad()
def start_liked(
    model: MoERecommender,
    users: NDArray[np.int64],
    items: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Let the head begin as the matrix factorisation of the training events (rows of equal length)."""
    head, config = model.liked, model.config
    if head is None:
        return
    rated = np.isfinite(values) & (items != 0)
    found = MatrixFactorisation(
        users[rated], items[rated], values[rated], config.items, factors=config.taste_dim
    )
    share = float((values[rated] >= config.liked_from).mean())
    head.taste.copy_(torch.as_tensor(found.item_factors))
    head.offset.copy_(torch.as_tensor(found.item_biases))
    head.item_bias.copy_(head.scale * head.offset)
    head.base.fill_(np.log(share / (1 - share)))


def liked_loss(
    model: MoERecommender, batch: Batch, hidden_BLD: Tensor, generator: torch.Generator
) -> Tensor | None:
    """Mean cross entropy of "liked" for the next and for later events; None if no event has a value.

    `hidden_BLD` are the encoder's rows. Everything is judged from what came before the place.
    """
    config, head = model.config, model.liked
    rated_B = (~batch.target_values.isnan()).any(1)
    if head is None or not rated_B.any():
        return None
    device = hidden_BLD.device
    chosen_Q = rated_B.nonzero()[:, 0]
    chosen_Q = chosen_Q[torch.randperm(len(chosen_Q), generator=generator)[:QUERIES].to(device)]
    length_Q1 = (batch.targets[chosen_Q] > 0).sum(1, keepdim=True)
    draws_QP = torch.rand(len(chosen_Q), PLACES + 1, generator=generator).to(device)
    from_Q1 = (draws_QP[:, :1] * length_Q1).long()
    places_QP = from_Q1 + (draws_QP[:, 1:] * (length_Q1 - from_Q1)).long()
    places_QP[:, 0] = from_Q1[:, 0]
    vectors_QD = functional.normalize(hidden_BLD[chosen_Q, from_Q1[:, 0]].float(), dim=1)
    vectors_QD = vectors_QD.detach() + TRUNK_SHARE * (vectors_QD - vectors_QD.detach())
    users_QG = head.user_rows(vectors_QD, _past(batch, chosen_Q, from_Q1))
    targets_QP = batch.targets[chosen_Q].gather(1, places_QP)
    values_QP = batch.target_values[chosen_Q].gather(1, places_QP)
    unit_QPD = functional.normalize(model.embedding.weight.detach()[targets_QP], dim=-1)
    logits_QP = (head.item_rows(targets_QP, unit_QPD) @ users_QG[..., None]).squeeze(2)
    judged_QP = ~values_QP.isnan()
    liked_QP = (values_QP >= config.liked_from).float()
    return functional.binary_cross_entropy_with_logits(logits_QP[judged_QP], liked_QP[judged_QP])


def _past(batch: Batch, chosen_Q: Tensor, from_Q1: Tensor) -> Events:
    """Prefix and inputs of the chosen segments up to the place they are asked from; the rest padding."""
    past = joined(batch.prefix, batch.inputs)
    last_Q1 = batch.prefix.items.shape[1] + from_Q1
    inside_Qn = torch.arange(past.items.shape[1], device=last_Q1.device) <= last_Q1
    return Events(
        past.items[chosen_Q] * inside_Qn,
        past.times[chosen_Q] * inside_Qn,
        past.values[chosen_Q].masked_fill(~inside_Qn, torch.nan),
    )


def without_some_values(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch with the past values of a random `FORGOTTEN` of its segments taken out."""
    forgotten_B1 = torch.rand(len(batch.targets), 1, generator=generator) < FORGOTTEN
    forgotten_B1 = forgotten_B1.to(batch.targets.device)
    inputs, prefix = (
        Events(events.items, events.times, events.values.masked_fill(forgotten_B1, torch.nan))
        for events in (batch.inputs, batch.prefix)
    )
    return Batch(inputs, prefix, batch.targets, batch.target_values)
