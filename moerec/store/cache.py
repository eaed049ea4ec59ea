"""Answers that may be repeated for a while, in this process."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from cachetools import TTLCache

ENTRIES: Final = 10_000


T = TypeVar("T")


class AnswerCache(Generic[T]):
    """The newest `ENTRIES` answers, each for `ttl_s` seconds; from one thread.

    Keys carry the model's version, so that an answer of an older model is never given.
    """

    def __init__(self, ttl_s: float) -> None:
        self._answers: TTLCache[Hashable, T] = TTLCache(ENTRIES, ttl_s)

    def get(self, key: Hashable) -> T | None:
        """The answer, or None if it is not there or too old."""
        return self._answers.get(key)

    def put(self, key: Hashable, answer: T) -> None:
        """Keeps an answer; with `ttl_s` 0 it is too old at once."""
        self._answers[key] = answer
