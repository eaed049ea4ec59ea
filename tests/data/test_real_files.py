"""Real logs, if a folder of them is named by MOEREC_DATA_DIR: exact counts, nothing skipped.

Nothing is collected here without that variable: the data may not be shipped.
"""

import os
from pathlib import Path

import pytest

from moerec.data.id_map import build_id_map
from moerec.data.interactions import read_interactions
from moerec.data.items import read_items
from moerec.data.sequences import build_histories
from moerec.data.split import leave_one_out

LOGS = {  # users, items, events, has times
    "ml-1m/ml-1m_sequences.txt.gz": (6040, 3416, 999_611, False),
    "ml-1m/interactions_ordered.csv.gz": (6040, 3416, 999_611, False),
    "ml-100k/u.data.gz": (943, 1682, 100_000, True),
    "amazon-beauty/Beauty.txt.gz": (22_363, 12_101, 198_502, False),
    "amazon-beauty/Beauty_with_intervals.txt.gz": (22_363, 12_101, 198_502, True),
    "amazon-sports/Sports_and_Outdoors.txt.gz": (35_598, 18_357, 296_337, False),
    "amazon-sports/Sports_and_Outdoors_with_intervals.txt.gz": (35_598, 18_357, 296_337, True),
    "lastfm/LastFM.txt": (1090, 3646, 52_551, False),
    "amazon-video-games/Video.txt.gz": (31_013, 23_715, 287_107, False),
}
ITEMS = {  # items, different categories
    "ml-1m/movies.dat": (3883, 18),
    "ml-100k/u.item": (1682, 19),
    "amazon-beauty/Beauty_item2attributes.json": (12_101, 637),
    "amazon-sports/Sports_and_Outdoors_item2attributes.json": (18_357, 2277),
    "lastfm/LastFM_item2attributes.json": (3646, 388),
}

if folder := os.environ.get("MOEREC_DATA_DIR"):
    ROOT = Path(folder)

    @pytest.mark.parametrize("name", [name for name in LOGS if (ROOT / name).exists()] or LOGS)
    def test_a_log_has_its_published_counts(name: str) -> None:
        users, items, events, has_time = LOGS[name]
        log = read_interactions(ROOT / name)
        assert (log.report.users, log.report.items, log.report.events) == (users, items, events)
        assert log.has_time == has_time
        assert log.report.duplicate_rows == log.report.future_rows == 0
        histories = build_histories(log, build_id_map(log))
        assert len(histories.users) == users
        assert histories.items.min() == 1
        assert histories.items.max() == items
        test_users, _ = leave_one_out(histories).targets("test")
        assert len(test_users) == users - log.report.short_users

    @pytest.mark.parametrize("name", [name for name in ITEMS if (ROOT / name).exists()] or ITEMS)
    def test_an_item_file_has_its_published_counts(name: str) -> None:
        table = read_items(ROOT / name).frame
        categories = table.get_column("categories").list.explode().drop_nulls().n_unique()
        assert (len(table), categories) == ITEMS[name]
