"""From calls to futures.

On the hot path an outcome is told by a call: a future, and the step of the event loop that wakes who waits
for it, cost as much as the work between them. Whoever waits all the same gets a future here.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def future_of(begin: Callable[[Callable[[T | Exception], None]], None]) -> asyncio.Future[T]:
    """Calls `begin` with a function that is to be told the outcome: the future's result, or its exception.

    Whoever has stopped waiting is not told.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def told(outcome: T | Exception) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    begin(told)
    return future
