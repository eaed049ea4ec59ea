"""How often: a token bucket for each user, in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final

MOST_USERS: Final = 100_000
"""Users whose buckets are kept, about 0.3 kB each; the one not seen for longest leaves first.

A user who comes back finds a full bucket. That gives nothing away while 100,000 others need longer than
a bucket needs to fill (`burst / rate`, by default 2 s).
"""


class UserLimiter:
    """Lets each user ask `rate` times a second, and `burst` times at once after a pause.

    Each process counts for itself: with N gateways behind a balancer a user may ask up to N times as
    often. One that counts for several would have this method too, and answer from permits that it
    has leased beforehand: this one never waits. For one thread; `now` gives seconds of any clock
    that does not go back.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        now: Callable[[], float] = time.monotonic,
        most_users: int = MOST_USERS,
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._now = now
        self._most_users = most_users
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, user: str) -> float:
        """Takes a permit and returns 0; if there is none, the seconds until there is. Rate 0: always 0."""
        if not self._rate:
            return 0.0
        now = self._now()
        buckets = self._buckets
        found = buckets.get(user)
        if found is not None:
            permits = min(self._burst, found[0] + (now - found[1]) * self._rate)
            if permits < 1.0:
                return (1.0 - permits) / self._rate
            buckets.move_to_end(user)
        else:
            permits = self._burst
            if len(buckets) >= self._most_users:
                buckets.popitem(last=False)
        buckets[user] = (permits - 1.0, now)
        return 0.0

    def headers(self, wait_s: float) -> dict[str, str]:
        """What a refusal says of the limit: Retry-After, and the RateLimit fields of
        draft-ietf-httpapi-ratelimit-headers."""
        wait = max(1, ceil(wait_s))
        window = max(1, ceil(self._burst / self._rate))
        return {
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"user";q={int(self._burst)};w={window}',
            "RateLimit": f'"user";r=0;t={wait}',
        }
