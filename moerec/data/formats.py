"""What kind of log a file is, found from its first lines (its name is not needed)."""

import csv
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import Final

from moerec.data.columns import ColumnNames, has_known_names
from moerec.data.door import LONGEST_LINE, CheckedFile
from moerec.errors import DataError

SEPARATORS: Final = (",", "\t", ";", "|", " ")
MOVIELENS: Final = "::"
UNIT_SEPARATOR: Final = "\x1f"
"""The control character that separates fields: no log has it in its texts."""

_LINES_LOOKED_AT: Final = 50


class Kind(Enum):
    """The families of logs; each has its reader."""

    TABLE = "table"  # CSV, TSV, semicolons, MovieLens `::`
    JSON_LINES = "JSON lines"
    PARQUET = "Parquet"
    SEQUENCES = "sequences"  # `user item` or `user item item ...` a line
    SEQUENCES_WITH_GAPS = "sequences with gaps"  # the same, TAB, seconds since the event before


@dataclass(frozen=True)
class Layout:
    """How to read a text table: `separator` between fields; `header` the names, or "1", "2" ...

    `header_line` counts from 1 and is 0 where there is no header line. `quoted` says whether a
    field may stand in double quotes.
    """

    kind: Kind
    separator: str = ","
    header: tuple[str, ...] = ()
    header_line: int = 0
    quoted: bool = True


def first_lines(head: bytes) -> list[tuple[int, str]]:
    """The first lines that are not blank, each with its number (from 1), without line ends."""
    text = head.decode("utf-8-sig", errors="ignore")
    lines = enumerate(text.split("\n"), start=1)
    filled = ((number, line.rstrip("\r")) for number, line in lines if line.strip())
    return list(itertools.islice(filled, _LINES_LOOKED_AT))


def recognise(file: CheckedFile, names: ColumnNames) -> Layout:
    """The layout of a log. Raises DataError for what is none of them."""
    if file.is_parquet:
        return Layout(Kind.PARQUET)
    lines = first_lines(file.head)
    number, first = lines[0]
    if first.lstrip().startswith("{"):
        return Layout(Kind.JSON_LINES)
    if first.lstrip().startswith("["):
        remedy = "Write one JSON object a line, for example with: jq -c '.[]' IN > OUT"
        raise DataError(
            "this is a JSON array, not one object a line", remedy, path=file.path, line=number
        )
    if _has_gaps(first):
        return Layout(Kind.SEQUENCES_WITH_GAPS)
    if first.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        remedy = "Download the file itself; a page is often an error message."
        raise DataError("this is a web page or XML", remedy, path=file.path, line=number)
    separator, header = find_header(first, names)
    if header:
        return Layout(Kind.TABLE, separator, header, number)
    if separator == " " or ("\t" in first and _tab_pairs(lines)):
        return Layout(Kind.SEQUENCES)
    return _headerless(file, lines, separator, names)


def fields_of(line: str, separator: str) -> list[str]:
    """The fields of one line, quotes understood."""
    if separator == MOVIELENS:
        return line.split(MOVIELENS)
    csv.field_size_limit(LONGEST_LINE)  # a line that passed the door may be one field
    return next(csv.reader([line], delimiter=separator), [])


def find_header(first: str, names: ColumnNames) -> tuple[str, tuple[str, ...]]:
    """The separator, and the names if the first line is a header."""
    candidates = [(separator, fields_of(first, separator)) for separator in SEPARATORS]
    known = [(sep, fields) for sep, fields in candidates if has_known_names(fields, names)]
    if MOVIELENS in first and not known:
        return MOVIELENS, ()
    # A blank separates only where nothing else does: names and titles have blanks of their own.
    usual = [pair for pair in known if pair[0] != " "]
    separator, fields = max(usual or known or candidates[:-1], key=lambda pair: len(pair[1]))
    if not known and len(fields) == 1:
        return " ", ()
    is_header = bool(known) or not any(_is_number(field) for field in fields)
    return separator, tuple(name.strip() for name in fields) if is_header else ()


def _has_gaps(first: str) -> bool:
    left, _, right = first.partition("\t")
    gaps = right.split()
    return (
        len(gaps) == len(left.split()) - 1 > 0
        and all(map(_is_number, gaps))
        and " " in left.strip()
    )


def _tab_pairs(lines: list[tuple[int, str]]) -> bool:
    return all(line.count("\t") == 1 for _, line in lines)


def _headerless(
    file: CheckedFile, lines: list[tuple[int, str]], separator: str, names: ColumnNames
) -> Layout:
    """A table whose first line is data: MovieLens, or columns named by position."""
    fields = fields_of(lines[0][1], separator)
    positions = tuple(str(place) for place in range(1, len(fields) + 1))
    if names.given():
        return Layout(Kind.TABLE, separator, positions, quoted=separator != MOVIELENS)
    if len(fields) == 4 and (separator == MOVIELENS or _is_u_data(lines)):
        return Layout(Kind.TABLE, separator, ("user", "item", "rating", "timestamp"), quoted=False)
    shown = lines[0][1] if len(lines[0][1]) <= 60 else lines[0][1][:57] + "..."
    message = f"there is no header line: the first line is {shown!r}"
    remedy = (
        "Add one (user_id, item_id, timestamp), or name the columns by their place: "
        "--user 1 --item 2 --timestamp 4."
    )
    raise DataError(message, remedy, path=file.path, line=lines[0][0])


def _is_u_data(lines: list[tuple[int, str]]) -> bool:
    """MovieLens 100k: user, item, rating of 1 to 5, epoch seconds, between tabs."""
    for _, line in lines:
        fields = line.split("\t")
        if len(fields) != 4 or not all(field.strip().isdigit() for field in fields):
            return False
        if not 0 <= int(fields[2]) <= 5 or int(fields[3]) < 10**8:
            return False
    return True


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
