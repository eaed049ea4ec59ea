"""Which engine keeps a user: rendezvous hashing (Thaler and Ravishankar 1998) on the user id.

Each user has an order of all engines; the first that is there keeps the user. When one goes, its users
go to the next of their own order, and nobody else moves; when it returns, they come back. The same in
every process and on every machine: nothing but ids and names counts, in whatever order they are named.
"""

import hashlib
from collections.abc import Sequence
from typing import Final
from zlib import crc32

BUCKETS: Final = 1 << 17
"""Users are weighed by buckets, so that each weight is computed once. More of them spread users better:
with n engines an engine's share of them varies by the root of (n - 1) / BUCKETS, 2.2 % with 64."""


class Rendezvous:
    """The order of `engines`, different names, at most 256 (their places are bytes), for each user.

    >>> orders = Rendezvous(["a:1", "b:1", "c:1"])
    >>> list(orders.of("ann")), list(orders.of("bob"))
    ([1, 2, 0], [2, 0, 1])
    """

    def __init__(self, engines: Sequence[str]) -> None:
        self._engines = list(engines)
        self._hashes = [hashlib.blake2b(name.encode(), digest_size=8) for name in engines]
        self._orders: list[bytes | None] = [None] * BUCKETS

    def of(self, user_id: str) -> Sequence[int]:
        """Places in `engines`, the user's own first."""
        # `hash` differs from process to process; a string that is no Unicode text is a user, too.
        bucket = crc32(user_id.encode(errors="surrogatepass")) % BUCKETS
        order = self._orders[bucket]
        if order is None:
            order = self._orders[bucket] = self._weigh(bucket)
        return order

    def _weigh(self, bucket: int) -> bytes:
        weights = []
        for place, (name, begun) in enumerate(zip(self._engines, self._hashes, strict=True)):
            weight = begun.copy()
            weight.update(bucket.to_bytes(4, "big"))
            weights.append((weight.digest(), name, place))
        return bytes(place for _, _, place in sorted(weights, reverse=True))
