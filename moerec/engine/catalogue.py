"""The items of an engine: those of its bundle, and those that came and went since.

An item that comes has a vector made of its content, as the bundle's own items without events have. It keeps
its number for as long as the engine lives, also when it is removed: it stands in histories.

Letters: V items, D width.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from moerec.data.feature_recipe import FeatureRecipe
from moerec.data.item_fields import features_of_items
from moerec.models.recommender import MoERecommender
from moerec.types import PADDING, ItemChange, ItemField, ItemId

SPARE: Final = 1024
"""Rows more than there are items, at least, when room is made for new ones: an eighth of all, at most."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes did: `came` are ids that were unknown before, `moved` the numbers of items that have
    another vector now, new items among them."""

    came: set[ItemId]
    moved: list[int]


class Content(NamedTuple):
    """The items that live by their content alone, once each, and their vectors [n, D]."""

    ids: list[ItemId]
    rows_nD: Tensor


class Catalogue:
    """Ids, numbers and vectors of all items. `indexes` is the same object for its whole life.

    Changes are made by one thread, while nobody reads. `gone` [V + 1] is true for items that are in no list.
    """

    def __init__(
        self, model: MoERecommender, ids: Sequence[ItemId], recipe: FeatureRecipe | None
    ) -> None:
        """`ids` are those of the model's items 1 to V."""
        self._model = model
        self._recipe = recipe
        self._trained = len(ids)
        self.ids: list[str] = list(ids)
        self.indexes: dict[ItemId, int] = {item: row for row, item in enumerate(ids, start=1)}
        self.removed = 0
        """Items that are in no list."""
        self.number = 0
        """Of the last change that was applied."""
        with torch.inference_mode():
            self._vectors = model.item_vectors()
            self._units = normalize(self._vectors, dim=1)
        self._gone = np.zeros(len(self._vectors), np.bool_)
        self._widen(0)
        self._show()

    @property
    def added(self) -> int:
        """Items that are not in the bundle, gone ones too."""
        return len(self.ids) - self._trained

    def content(self, changes: Sequence[ItemChange]) -> Content:
        """What the content of items asks for. Changes nothing, from any thread.

        Content that cannot be read counts as none, and is logged.
        """
        put = {change.item_id: change.fields for change in changes if change.fields is not None}
        asked = [(item, fields) for item, fields in put.items() if self._lives_by_content(item)]
        return Content([item for item, _ in asked], self._vectors_of(asked))

    def make_room(self, changes: Sequence[ItemChange]) -> None:
        """So that `apply` need not, while everybody waits; others may read meanwhile."""
        came = sum(change.item_id not in self.indexes for change in changes)
        if len(self.ids) + came >= len(self._vectors):
            self._widen(came)

    def _widen(self, least: int) -> None:
        more = max(len(self._vectors) // 8, SPARE, least)
        self._vectors, self._units = _wider(self._vectors, more), _wider(self._units, more)
        self._gone = np.concatenate([self._gone, np.zeros(more, np.bool_)])

    def _show(self) -> None:
        count = len(self.ids) + 1
        self.vectors, self.units = self._vectors[:count], self._units[:count]
        self.gone = self._gone[:count]

    @torch.inference_mode()
    def apply(self, changes: Sequence[ItemChange], content: Content) -> Effect:
        """Takes the changes in, in their order, with what `content` gave for them, after `make_room`."""
        came: set[ItemId] = set()
        for change in changes:
            self.number = max(self.number, change.number)
            index = self.indexes.get(change.item_id, PADDING)
            if index == PADDING and change.fields is None:
                continue  # an earlier bundle's
            if index == PADDING:
                self.ids.append(change.item_id)
                index = self.indexes[change.item_id] = len(self.ids)
                came.add(change.item_id)
            self.removed += int(change.removed) - int(self._gone[index])
            self._gone[index] = change.removed
        self._show()
        return Effect(came, self._move(content, came))

    def _move(self, content: Content, came: set[ItemId]) -> list[int]:
        """The numbers of the items that lie somewhere else now, and of those that came."""
        ids, rows_nD = content
        indexes = [self.indexes[item] for item in ids]
        differ = (rows_nD != self._vectors[indexes]).any(1).tolist()
        self._vectors[indexes], self._units[indexes] = rows_nD, normalize(rows_nD, dim=1)
        return [
            index
            for item, index, other in zip(ids, indexes, differ, strict=True)
            if other or item in came
        ]

    def _vectors_of(self, items: Sequence[tuple[ItemId, Mapping[str, ItemField]]]) -> Tensor:
        """[n, D] of n items with their fields."""
        nothing = self._model.embedding.weight.new_zeros(len(items), self._dim)
        if self._recipe is None or not items:
            return nothing
        try:
            found = features_of_items(self._recipe, [fields for _, fields in items])
        except (ImportError, MemoryError):
            raise  # not for what an item says
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            rows = (found.offsets[1:], found.features, found.weights)
            device = self._vectors.device
            return self._model.vectors_of(*(torch.from_numpy(part).to(device) for part in rows))
        if len(items) == 1:
            unread = "The content of item %r cannot be read, and counts as none: %s"
            logger.error(unread, items[0][0], reason)
            return nothing
        half = len(items) // 2
        return torch.cat([self._vectors_of(items[:half]), self._vectors_of(items[half:])])

    def _lives_by_content(self, item_id: ItemId) -> bool:
        """Whether its vector is made of its content alone."""
        index = self.indexes.get(item_id, PADDING)
        if index == PADDING or index > self._trained:
            return True
        content = self._model.content
        return content is not None and not bool(content.trained[index])

    @property
    def _dim(self) -> int:
        return self._vectors.shape[1]


def _wider(rows: Tensor, more: int) -> Tensor:
    # What nobody has written takes no memory.
    wide = rows.new_empty(len(rows) + more, rows.shape[1])
    wide[: len(rows)] = rows
    return wide
