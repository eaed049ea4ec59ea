"""`user item item ...` a line, with and without time gaps."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.data.door import CheckedFile
from moerec.data.raw import RawLog
from moerec.data.sequence_readers import read_sequences, read_sequences_with_gaps
from moerec.errors import DataError


def file_of(text: str) -> CheckedFile:
    return CheckedFile(Path("log.txt"), text.encode(), text.encode())


def events(log: RawLog) -> list[tuple[str, str]]:
    return [(user, item) for user, item in log.frame.select("user", "item").rows()]


def test_items_of_a_line_are_events_in_order() -> None:
    log = read_sequences(file_of("1 5 6 7\n2 5\n\n1 8\r\n"))
    assert events(log) == [("1", "5"), ("1", "6"), ("1", "7"), ("2", "5"), ("1", "8")]
    assert log.line_of is not None
    assert [log.line_of(row) for row in range(5)] == [1, 1, 1, 2, 4]


def test_pairs_are_sequences_of_one() -> None:
    assert events(read_sequences(file_of("1 5\n1 6\n2\t5\n"))) == [
        ("1", "5"),
        ("1", "6"),
        ("2", "5"),
    ]


ids = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)


@given(
    st.lists(
        st.lists(ids, min_size=2, max_size=6), min_size=2, max_size=8, unique_by=lambda x: x[0]
    ),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from([" ", "  ", "\t", " \t "]),
)
def test_any_blanks_and_line_ends(lines: list[list[str]], end: str, blank: str) -> None:
    text = end.join(blank.join(line) for line in lines) + end
    assert events(read_sequences(file_of(text))) == [
        (line[0], item) for line in lines for item in line[1:]
    ]


def test_a_user_without_items_is_refused() -> None:
    with pytest.raises(DataError, match=r"only one field, '2'") as caught:
        read_sequences(file_of("1 5\n\n2\n"))
    assert caught.value.line == 3


def test_a_table_in_disguise_is_refused() -> None:
    """`user item rating` would read as two items a line, silently."""
    with pytest.raises(DataError, match="every line has 3 fields"):
        read_sequences(file_of("1 10 5\n1 11 4\n2 10 1\n"))


def test_equal_lengths_with_different_users_are_sequences() -> None:
    assert len(read_sequences(file_of("1 10 5\n2 11 4\n")).frame) == 4


def test_gaps_add_up_from_zero_for_each_user() -> None:
    log = read_sequences_with_gaps(file_of("1 5 6 7\t0 60 0\n2 5\t3\n1 8\t40\n"))
    assert events(log) == [("1", "5"), ("1", "6"), ("1", "7"), ("2", "5"), ("1", "8")]
    times = log.frame.get_column("timestamp").cast(pl.Int64).to_list()
    assert times == [0, 60_000, 60_000, 3_000, 100_000]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("1 5 6\t0 1\n2 5 6\t0\n", 2, "2 items, but 1 time gaps"),
        ("1 5 6\t0 1\n\n2 5 6\n", 3, "2 items, but 0 time gaps"),
        ("1 5 6\t0 1\n2 5\tx\n", 2, "'x' is not a time gap"),
        ("1 5 6\t0 -1\n", 1, "'-1' is not a time gap"),
        ("1 5 6\t0 1.5\n", 1, "'1.5' is not a time gap"),
        ("1 5 6\t0 1\n2\t\n", 2, "only one field"),
    ],
)
def test_bad_gaps_are_refused_with_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_sequences_with_gaps(file_of(text))
    assert caught.value.line == line
