"""Tables of every kind give the same events, and bad ones name the place."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.data.columns import ColumnNames
from moerec.data.door import check_file
from moerec.data.raw import RawLog
from moerec.data.readers import read_raw
from moerec.errors import DataError

EVENTS = [("ann", "x", "1", "5"), ("bob", "y", "2", "4.5"), ("ann", "y", "3", "1")]
FIELDS = st.text("ab,;|\" '\u00e9\n:0", min_size=1, max_size=4)
HEADER = ("user_id", "item_id", "timestamp", "rating")


def raw(folder: Path, data: str | bytes, name: str = "log", **names: str) -> RawLog:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_raw(check_file(path), ColumnNames(**names))


def rows(log: RawLog) -> list[tuple[str, ...]]:
    frame = log.frame.select("user", "item", "timestamp", "value").cast(pl.String)
    return [tuple(row) for row in frame.rows()]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimited_text(
    tmp_path: Path, separator: str, end: str, pack: type[bytes], mark: str
) -> None:
    text = mark + "".join(separator.join(line) + end for line in (HEADER, *EVENTS))
    assert rows(raw(tmp_path, pack(text.encode()))) == EVENTS


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(5)),
    st.sampled_from(",;|\t"),
    st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=6),
)
def test_quoted_fields_in_any_order_of_columns(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    separator: str,
    events: list[tuple[str, str, str]],
) -> None:
    table = pl.DataFrame(
        [(*event, "1", "5") for event in events],
        schema=["user_id", "item_id", "comment", "timestamp", "rating"],
        orient="row",
    ).select(pl.nth(order))
    text = table.write_csv(separator=separator, quote_style="always")
    log = raw(tmp_path_factory.mktemp("csv"), text)
    assert log.frame.select("user", "item").rows() == [event[:2] for event in events]
    assert log.line_of is not None
    breaks = [sum(field.count("\n") for field in event) for event in events]
    lines = [2 + row + sum(breaks[:row]) for row in range(len(events))]
    assert [log.line_of(row) for row in range(len(events))] == lines


def test_movielens_dat_and_u_data(tmp_path: Path) -> None:
    times = [("1", "10", "5", "978300760"), ("1", "11", "3", "978302109")]
    for separator in ("::", "\t"):
        text = "".join(separator.join(line) + "\n" for line in times)
        expected = [(user, item, time, value) for user, item, value, time in times]
        assert rows(raw(tmp_path, text)) == expected


def test_json_lines(tmp_path: Path) -> None:
    lines = [dict(zip(HEADER, event, strict=True)) | {"deep": {"a": [1]}} for event in EVENTS]
    text = "\n\n".join(json.dumps(line) for line in lines)
    log = raw(tmp_path, text)
    assert rows(log) == EVENTS
    assert log.line_of is not None
    assert [log.line_of(row) for row in range(3)] == [1, 3, 5]
    assert rows(raw(tmp_path, gzip.compress(text.encode()))) == EVENTS


def test_json_numbers_become_texts_as_written(tmp_path: Path) -> None:
    log = raw(
        tmp_path, '{"user": 12, "item": "007", "ts": 5}\n{"user": "13", "item": 8, "ts": "6"}\n'
    )
    assert log.frame.select("user", "item").rows() == [("12", "007"), ("13", "8")]


def test_a_json_key_that_appears_late_is_found(tmp_path: Path) -> None:
    text = '{"user": 1, "item": 2, "ts": 3}\n{"user": 1, "item": 2, "ts": 3, "rating": 4}\n'
    assert raw(tmp_path, text).frame.get_column("value").to_list() == [None, "4"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log[1]*.parquet"  # no pattern: a name
    table = pl.DataFrame(EVENTS, schema=list(HEADER), orient="row")
    table.with_columns(other=pl.lit(1)).write_parquet(path)
    assert rows(read_raw(check_file(path), ColumnNames())) == EVENTS


def test_a_csv_name_is_no_pattern(tmp_path: Path) -> None:
    assert len(raw(tmp_path, "user,item,ts\n1,2,3\n", name="log[1]*.csv").frame) == 1


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    log = raw(tmp_path, "\nuser,item,ts\n\n1,2,3\n \n\r\n4,5,6\n\n")
    assert log.frame.get_column("user").to_list() == ["1", "4"]
    assert log.line_of is not None
    assert [log.line_of(0), log.line_of(1)] == [4, 7]


def test_a_row_of_empty_fields_is_a_row(tmp_path: Path) -> None:
    assert len(raw(tmp_path, "user,item,ts\n1,2,3\n,,\n").frame) == 2


BROKEN = [
    ("user,item,ts\n1,2,3\n1,2,3,4\n", 3, "4 fields, but the table has 3"),
    ('user,item,ts\n1,2,3\n\n"1,2,3\n1,2,3\n', 4, "quote that does not fit"),
    ('user,item,ts\n1,12" disc,3\n', 2, "quote inside a field"),
    ("1::2::3::978300760\n1::2::3::978300760::5\n", 2, "5 fields, but the table has 4"),
    ('{"user": 1, "item": 2, "ts": 3}\n\n{"user": 1, "item\n', 3, "not JSON"),
    ('{"user": 1, "item": 2, "ts": 3}\n17\n', 2, "17 is not a JSON object"),
    ('{"user": 1, "item": 2, "ts": 3}\n{"user": NaN, "item": 2, "ts": 3}\n', 2, "NaN is not JSON"),
    ('{"user": 1, "item": 2, "ts": 3}\n{"user": 1, "item": [2], "ts": 3}\n', 2, "is not an id"),
    ('{"user": 1, "item": 2, "ts": 3}\n{"user": true, "item": 2, "ts": 3}\n', 2, "is not an id"),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN)
def test_broken_files_name_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        raw(tmp_path, text)
    assert caught.value.line == line
    assert caught.value.remedy


def test_json_that_breaks_far_down_names_the_line(tmp_path: Path) -> None:
    good = '{"user": 1, "item": 2, "ts": 3}\n'
    with pytest.raises(DataError, match="not JSON") as caught:
        raw(tmp_path, good * 80 + '{"user": 1, "item"\n')
    assert caught.value.line == 81


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user": [1], "item": [2], "ts": [3]}).write_parquet(path)
    with pytest.raises(DataError, match="Parquet file cannot be read"):
        raw(tmp_path, path.read_bytes()[:-30])
