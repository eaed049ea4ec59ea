"""The items of an engine: those of its bundle, and those that came and went since.

An item that comes has a vector made of its content, as the bundle's own items without events have. It keeps
its number for as long as the engine lives, also when it is removed: it stands in histories.

Letters: V items, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moerec.data.feature_recipe import FeatureRecipe
from moerec.data.item_fields import features_of_items
from moerec.models.recommender import MoERecommender
from moerec.types import PADDING, ItemChange, ItemId

SPARE: Final = 1024
"""Rows more than there are items, at least, when room is made for new ones: an eighth of all, at most."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes did: `came` are ids that were unknown before, `moved` the numbers of items that have
    another vector now, new items among them."""

    came: set[ItemId]
    moved: list[int]


class Catalogue:
    """Ids, numbers and vectors of all items. `indexes` is the same object for its whole life.

    Changes are made by one thread, while nobody reads.
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
        self.gone: set[int] = set()
        self.number = 0
        """Of the last change that was applied."""
        with torch.inference_mode():
            self.vectors = self._vectors = model.item_vectors()
            self.units = self._units = normalize(self.vectors, dim=1)

    @property
    def added(self) -> int:
        """Items that are not in the bundle, gone ones too."""
        return len(self.ids) - self._trained

    def content(self, changes: Sequence[ItemChange]) -> Mapping[ItemId, Tensor]:
        """The vectors that the content of items asks for, [D] each. Changes nothing, from any thread."""
        put = {change.item_id: change.fields for change in changes if change.fields is not None}
        asked = {item: fields for item, fields in put.items() if self._lives_by_content(item)}
        if self._recipe is None or not asked:
            return {item: self._model.embedding.weight.new_zeros(self._dim) for item in asked}
        found = features_of_items(self._recipe, list(asked.values()))
        device = self._vectors.device
        rows = self._model.vectors_of(
            *(
                torch.from_numpy(part).to(device)
                for part in (found.offsets[1:], found.features, found.weights)
            )
        )
        return dict(zip(asked, rows, strict=True))

    @torch.inference_mode()
    def apply(self, changes: Sequence[ItemChange], content: Mapping[ItemId, Tensor]) -> Effect:
        """Takes the changes in, in their order, with the vectors that `content` gave for them."""
        came: set[ItemId] = set()
        moved: list[int] = []
        for change in changes:
            self.number = max(self.number, change.number)
            index = self.indexes.get(change.item_id, PADDING)
            if index == PADDING and change.fields is None:
                continue  # an earlier bundle's
            if index == PADDING:
                index = self._append(change.item_id)
                came.add(change.item_id)
            if change.removed:
                self.gone.add(index)
            else:
                self.gone.discard(index)
            vector = content.get(change.item_id)
            if vector is not None and (
                change.item_id in came or not torch.equal(vector, self._vectors[index])
            ):
                self._vectors[index], self._units[index] = vector, normalize(vector, dim=0)
                moved.append(index)
        count = len(self.ids) + 1
        self.vectors, self.units = self._vectors[:count], self._units[:count]
        return Effect(came, moved)

    def _append(self, item_id: ItemId) -> int:
        self.ids.append(item_id)
        index = self.indexes[item_id] = len(self.ids)
        if index >= len(self._vectors):
            self._vectors, self._units = _wider(self._vectors), _wider(self._units)
        return index

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


def _wider(rows: Tensor) -> Tensor:
    spare = max(len(rows) // 8, SPARE)
    return torch.cat([rows, rows.new_zeros(spare, rows.shape[1])])
