"""The checks see what is wrong: items twice, seen ones, other scores, another order."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from moerec.artifacts.bundle import Bundle
from moerec.loadtest.checks import Form, Listed, check_form, compare
from moerec.loadtest.generator import Kept
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.types import Event, ItemId, UserId
from tests.tiny import tiny_bundle


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlEventStore]:
    with closing(open_event_store(f"sqlite:///{tmp_path}/events.db")) as store:
        store.append([Event("1", UserId("ann"), ItemId("i1"), 1_000)])
        store.append([Event("2", UserId("ann"), ItemId("i2"), 2_000)])
        yield store


def kept(*items: str) -> Kept:
    listed = [{"item_id": item, "score": 1.0, "rank": 1} for item in items]
    return Kept("ann", json.dumps({"items": listed, "fallback": None}).encode())


@pytest.mark.parametrize(
    ("items", "wrong"),
    [
        (("i3", "i4"), 0),
        (("i3", "i3"), 1),
        (("i3",), 1),
        (("i3", "i1"), 1),
        # It was seen after the load had begun: the list may have been made before.
        (("i3", "i2"), 0),
    ],
)
def test_the_form_of_lists(store: SqlEventStore, items: tuple[str, ...], wrong: int) -> None:
    found = check_form([kept(*items)], 2, store, before=1)
    assert (found.lists, found.wrong) == (1, wrong)
    assert check_form([], 2, store, before=1) == Form(0, 0, 0.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("checks") / "bundle")


@pytest.mark.parametrize(
    ("served", "verdict"),
    [
        ([("i1", 0.9), ("i2", 0.8), ("i3", 0.79995)], "equal"),
        ([("i1", 0.90005), ("i2", 0.8), ("i3", 0.79995)], "equal"),
        ([("i1", 0.9), ("i3", 0.79995), ("i2", 0.8)], "close"),
        # The fourth is as good as the third, up to rounding.
        ([("i1", 0.9), ("i2", 0.8), ("i4", 0.7999)], "close"),
        ([("i2", 0.8), ("i1", 0.9), ("i3", 0.79995)], "different"),
        ([("i1", 0.9), ("i2", 0.8), ("i5", 0.1)], "different"),
        ([("i1", 0.9), ("i2", 0.8), ("i2", 0.8)], "different"),
        ([("i1", 0.9), ("i2", 0.7), ("i3", 0.79995)], "different"),
        ([("i1", 0.9), ("i2", 0.8)], "different"),
    ],
)
def test_the_content_of_lists(
    bundle: Bundle, served: list[tuple[str, float]], verdict: str
) -> None:
    scores = np.zeros(41, np.float32)
    scores[1:6] = (0.9, 0.8, 0.79995, 0.7999, 0.1)
    listed = [Listed(item, score) for item, score in served]
    assert compare(bundle, listed, scores, np.array([1, 2, 3], np.int32)) == verdict
