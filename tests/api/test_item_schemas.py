"""An item's fields: any column of an item file, and nothing that such a file could not hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moerec.api.item_schemas import LONGEST_LIST, LONGEST_TEXT, MOST_FIELDS, ItemIn, ItemOut

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(
    TEXTS,
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(TEXTS, max_size=5),
)
NAMES = st.text("abcdefghij_ é", min_size=1, max_size=64)


def fields(**given: object) -> dict[str, Any]:
    return ItemIn.model_validate(given).fields()


@given(st.dictionaries(NAMES, VALUES, max_size=10), TEXTS, st.lists(TEXTS, max_size=3))
def test_what_is_given_is_what_is_kept(
    others: dict[str, Any], title: str, categories: list[str]
) -> None:
    whole = {"title": title, "categories": categories, **others}
    kept = ItemIn.model_validate(whole).fields()
    assert json.dumps(kept, sort_keys=True) == json.dumps(whole, sort_keys=True)
    out = ItemOut(item_id="i", title=title, categories=categories, fields=others, status="added")
    assert json.loads(out.model_dump_json())["fields"] == others


def test_what_is_not_given_is_not_kept() -> None:
    assert fields() == {}
    assert fields(title=None) == {}
    assert fields(colour=None) == {"colour": None}


def test_kinds_of_numbers_stay() -> None:
    kept = fields(year=1979, price=1979.0, new=True)
    assert [type(kept[name]) for name in ("year", "price", "new")] == [int, float, bool]


def test_as_much_as_can_be() -> None:
    texts = ["x" * LONGEST_TEXT] * 2 + ["x"] * (LONGEST_LIST - 2)
    most: dict[str, object] = {f"{n:064}": n for n in range(MOST_FIELDS - 2)}
    assert len(fields(title="x" * LONGEST_TEXT, categories=texts, **most)) == MOST_FIELDS
    with pytest.raises(ValidationError, match="100 fields, not 101"):
        fields(title="t", categories=[], more=1, **most)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"title": 5}, "valid string"),
        ({"title": ["a"]}, "valid string"),
        ({"title": "x" * 10_001}, "at most 10000 characters"),
        ({"title": "\ud800"}, "unicode"),
        ({"categories": "Comedy"}, "valid list"),
        ({"categories": None}, "valid list"),
        ({"categories": [None]}, "valid string"),
        ({"categories": ["x"] * 1001}, "at most 1000 items"),
        ({"colour": {"red": 1}}, "expected a text, a finite number"),
        ({"colour": [["red"]]}, "expected a text, a finite number"),
        ({"colour": ["red", 5]}, "expected a text, a finite number"),
        ({"colour": ["red"] * 1001}, "a list may have 1000 texts"),
        ({"colour": ["x" * 10_001]}, "10000 characters"),
        ({"colour": "x" * 10_001}, "10000 characters"),
        ({"colour": "a\udfff"}, "not valid Unicode"),
        ({"colour": ["a\udfff"]}, "not valid Unicode"),
        ({"price": float("nan")}, "expected a finite number"),
        ({"price": float("-inf")}, "expected a finite number"),
        ({"price": 10**400}, "expected a finite number"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        fields(**({"title": "t"} | wrong))
    (error,) = caught.value.errors()
    assert error["loc"][0] == next(iter(wrong))
    assert message in error["msg"]


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0", "\ud800", "item_id"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"a field's name has|stands in the URL"):
        fields(**{name: 1})


@pytest.mark.parametrize(
    "name", ["fields", "model_config", "__class__", "model_extra", "copy", "json", "self"]
)
def test_any_other_name_is_a_column(name: str) -> None:
    assert ItemIn.model_validate({name: "x", "title": "t"}).fields() == {"title": "t", name: "x"}
