"""The head for "liked", learned after the network from the values of the training events.

what is liked --> factor analyses of all but each user's newest events
             --> how much each part counts, by logistic regression on those newest ones
             --> factor analyses of all events, with the same weights

Letters: U users, B users of a batch, n events of a past, V items, D width, F factors, M judged events.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.data.sequences import Histories, History
from moerec.errors import UsageError
from moerec.evaluation.model_scorer import encoded, flat_events
from moerec.models.config import ModelConfig
from moerec.models.events import Events
from moerec.models.liked import HABITS, LikedHead, joined
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender
from moerec.training.factors import Marks, fit_factors
from moerec.training.logistic import logistic_regression

FACTORS: Final = 16
LEARNING_USERS: Final = 30_000
"""At most so many users with values teach the head, chosen by the seed."""

NEWEST_SHARE: Final = 0.1
"""The share of a user's training events on which the parts of the head are weighed."""

LEAST_JUDGED: Final = 100
"""With fewer events to weigh the parts on, the expected value alone counts."""

VALUES_ALONE: Final = 1.6
"""A logit is about so many standard deviations of a normal distribution."""

ONE_SIDED: Final = 0.05
"""The middle of the values is no threshold where it leaves less than this share on a side."""

ITEM_SHRINKAGE: Final = 5.0
BATCH: Final = 256

Floats = NDArray[np.float32]


def train_values(histories: Histories, train_lengths: NDArray[np.int32]) -> Floats:
    """The values of the first `train_lengths[u]` events of each user, without those that have none."""
    if np.isnan(histories.values).all():
        return np.zeros(0, np.float32)
    begins = histories.offsets[:-1].tolist()
    parts = [
        histories.values[begin : begin + length]
        for begin, length in zip(begins, train_lengths.tolist(), strict=True)
    ]
    values = np.concatenate(parts)
    trained: Floats = values[~np.isnan(values)]
    return trained


def liked_threshold(values: Floats, given: float | None) -> float | None:
    """The least value that counts as liked; None where values do not differ, so that nothing does.

    `values` are those of the training events. Without a `given` one it is the middle of
    their range (3 for 1 to 5, 0.5 for 0 to 1), or their median where that leaves under 5 % on a side.
    UsageError for a given one that leaves a side empty.
    """
    if len(values) == 0 or values.min() == values.max():
        if given is not None:
            raise UsageError(
                "the events of this log have no different values, so nothing tells what is liked",
                "Name the column of the ratings with --value, or leave --liked out.",
            )
        return None
    if given is None:
        return _middle(values)
    share = float((values >= given).mean())
    if share in (0.0, 1.0):
        raise UsageError(
            f"{'no' if share == 0 else 'every'} value of the log's training events is {given:g} or more",
            f"Choose --liked above {values.min():g} and up to {values.max():g}.",
        )
    return given


def with_liked(
    model: MoERecommender,
    histories: Histories,
    train_lengths: NDArray[np.int32],
    liked_from: float,
    seed: int,
    limit: int = LEARNING_USERS,
) -> MoERecommender:
    """The model and the head, learned from the first `train_lengths[u]` events of each user."""
    config = replace(model.config, liked_factors=FACTORS, liked_from=liked_from)
    raters = _raters(histories, train_lengths)
    users = np.random.default_rng(seed).permutation(raters)[:limit]
    past = [histories.history_of(user)[: train_lengths[user]].known() for user in np.sort(users)]
    cuts = [len(one) - int(np.ceil(NEWEST_SHARE * len(one))) for one in past]
    earlier = [one[:cut] for one, cut in zip(past, cuts, strict=True)]
    newest = [one[cut:] for one, cut in zip(past, cuts, strict=True)]
    weights = _VALUES_ALONE
    if any(not np.isnan(one.values).all() for one in earlier):
        weights = _weigh(model, _learn(model, config, earlier, seed), newest)
    final = _learn(model, config, past, seed)
    _set_weights(final, weights)
    head = {f"liked.{name}": tensor for name, tensor in final.head.state_dict().items()}
    device = next(model.parameters()).device
    return load_model(config.to_dict(), {**model.state_dict(), **head}, device)


@dataclass(frozen=True, slots=True)
class _Learned:
    """A head whose parts are not weighed yet, and what it was learned from.

    `item_parts` [V + 1, 3]: what an item adds to the expected value, to the likes, and how liked it is.
    `vectors` [U, D] are the encoder's after each of the U histories `past`, 0 after an empty one.
    """

    head: LikedHead
    item_parts: Tensor
    past: list[History]
    vectors: Tensor


@dataclass(frozen=True, slots=True)
class _Weights:
    """`parts` [3] as in `_Learned.item_parts`, `habits` [4] as in `LikedHead.habits`."""

    parts: Tensor
    habits: Tensor
    base: float


_VALUES_ALONE: Final = _Weights(torch.tensor([VALUES_ALONE, 0.0, 0.0]), torch.zeros(HABITS), 0.0)


def _raters(histories: Histories, train_lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """The users (row numbers, ascending) of whom a training event has a value."""
    rated = np.concatenate([[0], np.cumsum(~np.isnan(histories.values))])
    begins = histories.offsets[:-1]
    return np.flatnonzero(rated[begins + train_lengths] > rated[begins])


def _learn(model: MoERecommender, config: ModelConfig, past: list[History], seed: int) -> _Learned:
    """From the values in the users' histories. The weights of the parts are 1, of habits 0."""
    rated = [one[~np.isnan(one.values)] for one in past]
    users = np.repeat(np.arange(len(rated)), [len(one) for one in rated])
    items = np.concatenate([one.items for one in rated])
    values = np.concatenate([one.values for one in rated])
    likes = (values >= config.liked_from).astype(np.float32)
    with torch.inference_mode():
        item_vectors = model.item_vectors()
    vectors = np.zeros((len(past), config.dim), np.float32)
    for found, rows in encoded(model, past, item_vectors):
        vectors[rows] = found.vectors.cpu().numpy()
    head = LikedHead(config)
    for part, marks in ((head.values, values), (head.likes, likes)):
        given = Marks(users, items, marks)
        arrays = fit_factors(given, vectors, item_vectors.cpu().numpy(), config.liked_factors, seed)
        part.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
    head.mix.fill_(1.0)
    squares = (values - values.mean()) ** 2
    head.typical.copy_(torch.tensor([values.mean(), squares.mean(), likes.mean()]))
    # Between the greatest value that is not liked and the least that is.
    below = values[values < config.liked_from]
    threshold = (config.liked_from + float(below.max() if len(below) else config.liked_from)) / 2
    item_parts = [
        head.values.means - threshold * head.values.precision,
        head.likes.means - 0.5 * head.likes.precision,
        torch.as_tensor(_log_odds(items, likes, config.items)),
    ]
    return _Learned(head, torch.stack(item_parts, dim=1), past, torch.as_tensor(vectors))


def _log_odds(items: NDArray[np.int32], likes: Floats, catalogue: int) -> Floats:
    """How liked each item is in general, [V + 1]."""
    typical = (likes.sum() + 1) / (len(likes) + 2)
    counts = np.bincount(items, minlength=catalogue + 1) + ITEM_SHRINKAGE
    share = (np.bincount(items, likes, catalogue + 1) + ITEM_SHRINKAGE * typical) / counts
    return np.asarray(np.log(share / (1 - share)), dtype=np.float32)


@torch.no_grad()
def _weigh(model: MoERecommender, learned: _Learned, newest: list[History]) -> _Weights:
    """By what the parts say of the values that came after the histories they were learned from."""
    inputs, outcomes = [], []
    head, F = learned.head, learned.head.values.loadings.shape[1]
    for rows, past in _padded(model, learned.past):
        users_BG = head.user_rows(learned.vectors[rows], past)
        habits_BH = head.habits(past)
        for place, row in enumerate(rows):
            judged = newest[row][~np.isnan(newest[row].values)]
            items_M = torch.as_tensor(judged.items.astype(np.int64))
            parts_M3 = learned.item_parts[items_M].clone()
            parts_M3[:, 0] += head.values.loadings[items_M] @ users_BG[place, :F]
            parts_M3[:, 1] += head.likes.loadings[items_M] @ users_BG[place, F : 2 * F]
            inputs.append(torch.cat([parts_M3, habits_BH[place].expand(len(items_M), -1)], dim=1))
            outcomes.append(head.marks(torch.as_tensor(judged.values)))
    judged_ML, liked_M = torch.cat(inputs), torch.cat(outcomes)
    if len(liked_M) < LEAST_JUDGED or liked_M.min() == liked_M.max():
        return _VALUES_ALONE
    found, base = logistic_regression(judged_ML.double().numpy(), liked_M.double().numpy())
    weights = torch.as_tensor(found, dtype=torch.float32)
    return _Weights(weights[:3], weights[3:], base)


def _padded(model: MoERecommender, past: list[History]) -> Iterator[tuple[list[int], Events]]:
    """What the model reads of the histories that are not empty, [B, n], batch by batch; CPU."""
    order = sorted(
        (row for row, one in enumerate(past) if len(one)), key=lambda row: len(past[row])
    )
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        windows, prefixes, _ = model.cut(*flat_events(model, [past[row] for row in rows]))
        yield rows, joined(prefixes, windows).to(torch.device("cpu"))


def _set_weights(learned: _Learned, weights: _Weights) -> None:
    head = learned.head
    head.mix.copy_(weights.parts[:2])
    head.item_bias.copy_(learned.item_parts @ weights.parts)
    head.habit_weights.copy_(weights.habits)
    head.base.fill_(weights.base)


def _middle(values: Floats) -> float:
    middle = (float(values.min()) + float(values.max())) / 2
    if ONE_SIDED <= (values >= middle).mean() <= 1 - ONE_SIDED:
        return middle
    median = float(np.median(values))
    # A median that is also the least value would call everything liked.
    return median if median > values.min() else float(values[values > median].min())
