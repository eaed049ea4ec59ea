"""Where machine code is kept between processes: a folder for each state of the sources.

numba looks whether the file of the function that is called has changed, and not the files of those it calls.
"""

import hashlib
import logging
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba

from moerec.models import attention

SOURCES: Final = (*sorted(Path(__file__).parent.glob("*.py")), Path(attention.__file__))

PREFIX: Final = "kernels-"
FOLDERS: Final = 4
"""So many states are kept: versions that run beside each other, and the one before."""

log = logging.getLogger(__name__)
config: Any = numba.config  # its attributes are made at import, out of any type checker's sight


def digest(sources: tuple[Path, ...]) -> str:
    """Of the names and the contents of some files."""
    found = hashlib.sha256()
    for path in sources:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """The folder for these sources, made where it was missing; None where none can be made.

    It lies in NUMBA_CACHE_DIR, else beside this file, else in the user's cache.
    """
    beside = Path(__file__).parent / "__pycache__"
    given = config.CACHE_DIR
    for base in [Path(given)] if given else [beside, Path.home() / ".cache" / "moerec"]:
        own = base / (PREFIX + digest(SOURCES))
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(own, os.W_OK):
            _forget_old(base)
            return own
    log.warning("Each start compiles the kernels anew: set NUMBA_CACHE_DIR to keep them.")
    return None


def _forget_old(base: Path) -> None:
    states = sorted(base.glob(PREFIX + "*"), key=lambda path: path.stat().st_mtime)
    for old in states[:-FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)
