"""Finds the film that somebody meant by what they typed."""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from moerec.types import ItemId

ARTICLES = {"a", "an", "the"}
CLOSE = 0.6
"""Likeness (difflib's ratio) below which a title is not even suggested."""


class TitleSearch:
    """Search over item titles; a year in brackets at the end ("Heat (1995)") need not be typed."""

    def __init__(self, titles: Mapping[ItemId, str]) -> None:
        self._by_key: dict[str, list[ItemId]] = {}
        for item_id, title in titles.items():
            for key in {_key(title), _key(_without_year(title))}:
                self._by_key.setdefault(key, []).append(item_id)

    def find(self, typed: str, limit: int = 5) -> list[ItemId]:
        """Items that may be meant, likeliest first: one if there is no doubt, none if none is close."""
        key = _key(typed)
        if not key:
            return []
        if exact := self._by_key.get(key):
            return exact[:limit]
        holding = sorted(
            (known for known in self._by_key if f" {key}" in f" {known}"),
            key=lambda known: (not known.startswith(key), len(known)),
        )
        keys = holding or difflib.get_close_matches(key, self._by_key, limit, CLOSE)
        return _distinct([item_id for known in keys for item_id in self._by_key[known]])[:limit]


def movements(before: Sequence[ItemId], after: Sequence[ItemId]) -> list[int | None]:
    """Places that each item of `after` rose (negative: fell) against `before`; None where it is new."""
    places = {item_id: place for place, item_id in enumerate(before)}
    return [
        places[item_id] - place if item_id in places else None
        for place, item_id in enumerate(after)
    ]


def _without_year(title: str) -> str:
    return re.sub(r"\s*\(\d{4}\)\s*$", "", title)


def _key(text: str) -> str:
    """Lower case, without accents, punctuation and a leading article."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c)))
    if len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return " ".join(words)


def _distinct(item_ids: list[ItemId]) -> list[ItemId]:
    return list(dict.fromkeys(item_ids))
