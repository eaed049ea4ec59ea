"""The demo data as files, as a stranger's log and item file would come."""

import os
import tempfile
from pathlib import Path

from moerec.data.demo.catalogue import catalogue_csv
from moerec.data.demo.simulator import simulate
from moerec.errors import StorageError


def write_demo(folder: Path | str, viewers: int = 2000, seed: int = 7) -> tuple[Path, Path]:
    """Write `log.csv` (see `simulate`) and `items.csv` (the catalogue); answer with their paths.

    The folder is made if need be; each file appears whole or not at all, and replaces one of its
    name. Raises StorageError if the disk refuses, UsageError if `viewers` is below 1.
    """
    folder = Path(folder)
    log = simulate(viewers, seed).write_csv().encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write(folder / "log.csv", log), _write(folder / "items.csv", catalogue_csv())
    except OSError as error:
        raise StorageError(
            f"cannot write the demo data to {folder}: {error.strerror or error}",
            "Check the disk's free space and the folder's permissions, or name another folder.",
        ) from error


def _write(path: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # mkstemp lets only the owner read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
