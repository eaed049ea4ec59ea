"""The format is found from the first lines alone."""

from pathlib import Path

import pytest

from moerec.data.columns import ColumnNames
from moerec.data.door import CheckedFile
from moerec.data.formats import Kind, Layout, fields_of, first_lines, recognise
from moerec.errors import DataError


def layout(text: str, **names: str) -> Layout:
    head = text.encode()
    return recognise(CheckedFile(Path("log"), head, head), ColumnNames(**names))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("user_id,item_id,timestamp\n1,2,3\n", Kind.TABLE),
        ("1::1193::5::978300760\n", Kind.TABLE),
        ("196\t242\t3\t881250949\n", Kind.TABLE),
        ('{"user_id": 1}\n', Kind.JSON_LINES),
        ("1 1\n1 2\n", Kind.SEQUENCES),
        ("1\t1\n1\t2\n", Kind.SEQUENCES),
        ("1 1 2 3\n2 4\n", Kind.SEQUENCES),
        ("ann matrix inception\n", Kind.SEQUENCES),
        ("1 1 2 3\t0 5 7\n", Kind.SEQUENCES_WITH_GAPS),
        ("1 1\t0\n2 4 5\t0 5\n", Kind.SEQUENCES_WITH_GAPS),
    ],
)
def test_kinds(text: str, kind: Kind) -> None:
    assert layout(text).kind is kind


def test_parquet_is_known_at_the_door() -> None:
    file = CheckedFile(Path("log"), Path("log"), b"PAR1", is_parquet=True)
    assert recognise(file, ColumnNames()).kind is Kind.PARQUET


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
def test_separators(separator: str) -> None:
    header = ("user_id", "item_id", "timestamp")
    found = layout(separator.join(header) + "\n" + separator.join("123") + "\n")
    assert (found.separator, found.header, found.header_line) == (separator, header, 1)


def test_names_with_blanks_do_not_split_at_blanks() -> None:
    """`user id,item id` has more blanks than commas, and `user` alone is a name we know."""
    assert layout("user id,item id\n1,2\n").header == ("user id", "item id")


def test_a_header_after_blank_lines_keeps_its_line() -> None:
    assert layout("\n \nuser,item,ts\n1,2,3\n").header_line == 3


def test_quoted_names_are_read() -> None:
    assert layout('"user_id","a, b",item_id\n').header == ("user_id", "a, b", "item_id")


def test_movielens_has_fixed_columns_and_no_quotes() -> None:
    found = layout("1::1193::5::978300760\n")
    assert (found.separator, found.header_line, found.quoted) == ("::", 0, False)
    assert found.header == ("user", "item", "rating", "timestamp")


def test_without_a_header_columns_are_called_by_position() -> None:
    found = layout("A,B,5\n", user="1", item="2", timestamp="3")
    assert (found.header, found.header_line) == (("1", "2", "3"), 0)


@pytest.mark.parametrize(
    "text",
    ["1,2,3\n", "A1,B2,5.0,1353110400\n", "1\t2\t9\t881250949\n", "1\t2\t3\t4\n", "1\t2\t3\n"],
)
def test_a_table_without_a_header_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no header line") as caught:
        layout(text)
    assert caught.value.line == 1
    assert "--user 1" in caught.value.remedy


def test_a_long_first_line_is_shortened_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        layout("1," * 5000 + "2\n")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["[1, 2]\n", "<!DOCTYPE html>\n<p>a b\n", "<?xml version='1'?>\n"])
def test_other_documents_are_named(text: str) -> None:
    with pytest.raises(DataError, match=r"JSON array|web page"):
        layout(text)


def test_a_field_of_any_length_that_passed_the_door_is_read() -> None:
    """Python's csv module refuses fields over 128 KiB unless told otherwise."""
    assert len(fields_of("x" * 300_000 + ",y", ",")) == 2


def test_first_lines_skip_blank_ones_and_the_byte_order_mark() -> None:
    assert first_lines(b"\xef\xbb\xbfa\r\n\n  \nb") == [(1, "a"), (4, "b")]
