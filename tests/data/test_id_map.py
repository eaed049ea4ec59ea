"""Ids outside, numbers inside."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.data.id_map import IdMap, build_id_map
from moerec.data.interactions import from_frame
from moerec.data.items import ItemTable

LOG = from_frame(pl.DataFrame({"user": ["b", "a", "b"], "item": ["z", "y", "x"], "ts": [5, 1, 3]}))


def test_items_are_numbered_by_first_appearance_then_the_item_file() -> None:
    items = ItemTable(pl.DataFrame({"item_id": ["new", "y", "newer"]}))
    assert build_id_map(LOG).ids == ["x", "z", "y"]
    assert build_id_map(LOG, items).ids == ["x", "z", "y", "new", "newer"]
    assert len(build_id_map(LOG, items)) == 5


@given(st.lists(st.text(max_size=3), unique=True), st.lists(st.text(max_size=3)))
def test_series_and_lists_give_the_same_numbers(known: list[str], asked: list[str]) -> None:
    id_map = IdMap(known)
    expected = [known.index(item) + 1 if item in known else 0 for item in asked]
    assert id_map.indexes(asked).tolist() == expected
    assert id_map.indexes(pl.Series(asked, dtype=pl.String)).tolist() == expected
    assert id_map.indexes(asked).dtype == id_map.indexes(pl.Series(asked, dtype=pl.String)).dtype
    assert id_map.ids_of(range(1, len(known) + 1)) == known


@pytest.mark.parametrize("index", [0, 3, -1])
def test_numbers_that_are_no_item_have_no_id(index: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.2"):
        IdMap(["a", "b"]).ids_of([index])


def test_ids_must_differ() -> None:
    with pytest.raises(ValueError, match="different"):
        IdMap(["a", "a"])
