"""One file over HTTP: resumed where it stopped, or started again where the server cannot."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moerec.errors import DataError, UsageError

Progressed = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all (None: not known)."""

_CHUNK: Final = 1 << 18
_TIMEOUT_S: Final = 30.0
_AGAIN: Final = (
    "Check the connection and the address, then run the same command: it goes on from there."
)
_NETWORK: Final = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def fetch(url: str, part: Path, progress: Progressed | None = None) -> None:
    """Bring `url` into the file `part`, which may hold its first bytes already.

    Raises DataError when the server refuses or the connection breaks (`part` keeps what came),
    OSError when the disk refuses.
    """
    offset = part.stat().st_size if part.exists() else 0
    response = _open(url, offset)
    if response is None:  # nothing after `offset`: it is whole already, or not this file
        return
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            offset = 0
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        done = _copy(response, part, offset, total, progress)
    if total is not None and done < total:
        raise DataError(f"{url} broke off after {done:,} of {total:,} bytes", _AGAIN)


def fetch_text(url: str) -> str | None:
    """A small text, or None if the server has none."""
    try:
        with urllib.request.urlopen(_request(url), timeout=_TIMEOUT_S) as response:  # noqa: S310
            return str(response.read(4096).decode("ascii", errors="replace"))
    except _NETWORK:
        return None


def _copy(
    response: http.client.HTTPResponse,
    part: Path,
    offset: int,
    total: int | None,
    progress: Progressed | None,
) -> int:
    done = offset
    with part.open("ab" if offset else "wb") as file:
        while chunk := _read(response):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    return done


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except _NETWORK as cause:
        raise DataError(f"the connection broke ({cause})", _AGAIN) from None


def _open(url: str, offset: int) -> http.client.HTTPResponse | None:
    request = _request(url)
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - scheme checked
    except urllib.error.HTTPError as cause:
        cause.close()
        if offset and cause.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        raise DataError(f"{url} answered {cause.code} {cause.reason}", _AGAIN) from None
    except _NETWORK as cause:
        raise DataError(f"cannot reach {url} ({cause})", _AGAIN) from None
    assert isinstance(response, http.client.HTTPResponse)  # noqa: S101 - an http(s) address
    return response


def _request(url: str) -> urllib.request.Request:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url} is not a web address", "Give one that begins with https://.")
    return urllib.request.Request(url)  # noqa: S310 - the scheme was checked in the line above
