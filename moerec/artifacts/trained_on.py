"""Which events a bundle was trained on, small enough to travel in it: 20 bytes a user.

Trained events are always the first n of a user's history. The record holds, for each user, a hash of
the id, n, and a hash of those n items that does not depend on their order. An evaluation asks it before
it scores: an event that was trained on, or might have been, is not a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from moerec.data.id_map import IdMap
from moerec.errors import LeakError

if TYPE_CHECKING:  # a gateway reads bundles, and no tables
    from moerec.data.sequences import Histories

REMEDY: Final = (
    "Evaluate on the log the bundle was trained on, or on one that continues it; "
    "a bundle made with --fit-all has nothing held out, so train without it to measure."
)


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Sorted by `users`: hashes uint64 [U], trained events int64 [U], hashes of their items uint64 [U]."""

    users: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    digests: NDArray[np.uint64]

    @classmethod
    def record(
        cls, histories: "Histories", train_lengths: NDArray[np.int32], id_map: IdMap
    ) -> "TrainedOn":
        """What training on the first `train_lengths[u]` events of each user will have used."""
        lengths = train_lengths.astype(np.int64)
        rows = np.arange(len(lengths))
        digests = _digests(histories, rows, lengths, id_map)
        users = _user_hashes(histories, rows)
        order = np.argsort(users)
        return cls(users[order], lengths[order], digests[order])

    def check(
        self,
        histories: "Histories",
        users: NDArray[np.int64],
        places: NDArray[np.int64],
        id_map: IdMap,
    ) -> None:
        """Raise `LeakError` if the event at `places[i]` of any of `users[i]` may have been trained on."""
        if len(self.users) == 0 or len(users) == 0:
            return
        hashes = _user_hashes(histories, users)
        found = np.searchsorted(self.users, hashes).clip(max=len(self.users) - 1)
        known = self.users[found] == hashes
        users, places, found = users[known], places[known], found[known]
        trained = places < self.lengths[found]
        if trained.any():
            raise LeakError(
                f"{int(trained.sum()):,} of the {len(known):,} events to be scored were trained on, "
                f"the first one of user {histories.users[users[trained][0]]!r}",
                REMEDY,
            )
        digests = _digests(histories, users, self.lengths[found], id_map)
        differs = digests != self.digests[found]
        if differs.any():
            raise LeakError(
                f"{int(differs.sum()):,} users have another past here than in the log the bundle was "
                f"trained on, the first one is {histories.users[users[differs][0]]!r}: "
                "their test events may have been trained on",
                REMEDY,
            )


def fingerprint(histories: "Histories", id_map: IdMap) -> str:
    """A short name of a log's content: the same users with the same items in the same number."""
    rows = np.arange(len(histories.users))
    digests = _digests(histories, rows, histories.lengths, id_map)
    mixed = blake2b(digest_size=8)
    mixed.update(np.sort(_user_hashes(histories, rows) ^ digests).tobytes())
    return mixed.hexdigest()


def ordered_fingerprint(histories: "Histories", id_map: IdMap) -> str:
    """The same for all that weights follow from: the order of users, items and events, times, values."""
    mixed = blake2b(fingerprint(histories, id_map).encode(), digest_size=8)
    names = (_hashes(histories.users), _hashes(id_map.ids))
    for array in (*names, histories.items, histories.timestamps, histories.values):
        mixed.update(array.tobytes())
    return mixed.hexdigest()


def _user_hashes(histories: "Histories", rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    return _hashes([histories.users[row] for row in rows.tolist()])


def _digests(
    histories: "Histories", rows: NDArray[np.int64], lengths: NDArray[np.int64], id_map: IdMap
) -> NDArray[np.uint64]:
    """For each row: the sum, modulo 2^64, of the hashes of its first `lengths` items."""
    item_hashes = np.concatenate([np.zeros(1, np.uint64), _hashes(id_map.ids)])
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(item_hashes[histories.items])])
    start = histories.offsets[rows]
    end = np.minimum(start + lengths, histories.offsets[rows + 1])
    digests: NDArray[np.uint64] = total[end] - total[start]
    return digests


def _hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    joined = b"".join(blake2b(str(name).encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)
