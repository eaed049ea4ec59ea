"""What the gateway knows of items: the bundle's, and what became of them since."""

import itertools
from pathlib import Path

import pytest

from moerec.api.catalogue import Catalogue
from moerec.types import ItemChange, ItemField, ItemId
from tests.api.toy import toy_bundle


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.of(toy_bundle(tmp_path / "bundle"))


def put(number: int, item_id: str, **fields: ItemField) -> ItemChange:
    return ItemChange(number, ItemId(item_id), fields)


def removed(number: int, item_id: str) -> ItemChange:
    return ItemChange(number, ItemId(item_id), None, removed=True)


def popular(catalogue: Catalogue, k: int = 3, category: str | None = None) -> list[str]:
    return [item.item_id for item in catalogue.popular_items(k, category=category)]


def test_it_begins_as_the_bundle_has_it(catalogue: Catalogue) -> None:
    assert (catalogue.number, catalogue.is_settled) == (0, True)
    assert catalogue.titles["i1"] == "Title i1"
    assert catalogue.is_trained("i1")
    assert not catalogue.is_trained("new")


def test_an_item_that_comes_has_its_title_and_is_not_of_the_bundle(catalogue: Catalogue) -> None:
    catalogue.apply([put(1, "new", title="New", categories=["odd"]), put(2, "bare")])
    assert (catalogue.titles["new"], catalogue.titles["bare"]) == ("New", None)
    assert (catalogue.categories["new"], catalogue.categories["bare"]) == (["odd"], [])
    assert not catalogue.is_trained("new")
    assert popular(catalogue) == ["i12", "i11", "i10"]


def test_all_fields_of_the_bundles_item_are_replaced(catalogue: Catalogue) -> None:
    catalogue.apply([put(1, "i11", categories=["even"])])
    assert catalogue.titles["i11"] is None
    assert popular(catalogue, 2, "even") == ["i12", "i11"]
    assert popular(catalogue, 1, "odd") == ["i9"]
    assert catalogue.is_trained("i11")


def test_a_removed_item_is_in_no_popular_list_until_it_is_put_again(catalogue: Catalogue) -> None:
    catalogue.apply([removed(1, "i12"), removed(2, "i10")])
    assert popular(catalogue) == ["i11", "i9", "i8"]
    assert catalogue.is_trained("i12")
    catalogue.apply([put(3, "i12", title="Back")])
    (first, *_) = catalogue.popular_items(1)
    assert (first.item_id, first.title, first.score) == ("i12", "Back", 120.0)


def test_a_later_bundle_may_hold_what_the_table_holds(tmp_path: Path) -> None:
    """It was trained when the items were there already."""
    catalogue = Catalogue.of(toy_bundle(tmp_path / "bundle"))
    catalogue.apply([put(1, "i3", title="Put before the training"), removed(2, "i4")])
    assert catalogue.is_trained("i3")
    assert catalogue.titles["i3"] == "Put before the training"
    assert "i4" not in popular(catalogue, 12)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_largest_number_counts_in_whatever_order_they_come(
    catalogue: Catalogue, order: tuple[int, ...]
) -> None:
    """Two requests about an item may come back from the table in the other order."""
    changes = [put(1, "i12", title="First"), removed(2, "i12"), put(3, "i12", title="Last")]
    for place in order:
        catalogue.apply([changes[place]])
    assert catalogue.number == 3
    assert catalogue.titles["i12"] == "Last"
    assert popular(catalogue, 1) == ["i12"]


def test_it_is_settled_when_the_newest_change_is_confirmed(catalogue: Catalogue) -> None:
    catalogue.apply([put(4, "a"), put(5, "b")])
    catalogue.confirmed = 4
    assert not catalogue.is_settled
    catalogue.confirmed = 5
    assert catalogue.is_settled


def test_what_another_program_wrote_as_a_title_is_none(catalogue: Catalogue) -> None:
    catalogue.apply([put(1, "i12", title=5, categories="odd")])
    assert catalogue.titles["i12"] is None
    assert catalogue.categories["i12"] == []
