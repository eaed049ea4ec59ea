"""MovieLens for those with internet: fetched from GroupLens by the user, never shipped with moerec."""

import errno
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from moerec.data.fetch import Progressed, fetch, fetch_text
from moerec.errors import DataError, StorageError, UsageError

GROUPLENS: Final = "https://files.grouplens.org/datasets/movielens"
LICENCE: Final = (
    "MovieLens data belong to GroupLens, University of Minnesota: for research use only, no commercial use, "
    "no redistribution without permission. The full terms are in {readme}. Please cite: F. M. Harper and "
    "J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015."
)
_LARGEST_CONTENT: Final = 8 << 30
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Archive:
    """One archive of GroupLens; `md5` is the sum they publish beside it (None: it changes)."""

    folder: str
    ratings: str
    items: str
    readme: str
    md5: str | None


ARCHIVES: Final = {
    "movielens-100k": Archive(
        "ml-100k", "u.data", "u.item", "README", "0e33842e24a9c977be4e0107933c0723"
    ),
    "movielens-1m": Archive(
        "ml-1m", "ratings.dat", "movies.dat", "README", "c4d9eecfca2ab87c1945afe126590906"
    ),
    "movielens-20m": Archive(
        "ml-20m", "ratings.csv", "movies.csv", "README.txt", "cd245b17a1ae2cc31bb14903e1204af3"
    ),
    "movielens-latest-small": Archive(
        "ml-latest-small", "ratings.csv", "movies.csv", "README.txt", None
    ),
}


@dataclass(frozen=True)
class Download:
    """What was fetched: the log, the item file, and the licence's note to show."""

    folder: Path
    ratings: Path
    items: Path
    licence: str


def download(
    name: str,
    target_dir: str | Path,
    base_url: str = GROUPLENS,
    progress: Progressed | None = None,
) -> Download:
    """Fetch and unpack the archive `name` into a folder of its own in `target_dir`.

    A broken transfer goes on where it stopped; the folder appears whole or not at all, and is not
    fetched again. The archive's MD5 must be the known one; another `base_url` than GroupLens's may
    bring its own, in a file ARCHIVE.zip.md5. `progress(done, total)` is called with bytes (total
    None if unknown). Raises UsageError (unknown name), DataError (network, damaged archive),
    StorageError (disk).
    """
    archive = _archive(name)
    target = Path(target_dir)
    folder = target / archive.folder
    with _disk_errors(target):
        if not (folder / archive.ratings).exists():
            target.mkdir(parents=True, exist_ok=True)
            _fetch_and_unpack(archive, target, base_url.rstrip("/"), progress)
    return Download(
        folder,
        folder / archive.ratings,
        folder / archive.items,
        LICENCE.format(readme=folder / archive.readme),
    )


def download_with_bar(
    name: str, target_dir: str | Path, base_url: str = GROUPLENS, *, console: Console
) -> Download:
    """The same with a progress bar and the licence's note on `console`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=None)
        done = download(
            name,
            target_dir,
            base_url,
            lambda at, total: bar.update(task, completed=at, total=total),
        )
    console.print(done.licence, highlight=False, markup=False)
    return done


def _archive(name: str) -> Archive:
    if name not in ARCHIVES:
        raise UsageError(f"there is no download called {name!r}", f"Choose: {', '.join(ARCHIVES)}.")
    return ARCHIVES[name]


def _fetch_and_unpack(
    archive: Archive, target: Path, base_url: str, progress: Progressed | None
) -> None:
    url = f"{base_url}/{archive.folder}.zip"
    part = target / f".{archive.folder}.zip.part"
    md5 = _expected_md5(archive, url, base_url)
    try:
        resumed = part.exists()
        fetch(url, part, progress)
        if resumed and md5 is not None and _md5(part) != md5:
            part.unlink()  # the half from last time was of another file: once more from the start
            fetch(url, part, progress)
        if md5 is not None and _md5(part) != md5:
            part.unlink()
            message = f"what came from {url} is not the archive expected (its MD5 is another)"
            raise DataError(message, "Try again; if it stays so, check the address.")
        _unpack(part, target, archive)
    except OSError as cause:
        if cause.errno in _DISK_FULL:
            part.unlink(missing_ok=True)
        raise
    part.unlink()


def _expected_md5(archive: Archive, url: str, base_url: str) -> str | None:
    """GroupLens's sum as we know it; a mirror's own file of sums goes before it."""
    if base_url == GROUPLENS and archive.md5 is not None:
        return archive.md5
    words = (fetch_text(f"{url}.md5") or "").replace("=", " ").split()
    sums = [word.lower() for word in words if len(word) == 32 and word.isalnum()]
    return sums[0] if sums else archive.md5


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(part: Path, target: Path, archive: Archive) -> None:
    """Unpack beside the final place, then rename: the folder is there whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=f".{archive.folder}-", dir=target) as scratch:
        try:
            with zipfile.ZipFile(part) as content:
                _extract(content, Path(scratch))
        except (zipfile.BadZipFile, EOFError, ValueError) as cause:
            part.unlink()
            raise DataError(f"{archive.folder}.zip is damaged ({cause})", "Try again.") from None
        unpacked = Path(scratch) / archive.folder
        if not (unpacked / archive.ratings).is_file():
            part.unlink()
            message = f"{archive.folder}.zip has no {archive.folder}/{archive.ratings} inside"
            raise DataError(message, "Check the address that it came from.")
        final = target / archive.folder
        if final.exists():
            remedy = "Move it away, or choose another folder."
            raise StorageError(f"{final} exists already, but has no {archive.ratings}", remedy)
        os.rename(unpacked, final)


def _extract(content: zipfile.ZipFile, scratch: Path) -> None:
    """Write the members as plain files inside `scratch`; ValueError for one that would leave it."""
    members = [member for member in content.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > _LARGEST_CONTENT:
        raise ValueError("it unpacks to more than 8 GiB")
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename:
            raise ValueError(f"it wants to write outside its folder: {member.filename!r}")
        place = scratch.joinpath(*name.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with content.open(member) as source, place.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        what = "the disk is full" if cause.errno in _DISK_FULL else str(cause.strerror or cause)
        message = f"cannot write into {target}: {what}"
        remedy = "Free some space, or choose another folder. Nothing half-written was left."
        raise StorageError(message, remedy) from None
