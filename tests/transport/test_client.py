"""What a future comes to, told by a call."""

import asyncio

import pytest

from moerec.errors import EngineAwayError, EngineTooSlowError
from moerec.transport.client import Outcome, tell_later
from moerec.transport.frames import ErrorReply, EventReply, Reply


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineTooSlowError(0.1), EngineTooSlowError(0.1)),
        (KeyError("b"), ErrorReply("KeyError: 'b'")),
    ],
)
async def test_errors_are_told_as_what_the_engine_says_or_why_it_says_nothing(
    error: Exception, told: Outcome
) -> None:
    heard = list[Outcome]()
    asked: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    tell_later(asked, heard.append)
    asked.set_exception(error)
    await asyncio.sleep(0)
    assert [(type(each), str(each)) for each in heard] == [(type(told), str(told))]


async def test_a_reply_is_told_once() -> None:
    heard = list[Outcome]()
    asked: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    tell_later(asked, heard.append)
    assert not heard
    asked.set_result(EventReply())
    await asyncio.sleep(0)
    assert heard == [EventReply()]


async def test_a_question_that_was_given_up_has_an_outcome_too() -> None:
    """Or who asked by a call would wait for ever."""
    heard = list[Outcome]()
    asked: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    tell_later(asked, heard.append)
    asked.cancel()
    await asyncio.sleep(0)
    assert [type(each) for each in heard] == [EngineAwayError]
