"""What the gateway knows of the items without an engine: titles, what is popular; and how many experts wake.

It begins as the bundle has it, and takes in what became of items since.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from moerec.api.answers import Item
from moerec.artifacts.bundle import Bundle, PopularItem
from moerec.types import ItemChange, ItemField


@dataclass(slots=True)
class Catalogue:
    """The bundle's version, all items' titles and categories, and the bundle's popular items, best first.

    `budgets` are the numbers of experts a layer that a request may ask for. `number` is the largest of
    the changes that were applied; the engines have confirmed those up to `confirmed`. For one thread.
    """

    version: str
    titles: dict[str, str | None]
    popular: list[PopularItem]
    categories: dict[str, list[str]]
    budgets: range
    number: int = 0
    confirmed: int = 0
    _last: dict[str, int] = field(default_factory=dict)
    _added: set[str] = field(default_factory=set)
    _removed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The catalogue of a bundle."""
        ids = bundle.id_map.ids
        return cls(
            bundle.version,
            dict(zip(ids, bundle.titles, strict=True)),
            bundle.popular,
            dict(zip(ids, bundle.categories, strict=True)),
            range(int(bundle.config["min_experts"]), int(bundle.config["max_experts"]) + 1),
        )

    def apply(self, changes: Iterable[ItemChange]) -> None:
        """Takes changes in, in any order: of an item the one with the largest number counts."""
        for change in changes:
            item_id = change.item_id
            self.number = max(self.number, change.number)
            if change.number <= self._last.get(item_id, 0):
                continue
            self._last[item_id] = change.number
            if change.removed:
                self._removed.add(item_id)
            else:
                self._removed.discard(item_id)
            if change.fields is None:
                continue
            if item_id not in self.titles:
                self._added.add(item_id)
            self.titles[item_id] = title_of(change.fields)
            self.categories[item_id] = categories_of(change.fields)

    def is_trained(self, item_id: str) -> bool:
        """Whether the bundle has this item, whatever became of it since."""
        return item_id in self.titles and item_id not in self._added

    @property
    def is_settled(self) -> bool:
        """Whether the engines' lists are those of the items as they stand here."""
        return self.confirmed >= self.number

    def popular_items(
        self, k: int, exclude: Collection[str] = (), category: str | None = None
    ) -> list[Item]:
        """The `k` most popular items, of one category if given; fewer if there are no more.

        An item's score is the number of its events in the training data.
        """
        found: list[Item] = []
        for item in self.popular:
            if len(found) == k:
                break
            if item.item_id in exclude or item.item_id in self._removed:
                continue
            if category is not None and category not in self.categories[item.item_id]:
                continue
            title = self.titles.get(item.item_id)
            found.append(Item(item.item_id, title, len(found) + 1, float(item.count), "popular"))
        return found


def title_of(fields: Mapping[str, ItemField]) -> str | None:
    """An item's title, if it has one."""
    title = fields.get("title")
    return title if isinstance(title, str) else None


def categories_of(fields: Mapping[str, ItemField]) -> list[str]:
    """An item's categories."""
    categories = fields.get("categories")
    return categories if isinstance(categories, list) else []
