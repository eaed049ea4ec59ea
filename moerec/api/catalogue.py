"""What the gateway knows of the bundle without an engine: titles, what is popular, how many experts wake."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from moerec.api.answers import Item
from moerec.artifacts.bundle import Bundle, PopularItem


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The bundle's version, its items' titles, and its popular items, best first.

    `budgets` are the numbers of experts a layer that a request may ask for.
    """

    version: str
    titles: dict[str, str | None]
    popular: list[PopularItem]
    categories: dict[str, list[str]]
    budgets: range

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
            if item.item_id in exclude:
                continue
            if category is not None and category not in self.categories[item.item_id]:
                continue
            title = self.titles.get(item.item_id)
            found.append(Item(item.item_id, title, len(found) + 1, float(item.count), "popular"))
        return found
