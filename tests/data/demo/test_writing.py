"""The demo's files are whole, and are read like anybody's."""

from pathlib import Path

import polars as pl
import pytest

from moerec.data.demo.catalogue import films
from moerec.data.demo.simulator import simulate
from moerec.data.demo.writing import write_demo
from moerec.data.interactions import read_interactions
from moerec.errors import StorageError


def test_files_hold_the_log_and_the_catalogue(tmp_path: Path) -> None:
    log_path, items_path = write_demo(tmp_path / "new" / "demo", viewers=30, seed=2)
    assert pl.read_csv(log_path).equals(simulate(viewers=30, seed=2))
    items = pl.read_csv(items_path)
    assert items.columns == ["item_id", "title", "year", "genres", "director"]
    assert items["title"].equals(films().frame["title"])
    assert sorted(path.name for path in log_path.parent.iterdir()) == ["items.csv", "log.csv"]


def test_the_log_is_read_like_any_other(tmp_path: Path) -> None:
    log_path, _ = write_demo(tmp_path, viewers=30, seed=2)
    log = read_interactions(log_path)
    assert log.has_time
    assert (log.report.users, log.report.events) == (30, simulate(viewers=30, seed=2).height)
    left_out = log.report.duplicate_rows, log.report.future_rows, log.report.short_users
    assert left_out == (0, 0, 0)


def test_writing_again_replaces(tmp_path: Path) -> None:
    log_path, _ = write_demo(tmp_path, viewers=5)
    write_demo(tmp_path, viewers=9)
    assert pl.read_csv(log_path)["user_id"].n_unique() == 9


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(StorageError, match="cannot write the demo data to"):
        write_demo(taken, viewers=5)
    assert taken.read_text() == "mine"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "log.csv" / "full").mkdir(parents=True)  # a folder cannot be replaced by a file
    with pytest.raises(StorageError):
        write_demo(tmp_path, viewers=5)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
