"""The door: every file is looked through once, as bytes, before a parser sees it.

A parser that meets a binary file, another encoding or a broken archive fails late and in its own
words. Here such a file is refused at once, with the line and what to do about it.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from moerec.data.utf8 import Utf8Check
from moerec.errors import DataError

CHUNK: Final = 4 << 20
"""Bytes looked at in one step. A line may not be longer than this."""

LONGEST_LINE: Final = CHUNK
_OTHER_ARCHIVES: Final = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"BZh": "compressed with bzip2",
}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class CheckedFile:
    """A file that passed the door.

    `content` is what a parser may read: the path itself, or the bytes where they had to be
    unpacked (gzip) or re-encoded (Latin-1); a UTF-8 byte order mark is left to the parser. `head`
    is the first `CHUNK` bytes at most, up to the end of a line.
    """

    path: Path
    content: Path | bytes
    head: bytes
    is_parquet: bool = False

    def open(self) -> Iterator[bytes]:
        """The lines of the content, with their ends."""
        if isinstance(self.content, bytes):
            yield from self.content.splitlines(keepends=True)
        else:
            with self.content.open("rb") as file:
                yield from file

    def read(self) -> bytes:
        """The whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def check_file(
    path: str | Path,
    *,
    latin1_if: Callable[[Path, bytes], bool] | None = None,
    long_lines: bool = False,
) -> CheckedFile:
    """Look through the file at `path` once.

    `latin1_if(path, head)` says whether a file that is not UTF-8 may be read as Latin-1;
    `long_lines` lets one line be as long as the file (a JSON document). Raises DataError.
    """
    path = Path(path)
    with _readable(path) as file:
        magic = file.read(8)
        file.seek(0)
        _refuse_other_kinds(path, magic)
        if magic[:4] == b"PAR1":
            return CheckedFile(path, path, magic, is_parquet=True)
        zipped = magic[:2] == b"\x1f\x8b"
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
        return _look_through(path, stream, zipped, latin1_if, long_lines)


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            inside = sorted(entry.name for entry in path.iterdir() if entry.is_file())[:6]
            remedy = f"Name a file inside it: {', '.join(inside)}." if inside else "Name a file."
            raise DataError("this is a folder, not a file", remedy, path=path)
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError("no such file", "Check the path.", path=path) from None
    except PermissionError:
        remedy = "Make it readable for this user, for example with chmod u+r."
        raise DataError(
            "this file may not be read (permission denied)", remedy, path=path
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as cause:
        message = f"the gzip data is cut off or damaged ({cause})"
        raise DataError(message, "Fetch or pack the file again.", path=path) from None
    except OSError as cause:
        raise DataError(
            f"cannot be read ({cause.strerror})", "Check the path.", path=path
        ) from None


def _refuse_other_kinds(path: Path, magic: bytes) -> None:
    for start, kind in _OTHER_ARCHIVES.items():
        if magic.startswith(start):
            raise DataError(
                f"this file is {kind}", "Unpack it first, or pack it with gzip.", path=path
            )
    if magic.startswith(_UTF16):
        raise DataError("this file is UTF-16, not UTF-8", "Save it as UTF-8.", path=path)


def _look_through(
    path: Path,
    stream: BinaryIO,
    zipped: bool,
    latin1_if: Callable[[Path, bytes], bool] | None,
    long_lines: bool,
) -> CheckedFile:
    check = _TextCheck(path, long_lines)
    kept: list[bytes] = []
    head = b""
    while chunk := stream.read(CHUNK):
        if not head:
            head = chunk
            check.latin1 = latin1_if is not None and latin1_if(path, head)
        check.feed(chunk)
        if zipped or check.latin1:
            kept.append(chunk)
    check.finish()
    if check.chunks > 1:
        head = head[: head.rfind(b"\n") + 1] or head
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError("the file is empty", "Give a file with at least one event.", path=path)
    if b"\r" in head and b"\n" not in head:
        remedy = "Save it with Unix (LF) or Windows (CRLF) line ends."
        raise DataError("lines end with a carriage return alone", remedy, path=path, line=1)
    if check.utf8.broken_at is not None:
        return CheckedFile(path, b"".join(kept).decode("latin-1").encode(), head)
    return CheckedFile(path, b"".join(kept) if zipped else path, head)


class _TextCheck:
    """Refuses NUL bytes, bytes that are no UTF-8, and lines that are too long; knows the place."""

    def __init__(self, path: Path, long_lines: bool) -> None:
        self.path = path
        self.latin1 = False
        self.utf8 = Utf8Check()
        self.chunks = 0
        self._long_lines = long_lines
        self._lines_before = 0  # whole lines before the current chunk
        self._open_line = 0  # bytes of the current chunk's first line that came before the chunk

    def feed(self, chunk: bytes) -> None:
        nul = chunk.find(0)
        if nul >= 0:
            raise self._error(
                chunk, nul, "a NUL byte: this is a binary file", "Give a text file or Parquet."
            )
        broken = self.utf8.feed(chunk)
        if broken is not None and not self.latin1:
            raise self._not_utf8(chunk, broken)
        self._check_line_length(chunk)
        self._lines_before += chunk.count(b"\n")
        self.chunks += 1

    def finish(self) -> None:
        if not self.utf8.complete and not self.latin1:
            raise self._not_utf8(b"", 0)

    def _check_line_length(self, chunk: bytes) -> None:
        first = chunk.find(b"\n")
        ended = self._open_line + (first if first >= 0 else len(chunk))
        if ended > LONGEST_LINE and not self._long_lines:
            message = f"this line is longer than {LONGEST_LINE >> 20} MiB"
            remedy = "Look for a missing line end or an unclosed quote."
            raise DataError(message, remedy, path=self.path, line=self._lines_before + 1)
        self._open_line = ended if first < 0 else len(chunk) - 1 - chunk.rfind(b"\n")

    def _not_utf8(self, chunk: bytes, at: int) -> DataError:
        remedy = "Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8 IN > OUT"
        return self._error(chunk, at, "this byte is not valid UTF-8", remedy)

    def _error(self, chunk: bytes, at: int, message: str, remedy: str) -> DataError:
        line = self._lines_before + chunk.count(b"\n", 0, max(at, 0)) + 1
        start = chunk.rfind(b"\n", 0, max(at, 0))
        byte = at - start if start >= 0 else self._open_line + at + 1
        return DataError(f"byte {byte}: {message}", remedy, path=self.path, line=line)
