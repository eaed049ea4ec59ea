"""What is told by a call, for who waits."""

import asyncio
from collections.abc import Callable

import pytest

from moerec.futures import future_of


async def test_what_is_told_is_the_result_or_raised() -> None:
    assert await future_of(lambda told: told("a")) == "a"
    with pytest.raises(KeyError, match="b"):
        await future_of(lambda told: told(KeyError("b")))


async def test_what_is_told_later_comes_later() -> None:
    loop = asyncio.get_running_loop()
    future = future_of(lambda told: loop.call_later(0.01, told, "later"))
    assert not future.done()
    assert await future == "later"


async def test_who_has_stopped_waiting_is_not_told() -> None:
    listeners: list[Callable[[str | Exception], None]] = []
    future = future_of(listeners.append)
    future.cancel()
    listeners[0]("too late")
    assert future.cancelled()
