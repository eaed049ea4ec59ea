"""Typed titles and the moves of a list."""

import pytest

from moerec.process.demo.titles import TitleSearch, movements
from moerec.types import ItemId

FILMS = {
    ItemId(f"f{number}"): title
    for number, title in enumerate(
        [
            "Alien (1979)",
            "Aliens (1986)",
            "The Godfather (1972)",
            "The Godfather Part II (1974)",
            "Amélie (2001)",
            "WALL·E (2008)",
            "2001: A Space Odyssey (1968)",
            "Heat (1995)",
            "Solaris (1972)",
            "Solaris (2002)",
        ]
    )
}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("alien", ["Alien (1979)"]),
        ("  ALIENS ", ["Aliens (1986)"]),
        ("alien 1979", ["Alien (1979)"]),
        ("godfather", ["The Godfather (1972)"]),
        ("a godfather", ["The Godfather (1972)"]),
        ("amelie", ["Amélie (2001)"]),
        ("wall-e", ["WALL·E (2008)"]),
        ("2001 a space odyssey", ["2001: A Space Odyssey (1968)"]),
        ("odyssey", ["2001: A Space Odyssey (1968)"]),
        ("solaris", ["Solaris (1972)", "Solaris (2002)"]),
        ("solaris (2002)", ["Solaris (2002)"]),
        ("godf", ["The Godfather (1972)", "The Godfather Part II (1974)"]),
        ("godfahter", ["The Godfather (1972)", "The Godfather Part II (1974)"]),
        ("zzzzzzzz", []),
        ("...", []),
        ("", []),
    ],
)
def test_finds_what_was_meant(typed: str, expected: list[str]) -> None:
    assert [FILMS[item_id] for item_id in TitleSearch(FILMS).find(typed)] == expected


def test_movements_against_the_list_before() -> None:
    before = [ItemId(name) for name in "abcd"]
    after = [ItemId(name) for name in "caxd"]
    assert movements(before, after) == [2, -1, None, 0]
    assert movements([], after) == [None] * 4
