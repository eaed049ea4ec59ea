"""The store of a run: a history for every user, loaded in bulk, kept, and copied for each run."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moerec.artifacts.files import storage_error
from moerec.errors import UsageError
from moerec.loadtest.plan import Plan
from moerec.loadtest.synthetic import TASTES, World, lengths, times
from moerec.store.bulk import NewEvent, NewHistory
from moerec.store.sql import open_event_store
from moerec.types import UserId

USERS_AT_ONCE: Final = 5_000
"""Users of one transaction, so some hundred thousand events."""

BYTES_AN_EVENT: Final = 130
"""Of the store's file, at most: only for the question whether the disk has room."""

SIDES: Final = ("", "-wal", "-shm")
"""What SQLite adds to a file's name."""

Progress = Callable[[int, int], None]
"""Gets the users that are done, and those there are in all."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in a store. `seconds` of loading are None for one that was loaded in an earlier run."""

    path: Path
    users: int
    events: int
    file_bytes: int
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "users": self.users,
            "events": self.events,
            "file_bytes": self.file_bytes,
            "bytes_an_event": self.file_bytes / max(self.events, 1),
            "seconds": self.seconds,
            "events_per_second": self.events / self.seconds if self.seconds else None,
        }


def user_id(number: int) -> UserId:
    """The id of a user, from 0; ids stand in the order of their numbers."""
    return UserId(f"u{number:07}")


def prepared_store(plan: Plan, catalogue: Sequence[str], progress: Progress) -> Loaded:
    """The store with the plan's users over the catalogue, loaded now if it has not been yet.

    An interrupted loading begins anew. UsageError if the disk has too little room, StorageError if it
    refuses.
    """
    items = sorted(catalogue)
    known = hashlib.blake2b("\0".join(items).encode(), digest_size=4).hexdigest()
    path = plan.store_path.with_name(f"{plan.store_path.stem}-{known}.db")
    fewest, most = plan.events_a_user
    expected = plan.users * (fewest + most) // 2 * BYTES_AN_EVENT
    seconds = None
    if not path.exists():
        # Once for the store, once for the copy that a run works on.
        _require_room(path.parent, 2 * expected)
        seconds = _load(plan, World(items, plan.seed), path, progress)
    with closing(open_event_store(_url(path))) as store:
        counts = store.counts()
    return Loaded(path, counts.users, counts.events, path.stat().st_size, seconds)


@contextmanager
def working_copy(loaded: Loaded) -> Iterator[str]:
    """The URL of a copy of the store, gone with the block: a run's events are not the next one's."""
    path = loaded.path.with_name(f"{loaded.path.stem}.run.db")
    _require_room(path.parent, loaded.file_bytes)
    try:
        shutil.copyfile(loaded.path, path)
        yield _url(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        _remove(path)


def _load(plan: Plan, world: World, path: Path, progress: Progress) -> float:
    """The seconds that generating and loading took."""
    unfinished = path.with_name(f"{path.stem}.loading.db")
    _remove(unfinished)
    start = time.perf_counter()
    try:
        with closing(open_event_store(_url(unfinished))) as store:
            for first in range(0, plan.users, USERS_AT_ONCE):
                after = min(first + USERS_AT_ONCE, plan.users)
                store.load(histories(plan, world, first, after))
                progress(after, plan.users)
        unfinished.rename(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        _remove(unfinished)
    return time.perf_counter() - start


def histories(plan: Plan, world: World, first: int, after: int) -> Iterator[NewHistory]:
    """The histories of the users `first` to `after` - 1, the same in every run of the plan."""
    draw = _draw(plan, first)
    users, (fewest, most) = after - first, plan.events_a_user
    counts = lengths(draw, users, fewest, most).tolist()
    items = world.histories(draw, users, most).tolist()
    moments = times(draw, users, most).tolist()
    ids = world.ids
    for row, count in enumerate(counts):
        user = user_id(first + row)
        yield (
            user,
            [
                NewEvent(f"{user}-{place:03}", ids[item], moment)
                for place, item, moment in zip(range(count), items[row], moments[row], strict=False)
            ],
        )


def tastes_of(plan: Plan, world: World, users: NDArray[np.int64]) -> NDArray[np.int64]:
    """The clusters that the histories of some users are made of, int64 [N, S]."""
    blocks = users // USERS_AT_ONCE
    found = np.empty((len(users), TASTES), np.int64)
    for block in np.unique(blocks).tolist():
        first = block * USERS_AT_ONCE
        count, draw = min(USERS_AT_ONCE, plan.users - first), _draw(plan, first)
        lengths(draw, count, *plan.events_a_user)
        here = blocks == block
        found[here] = world.tastes(draw, count)[users[here] - first]
    return found


def _draw(plan: Plan, first: int) -> np.random.Generator:
    return np.random.default_rng([plan.seed, 3, first])


def _require_room(folder: Path, needed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise storage_error(error, folder) from error
    if free < needed:
        raise UsageError(
            f"{folder} has {free / 1e9:.1f} GB of room, and the users' histories may take "
            f"{needed / 1e9:.1f} GB",
            "Choose another place with --dir, or fewer users with --users.",
        )


def _remove(path: Path) -> None:
    for side in SIDES:
        path.with_name(path.name + side).unlink(missing_ok=True)


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"
