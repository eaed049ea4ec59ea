"""How long the vectors of items without events are: the table of transitions must not hide such items.

The table lifts what it has counted, and it cannot have counted an item that nobody has met. So network
and table together show new items more rarely than the network alone, which has learned by id-dropout how
likely an item is of which only the content is known. The length of their vectors gives them back the
share of the places that the network gives them, a tenth at most: a catalogue may be full of items that
nobody will ever want.

Letters: U users, V items, D width, B users of a batch, K places of a list.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from moerec.evaluation.evaluate import Cases, Scores, top_items
from moerec.models.recommender import MoERecommender
from moerec.training.calibrate import Encoded

PLACES: Final = 10
"""K: new items are counted in so many places of each list."""

MOST_PLACES: Final = 0.1
"""The share of all places that new items may take."""

LONGEST: Final = 2.0
HALVINGS: Final = 13
"""Of the interval from 0 to `LONGEST`: the length is then known to .0003."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """What decides which items are in the lists: float32 [U, K] each, -inf where there is none.

    `known` are the best scores of items with events, `new` the best cosines of the others.
    """

    known: Scores
    new: Scores

    def places(self, length: float) -> int:
        """The places that new items have if their vectors are so long."""
        new = np.where(self.new > -np.inf, self.new * length, -np.inf)
        both = np.concatenate([self.known, new], axis=1)
        # Stable, and the known ones first: a tie counts against the new item.
        best = np.argsort(-both, axis=1, kind="stable")[:, :PLACES]
        is_new = (best >= self.known.shape[1]) & (np.take_along_axis(both, best, 1) > -np.inf)
        return int(is_new.sum())


@torch.inference_mode()
def calibrate_newcomers(model: MoERecommender, questions: Cases, answers: Encoded) -> float:
    """Set the length of the vectors of new items, and return it; `answers` are `questions`, encoded.

    1 if no item without events has content.
    """
    content = model.content
    if content is None:
        return 1.0
    content.length.fill_(1.0)
    items_VD = model.item_vectors()
    new_V = (~content.trained & items_VD.any(dim=1)).cpu().numpy()
    if not new_V.any() or not answers:
        return 1.0
    wanted, batches = 0, []
    for users, rows in answers:
        past = [questions.histories[row] for row in rows]
        cosines_BV = (users.vectors @ items_VD.T).float().cpu().numpy()
        scores_BV = model.score(users.vectors, users.recent, items_VD).float().cpu().numpy()
        wanted += int(new_V[top_items(cosines_BV, past, PLACES)].sum())
        known = np.where(new_V, -np.inf, scores_BV)
        new = np.where(new_V, cosines_BV, -np.inf)
        best = [_values(scores, top_items(scores, past, PLACES)) for scores in (known, new)]
        batches.append(best)
    lists = _Lists(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    content.length.fill_(_least_length(lists, min(wanted, int(MOST_PLACES * lists.new.size))))
    return float(content.length)


def _least_length(lists: _Lists, wanted: int) -> float:
    """The least length, at most `LONGEST`, that gives new items as many places as `wanted`."""
    if lists.places(1.0) == wanted:
        return 1.0
    too_short, enough = 0.0, LONGEST
    for _ in range(HALVINGS):
        middle = (too_short + enough) / 2
        if lists.places(middle) >= wanted:
            enough = middle
        else:
            too_short = middle
    return enough


def _values(scores: Scores, items: NDArray[np.int32]) -> Scores:
    """The scores [B, K] of `items` [B, K]; -inf where there is none (0)."""
    return np.where(items > 0, np.take_along_axis(scores, items.astype(np.int64), 1), -np.inf)
