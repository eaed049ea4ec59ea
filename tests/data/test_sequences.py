"""Histories: every user's events as slices of flat arrays."""

import numpy as np
import polars as pl

from moerec.data.id_map import IdMap, build_id_map
from moerec.data.interactions import from_frame
from moerec.data.sequences import build_histories

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


def test_items_the_map_lacks_stay_as_zero() -> None:
    histories = build_histories(LOG, IdMap(["z"]))
    assert histories.items.tolist() == [0, 1, 1, 0]
    assert histories.lengths.tolist() == [3, 1]
