"""Answers are kept for their time and no longer."""

import time

from moerec.store.cache import AnswerCache


def test_an_answer_is_repeated_until_it_is_too_old() -> None:
    cache: AnswerCache[str] = AnswerCache(ttl_s=0.05)
    cache.put(("v1", "i1"), "answer")
    assert cache.get(("v1", "i1")) == "answer"
    assert cache.get(("v2", "i1")) is None
    time.sleep(0.06)
    assert cache.get(("v1", "i1")) is None


def test_no_time_keeps_nothing() -> None:
    cache: AnswerCache[str] = AnswerCache(ttl_s=0)
    cache.put("k", "answer")
    assert cache.get("k") is None
