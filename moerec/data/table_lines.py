"""From a row of a text table back to its line: only for messages, so it may be slow."""

import csv
from collections.abc import Collection, Iterator

from moerec.data.door import LONGEST_LINE, CheckedFile
from moerec.data.formats import Layout
from moerec.errors import DataError


class TableLines:
    """Walks through a text table record by record; a quoted field may hold line ends."""

    def __init__(self, file: CheckedFile, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    def line_of(self, row: int) -> int:
        """The first line of row `row` (rows count from 0, without the header; lines from 1)."""
        return next(line for place, line, _ in self._records() if place == row)

    def blank_among(self, rows: Collection[int]) -> list[int]:
        """Those of `rows` that are blank lines."""
        wanted = set(rows)
        if not wanted:
            return []
        last = max(wanted)
        blank = []
        for row, _, fields in self._records():
            if row in wanted and len(fields) < 2 and not "".join(fields).strip():
                blank.append(row)
            if row >= last:
                break
        return blank

    def refuse_first_broken(self) -> None:
        """Raise DataError for the first record with too many fields, or a quote that does not fit."""
        width = len(self._layout.header)
        for _, line, fields in self._records():
            if len(fields) > width:
                message = f"{len(fields)} fields, but the table has {width} columns"
                remedy = "Quote fields that contain the separator, or repair the line."
                raise DataError(message, remedy, path=self._file.path, line=line)
        for line, text in enumerate(self._file.open(), start=1):
            if _has_stray_quote(text.rstrip(b"\r\n"), self._layout.separator.encode()):
                message = "a double quote inside a field that is not quoted"
                remedy = 'Quote the whole field and double the quote inside it: "12"" vinyl".'
                raise DataError(message, remedy, path=self._file.path, line=line)

    def _records(self) -> Iterator[tuple[int, int, list[str]]]:
        """Row, first line, fields."""
        text = (line.decode("utf-8-sig") for line in self._file.open())
        if not self._layout.quoted:
            for row, line in enumerate(text):
                yield row, row + 1, line.rstrip("\r\n").split(self._layout.separator)
            return
        csv.field_size_limit(LONGEST_LINE)
        reader = csv.reader(text, delimiter=self._layout.separator, strict=True)
        row, started = 0, 1
        try:
            for fields in reader:
                if started > self._layout.header_line:
                    yield row, started, fields
                    row += 1
                started = reader.line_num + 1
        except csv.Error as cause:
            remedy = "Close the quote, or double quotes inside a quoted field."
            message = f"a quote that does not fit ({cause})"
            raise DataError(message, remedy, path=self._file.path, line=started) from None


def _has_stray_quote(line: bytes, separator: bytes) -> bool:
    return any(b'"' in field and field[:1] != b'"' for field in line.split(separator))
