"""Histories: every user's events as slices of flat arrays."""

import numpy as np
import polars as pl

from moerec.data.id_map import IdMap, build_id_map
from moerec.data.interactions import from_frame
from moerec.data.sequences import History, build_histories

LOG = from_frame(
    pl.DataFrame({"user": ["b", "a", "b", "b"], "item": ["z", "y", "x", "z"], "ts": [5, 1, 3, 9]})
)


def test_histories_follow_the_log() -> None:
    histories = build_histories(LOG, build_id_map(LOG))
    assert histories.users == ["b", "a"]
    assert histories.offsets.tolist() == [0, 3, 4]
    assert histories.lengths.tolist() == [3, 1]
    assert histories.items.tolist() == [1, 2, 2, 3]
    assert histories.items_of(0).tolist() == [1, 2, 2]
    assert histories.timestamps.tolist() == [3000, 5000, 9000, 1000]
    assert (histories.items.dtype, histories.offsets.dtype) == (np.int32, np.int64)


def test_times_and_values_follow_their_events() -> None:
    rated = from_frame(
        pl.DataFrame(
            {
                "user": ["b", "a", "b"],
                "item": ["z", "y", "x"],
                "ts": [5, 1, 3],
                "rating": [4, 2, None],
            }
        )
    )
    histories = build_histories(rated, IdMap(["z"]))
    b = histories.history_of(0)
    assert (b.items.tolist(), b.timestamps.tolist()) == ([0, 1], [3000, 5000])
    np.testing.assert_array_equal(b.values, np.array([np.nan, 4], np.float32))
    assert (b.values.dtype, len(b)) == (np.float32, 2)
    known = b.known()
    assert (known.items.tolist(), known.timestamps.tolist()) == ([1], [5000])
    assert known.values.tolist() == [4.0]
    assert b[-1:].timestamps.tolist() == [5000]


def test_a_log_without_values_has_none() -> None:
    values = build_histories(LOG, build_id_map(LOG)).values
    assert len(values) == 4
    assert np.isnan(values).all()


def test_a_history_of_items_alone() -> None:
    history = History.of_items([3, 0, 2])
    assert history.known().items.tolist() == [3, 2]
    assert history.timestamps.tolist() == [0, 0, 0]
    assert np.isnan(history.values).all()
    assert len(History.of_items([])) == 0


def test_items_the_map_lacks_stay_as_zero() -> None:
    histories = build_histories(LOG, IdMap(["z"]))
    assert histories.items.tolist() == [0, 1, 1, 0]
    assert histories.lengths.tolist() == [3, 1]
