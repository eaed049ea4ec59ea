"""Files and folders that appear whole or not at all."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from moerec.errors import StorageError, UsageError


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(target: Path, data: bytes) -> None:
    """Put `data` at `target`, in the place of what was there. `StorageError` if the disk refuses."""
    scratch: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        scratch = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to write into; it becomes `target` when the block ends without an error.

    What was at `target` stays untouched until then. Without `replace` an existing `target` is a
    `StorageError`, and so is a disk that refuses (full, read-only, no permission).
    """
    if target.exists() and not replace:
        raise StorageError(f"{target} exists already", "Choose another name, or remove it first.")
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        scratch.chmod(0o755)
        yield scratch
        for path in scratch.iterdir():
            _flush(path)
        _swap(scratch, target)
        _flush(target.parent)
    except OSError as error:
        raise storage_error(error, target) from error
    except SafetensorError as error:
        # The library wraps what the disk said into an error of its own, and keeps the number in the text.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number.group(1))
        raise storage_error(OSError(code, os.strerror(code)), target) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def held(path: Path, busy: UsageError) -> Iterator[None]:
    """Hold the lock file `path` until the block ends. After a crash it may lie there, and is nobody's.

    Raises `busy` if another process, or another thread, holds it; `StorageError` if the disk refuses.
    """
    try:
        descriptor = _locked(path)
    except BlockingIOError:
        raise busy from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        yield
    finally:
        # First gone, then free: who waits for the name makes a file of its own.
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have removed it between our two steps: then this lock is of no file.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def storage_error(error: OSError, target: Path) -> StorageError:
    """An `OSError` while writing `target`, in words."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "Free some space or choose another disk; nothing was half-written."
    else:
        remedy = "Check the path and its permissions; nothing was half-written."
    return StorageError(f"cannot write {target}: {reason}", remedy)


def _swap(scratch: Path, target: Path) -> None:
    """Put `scratch` in the place of `target`; an old folder goes only after the new one stands."""
    if not target.exists():
        scratch.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old / "was")
    try:
        scratch.rename(target)
    except OSError:
        (old / "was").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
