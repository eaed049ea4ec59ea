"""A log read whole: order, ties, duplicates, the future, and every refusal."""

import datetime as dt
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.data.columns import ColumnNames
from moerec.data.interactions import Interactions, from_frame, read_interactions
from moerec.errors import DataError, UsageError

NOW_MS = 1_700_000_000_000
HEADER = "user_id,item_id,timestamp\n"


def read(folder: Path, text: str, **names: str) -> Interactions:
    path = folder / "log.csv"
    path.write_text(text)
    return read_interactions(path, ColumnNames(**names), now_ms=NOW_MS)


def pairs(log: Interactions) -> list[tuple[str, str]]:
    return [(user, item) for user, item in log.frame.select("user_id", "item_id").rows()]


def test_users_by_first_appearance_events_by_time_ties_in_file_order(tmp_path: Path) -> None:
    log = read(tmp_path, HEADER + "b,1,30\na,1,20\nb,2,10\na,9,20\na,3,20\nb,1,10\n")
    assert pairs(log) == [("b", "2"), ("b", "1"), ("b", "1"), ("a", "1"), ("a", "9"), ("a", "3")]
    assert log.frame.get_column("timestamp").to_list() == [10_000, 10_000, 30_000] + 3 * [20_000]
    assert log.frame.columns == ["user_id", "item_id", "timestamp"]
    assert log.report.tied_rows == 3
    assert log.has_time


def test_without_times_the_timestamp_is_the_place(tmp_path: Path) -> None:
    log = read(tmp_path, "user,item,ts\nb,1,x\na,1,y\nb,1,z\n", timestamp="none")
    assert pairs(log) == [("b", "1"), ("b", "1"), ("a", "1")]
    assert log.frame.get_column("timestamp").to_list() == [0, 1, 0]
    assert log.frame.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert not log.has_time
    assert log.report.duplicate_rows == 0


def test_the_order_column_orders_and_minus_one_is_left_out(tmp_path: Path) -> None:
    log = read(tmp_path, "user,movie,rating,pos\n1,a,5,2\n1,b,4,-1\n1,c,3,0\n2,a,1,7\n")
    assert pairs(log) == [("1", "c"), ("1", "a"), ("2", "a")]
    assert log.frame.get_column("timestamp").to_list() == [0, 1, 0]
    assert log.frame.get_column("value").to_list() == [3.0, 5.0, 1.0]
    assert (log.report.rows, log.report.events, log.report.unplaced_rows) == (4, 3, 1)
    assert "no place" in str(log.report)


def test_exact_duplicates_are_kept_once_even_between_ties(tmp_path: Path) -> None:
    rows = [
        "u,a,5,view,1",
        "u,b,5,view,1",
        "u,a,5,view,1",
        "u,a,5,click,1",
        "u,a,5,view,2",
        "u,a,6,view,1",
    ]
    log = read(tmp_path, "user,item,ts,event,value\n" + "\n".join(rows))
    assert log.report.duplicate_rows == 1
    assert log.report.events == 5
    assert log.frame.get_column("item_id").to_list() == ["a", "b", "a", "a", "a"]


def test_rows_in_the_future_are_left_out_and_counted(tmp_path: Path) -> None:
    log = read(tmp_path, HEADER + "u,a,1600000000\nu,b,1700000000\nv,c,1700000001\n")
    assert pairs(log) == [("u", "a"), ("u", "b")]
    assert log.report.future_rows == 1
    assert (log.report.users, log.report.items, log.report.short_users) == (1, 2, 1)


def test_a_log_wholly_in_the_future_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row lies in the future"):
        read(tmp_path, HEADER + "u,a,1800000000\n")


def test_the_clock_is_used_when_no_time_is_given(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    year = dt.datetime.now(tz=dt.UTC).year
    path.write_text(HEADER + f"u,a,2020-01-01\nu,b,{year + 2}-01-01\n")
    assert read_interactions(path).report.future_rows == 1


def test_the_report_prints_what_is_not_zero(tmp_path: Path) -> None:
    log = read(tmp_path, HEADER + "u,a,1\nu,a,1\nu,b,1\nu,b,2\nv,a,1800000000\n")
    assert str(log.report).splitlines() == [
        "5 rows read: 3 events, 1 user, 2 items",
        "  1 row left out: exact duplicates",
        "  1 row left out: time in the future",
        "  1 event at the same time as the user's event before: file order kept",
    ]


def test_ids_are_trimmed_and_stay_texts(tmp_path: Path) -> None:
    log = read(tmp_path, "user_id, item_id, timestamp\n007, 1.0, 5\n")
    assert pairs(log) == [("007", "1.0")]


BAD_VALUES = [
    ("user_id,item_id,timestamp\nu,a,1\nu,a,soon\n", 3, "timestamp", "'soon' is not a time"),
    ("user_id,item_id,timestamp\nu,a,1\nu,a,\n", 3, "timestamp", "nothing is not a time"),
    ("user_id,item_id,timestamp\nu,a,1\nu\n", 3, "item_id", "nothing where the id of the item"),
    ("user_id,item_id,timestamp\nu,a,1\n,a,2\n", 3, "user_id", "nothing where the id of the user"),
    (
        'user_id,item_id,timestamp\nu,a,1\n"",a,2\n',
        3,
        "user_id",
        "nothing where the id of the user",
    ),
    (
        "user_id,item_id,timestamp\nu,a,1\n\nNaN,a,2\n",
        4,
        "user_id",
        "'NaN' where the id of the user",
    ),
    ("user_id,item_id,timestamp\nu,null,1\n", 2, "item_id", "'null' where the id of the item"),
    ("user_id,movieId,ts,stars\nu,a,1,good\n", 2, "stars", "'good' is not a number"),
    ("user_id,movieId,ts,stars\nu,a,1,-1e39\n", 2, "stars", "beyond 1,000,000,000, up or down"),
    ("user,movie,pos\nu,a,first\n", 2, "pos", "'first' is not a place"),
    (f"user,item,ts,event\nu,a,1,{'e' * 65}\n", 2, "event", "more than 64 characters"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), BAD_VALUES)
def test_bad_values_name_line_column_value_and_remedy(
    tmp_path: Path, text: str, line: int, column: str, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "log.csv" in caught.value.message
    assert len(caught.value.message) < 60 + len(str(tmp_path)) + 100
    assert caught.value.remedy


@pytest.mark.parametrize("text", [HEADER, HEADER.strip(), HEADER + "\n\n"])
def test_a_log_without_events_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="no events"):
        read(tmp_path, text)


def test_missing_ratings_are_null(tmp_path: Path) -> None:
    log = read(tmp_path, "user,item,ts,rating\nu,a,1,NaN\nu,b,2,\nu,c,3,4\n")
    assert log.frame.get_column("value").to_list() == [None, None, 4.0]


times = st.integers(0, 6)
spreads = st.sampled_from([0, 1, 1000, 2**45, 2**59])
events = st.tuples(
    st.sampled_from("abc"), st.sampled_from("xyz"), times, st.sampled_from(["1.0", "2.0"])
)


@settings(deadline=None)
@given(
    st.lists(events, min_size=1, max_size=25),
    st.integers(0, 2**16),
    spreads,
)
def test_the_order_is_what_a_plain_sort_gives(
    log: list[tuple[str, str, int, str]], start: int, spread: int
) -> None:
    """Against ten lines of Python, also where user and time do not fit into one number."""
    at = [start + time * spread for *_, time, _ in log]
    users = list(dict.fromkeys(user for user, *_ in log))
    seen = set()
    expected = []
    for (user, item, _, value), time in sorted(
        zip(log, at, strict=True), key=lambda pair: (users.index(pair[0][0]), pair[1])
    ):
        if (user, item, time, value) not in seen:
            expected.append((user, item, time, float(value)))
        seen.add((user, item, time, value))
    table = pl.DataFrame(
        {
            "user": [user for user, *_ in log],
            "item": [item for _, item, *_ in log],
            "ts": pl.Series(at).cast(pl.Datetime("ms")),
            "value": [value for *_, value in log],
        }
    )
    made = from_frame(table, now_ms=2**62)
    assert made.frame.rows() == expected
    assert made.report.duplicate_rows == len(log) - len(expected)


@settings(deadline=None)
@given(st.permutations([("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("b", "x", 4), ("b", "y", 5)]))
def test_shuffled_lines_change_only_the_order_of_users(rows: list[tuple[str, str, int]]) -> None:
    log = from_frame(pl.DataFrame(rows, schema=["user", "item", "ts"], orient="row"))
    by_user = dict(pairs_by_user(log))
    assert by_user == {"a": ["x", "y", "z"], "b": ["x", "y"]}
    assert next(iter(by_user)) == rows[0][0]


def pairs_by_user(log: Interactions) -> list[tuple[str, list[str]]]:
    parts = log.frame.group_by("user_id", maintain_order=True).agg("item_id")
    return [(user, items) for user, items in parts.rows()]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([12, 7]), ["12", "7"]),
        (pl.Series([12, 7], dtype=pl.UInt8), ["12", "7"]),
        (pl.Series([12.0, 7.0]), ["12", "7"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])), ["a", "b"]),
    ],
)
def test_typed_ids_become_texts(tmp_path: Path, column: pl.Series, expected: list[str]) -> None:
    table = pl.DataFrame({"user_id": column, "item_id": ["x", "y"], "timestamp": [1, 2]})
    assert from_frame(table).frame.get_column("user_id").to_list() == expected
    table.write_parquet(tmp_path / "log.parquet")
    read_back = read_interactions(tmp_path / "log.parquet")
    assert read_back.frame.get_column("user_id").to_list() == expected


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pl.Series([12.0, 7.5]), "row 2: 7.5 where the id of the item"),
        (pl.Series([12.0, None]), "row 2: nothing where the id of the item"),
        (pl.Series([12.0, float("nan")]), "row 2: nan where the id of the item"),
        (pl.Series([12.0, float("inf")]), "row 2: inf where the id of the item"),
        (pl.Series([12.0, 2.0**60]), "row 2: 1.152921504606847e.18 where the id of the item"),
        (pl.Series([1, None]), "row 2: nothing where the id of the item"),
        (pl.Series([None, None]), "row 1: nothing where the id of the item"),
        (pl.Series([True, False]), "ids of type Boolean"),
        (pl.Series([[1], [2]]), "ids of type List"),
    ],
)
def test_bad_typed_ids_are_refused(tmp_path: Path, column: pl.Series, words: str) -> None:
    table = pl.DataFrame({"user_id": ["u", "v"], "item_id": column, "timestamp": [1, 2]})
    with pytest.raises(DataError, match=words) as caught:
        from_frame(table)
    assert caught.value.column == "item_id"
    table.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=words):
        read_interactions(tmp_path / "log.parquet")


def test_pandas_frames_are_read() -> None:
    frame = pd.DataFrame(
        {
            "userId": [2, 1],
            "movieId": ["x", "y"],
            "rating": [4.5, None],
            "timestamp": pd.to_datetime(["2024-01-02", "2024-01-01"]),
        }
    )
    log = from_frame(frame)
    assert pairs(log) == [("2", "x"), ("1", "y")]
    assert log.frame.get_column("value").to_list() == [4.5, None]
    assert log.source == "<frame>"


def test_pandas_ids_with_a_hole_are_refused() -> None:
    """A missing id turns a pandas column of whole numbers into floats with NaN."""
    frame = pd.DataFrame({"user": [1, None, 3], "item": [1, 2, 3], "ts": [1, 2, 3]})
    with pytest.raises(DataError, match="row 2: nothing where the id of the user"):
        from_frame(frame)
    log = from_frame(frame.dropna())
    assert log.frame.get_column("user_id").to_list() == ["1", "3"]


@pytest.mark.parametrize("thing", [[1, 2], {"user": [1]}, "log.csv", pd.Series([1])])
def test_other_objects_are_no_logs(thing: object) -> None:
    with pytest.raises(UsageError, match="DataFrame"):
        from_frame(thing)
