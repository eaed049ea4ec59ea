"""Every error that moerec raises on purpose, as one tree.

    MoerecError                     has a message, a remedy, an exit code and an HTTP status
    |-- UsageError                  a command line or a call that cannot be carried out as given
    |-- SettingsError               an environment variable or option with a value we refuse
    |-- DataError                   a log or an item file that cannot be read; names file, line, column
    |-- ArtifactError               a bundle or a checkpoint that must not be used
    |-- LeakError                   an evaluation that would score events the bundle was trained on
    |-- StorageError                the disk or the event store refused a read or a write
    |-- DistributedError            another process of the same training has gone
    |-- TokenError                  a token that is missing, expired or not valid
    |-- ServiceError                a process of `moerec serve` that cannot be kept alive
    `-- EngineUnavailableError      the engine did not answer in time (the gateway then falls back)
        |-- EngineAwayError         nobody is there: another engine may be asked
        `-- EngineTooSlowError      somebody is there, but the time is over

The command line prints `error: <message>` and the remedy, and ends with `exit_code`; the gateway turns
`http_status` into a problem document in one place (`api/errors.py`).
"""

from pathlib import Path
from typing import ClassVar


class MoerecError(Exception):
    """Base of the tree: says what is wrong, and what to do about it."""

    exit_code: ClassVar[int] = 2
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(MoerecError):
    """A command or a call that cannot be carried out as given."""

    http_status = 422


class SettingsError(MoerecError):
    """A setting that we do not know, or whose value we refuse."""


class DataError(MoerecError):
    """A log or an item file that cannot be read.

    `line` counts from 1 and includes a header line; `column` is a column's name, or a position
    counted from 1 where the file has no names.
    """

    http_status = 422

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        path: Path | str | None = None,
        line: int | None = None,
        column: str | int | None = None,
    ) -> None:
        place = [str(path)] if path is not None else []
        if line is not None:
            place.append(f"line {line}")
        if column is not None:
            place.append(f"column {column}")
        super().__init__(f"{', '.join(place)}: {message}" if place else message, remedy)
        self.path = path
        self.line = line
        self.column = column


class ArtifactError(MoerecError):
    """A bundle or a checkpoint that is damaged, incomplete, or of a format we do not know."""


class LeakError(MoerecError):
    """The events to be scored are among those the bundle was trained on."""


class StorageError(MoerecError):
    """The disk or the event store refused; nothing was half-written."""

    http_status = 503


class DistributedError(MoerecError):
    """Another process of the same training has ended, does not answer, or does something else."""


class TokenError(MoerecError):
    """A token that is missing, expired or not valid; `code` says which: `token_missing` ...

    `lasting` is False where the same token may be good later.
    """

    http_status = 401

    def __init__(self, code: str, message: str, remedy: str = "", *, lasting: bool = True) -> None:
        super().__init__(message, remedy)
        self.code = code
        self.lasting = lasting


class ServiceError(MoerecError):
    """A process of `moerec serve` died too often or too early to go on."""

    exit_code = 1


class EngineUnavailableError(MoerecError):
    """The engine is away, too slow, or being restarted."""

    http_status = 503


class EngineAwayError(EngineUnavailableError):
    """The engine is not connected, or went while it was asked."""


class EngineTooSlowError(EngineUnavailableError):
    """There was no answer within the `timeout_s` seconds that the caller gave."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The engine did not answer within {1000 * timeout_s:.0f} ms.")
