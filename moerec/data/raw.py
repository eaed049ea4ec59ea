"""What every reader hands over: the log's columns as they stood, and where each row came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from moerec.errors import DataError


@dataclass(frozen=True)
class RawLog:
    """A log before it is checked: one row an event, in file order.

    `frame` has `user` and `item` (any type), and those of `timestamp`, `place`, `event`, `value`
    that the log has. `names` tells how each is called in the file. `line_of` finds the line of a
    row (both from their start; rows count from 0, lines from 1); None: rows have no lines.
    """

    frame: pl.DataFrame
    source: str
    names: Mapping[str, str] = field(default_factory=dict)
    line_of: Callable[[int], int] | None = None

    def error(self, row: int, role: str, message: str, remedy: str) -> DataError:
        """An error about the value of `role` in `row`."""
        column = self.names.get(role, role)
        if self.line_of is None:
            return DataError(
                f"row {row + 1}: {message}", remedy, path=self.source, line=None, column=column
            )
        return DataError(message, remedy, path=self.source, line=self.line_of(row), column=column)


def shortened(value: object) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
