"""Several engines as one client: who is asked, and who is asked when that one is away."""

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.transport.client import EngineClient
from moerec.transport.fleet import EngineFleet, connect
from moerec.transport.frames import (
    EventPush,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
    SimilarRequest,
)
from moerec.transport.hashing import Rendezvous
from moerec.transport.remote import RemoteEngineClient

NAMES = ["a:1", "b:1", "c:1"]


class Scripted:
    """An engine that answers with its name, or is away, or too slow."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fault: EngineUnavailableError | None = None
        self.patience: list[float] = []
        self.asked: list[Request] = []
        self.takes_s = 0.0
        self.closed = False

    def engines(self) -> Mapping[str, EngineClient]:
        return {self.name: self}

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        return asyncio.ensure_future(self._ask(request, timeout_s))

    async def _ask(self, request: Request, timeout_s: float) -> Reply:
        self.patience.append(timeout_s)
        self.asked.append(request)
        await asyncio.sleep(self.takes_s)
        if self.fault is not None:
            raise self.fault
        return ListReply([self.name], [1.0])

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def engines() -> dict[str, Scripted]:
    return {name: Scripted(name) for name in NAMES}


@pytest.fixture
def fleet(engines: dict[str, Scripted]) -> EngineFleet:
    return EngineFleet(engines)


def of_user(user: str) -> RecommendRequest:
    return RecommendRequest(user, None, 1)


async def answered_by(fleet: EngineFleet, request: Request) -> str:
    reply = await fleet.ask(request, 1.0)
    assert isinstance(reply, ListReply)
    return reply.item_ids[0]


async def test_lists_and_events_of_a_user_go_to_the_engine_that_keeps_them(
    fleet: EngineFleet,
) -> None:
    for user in ("ann", "bob", "eve", "joe"):
        owner = NAMES[Rendezvous(NAMES).of(user)[0]]
        for _ in range(3):
            assert await answered_by(fleet, of_user(user)) == owner
            assert await answered_by(fleet, EventPush(user, "i", 1, 1, 1)) == owner


async def test_users_of_who_is_away_go_to_their_next_and_come_back(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    users = [f"user{number}" for number in range(60)]
    before = {user: await answered_by(fleet, of_user(user)) for user in users}
    engines["b:1"].fault = EngineAwayError("gone")
    orders = Rendezvous(NAMES)
    for user in users:
        expected = next(name for place in orders.of(user) if (name := NAMES[place]) != "b:1")
        assert await answered_by(fleet, of_user(user)) == expected
        assert before[user] in (expected, "b:1")
    engines["b:1"].fault = None
    assert {user: await answered_by(fleet, of_user(user)) for user in users} == before
    assert set(before.values()) == set(NAMES)


def moved_at(engine: Scripted) -> float:
    """When the fleet changed, as the last question that the engine got has it; later than in truth."""
    request = engine.asked[-1]
    assert isinstance(request, RecommendRequest)
    assert request.moved_s is not None
    return asyncio.get_running_loop().time() - request.moved_s


async def test_a_question_that_moved_says_when_the_fleet_changed_last(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    """It said that it moved and no more, and whoever answered looked into the table each time."""
    time = asyncio.get_running_loop().time
    first, second, third = (engines[NAMES[place]] for place in Rendezvous(NAMES).of("ann"))
    await fleet.ask(of_user("ann"), 1.0)
    assert first.asked == [of_user("ann")]
    first.fault = EngineAwayError("gone")
    await fleet.ask(of_user("ann"), 1.0)
    after_first_look = time()
    await asyncio.sleep(0.2)
    asked = time()
    await fleet.ask(of_user("ann"), 1.0)
    assert moved_at(second) - (time() - asked) <= after_first_look
    # Another one goes, which may have been told of events while the first was away.
    second.fault = EngineAwayError("gone")
    await fleet.ask(of_user("ann"), 1.0)
    assert moved_at(third) >= asked


@pytest.mark.parametrize("back", [None, EngineUnavailableError("too slow")])
async def test_an_engine_that_came_back_and_went_again_is_a_new_move(
    fleet: EngineFleet, engines: dict[str, Scripted], back: EngineUnavailableError | None
) -> None:
    """It may have taken an event in the meantime, too slow to say so as well."""
    first, second, _ = (engines[NAMES[place]] for place in Rendezvous(NAMES).of("ann"))
    first.fault = EngineAwayError("gone")
    await fleet.ask(of_user("ann"), 1.0)
    first.fault = back
    with contextlib.suppress(EngineUnavailableError):
        await fleet.ask(EventPush("ann", "i", 1, 1, 1), 1.0)
    went_again = asyncio.get_running_loop().time()
    first.fault = EngineAwayError("gone")
    await fleet.ask(of_user("ann"), 1.0)
    assert moved_at(second) >= went_again


@pytest.mark.parametrize(
    "request_of_nobody",
    [InfoRequest(), SimilarRequest("i", 1), RecommendRequest("ann", ["i"], 1)],
    ids=["info", "similar", "history"],
)
async def test_what_belongs_to_nobody_takes_turns(
    fleet: EngineFleet, engines: dict[str, Scripted], request_of_nobody: Request
) -> None:
    asked = [await answered_by(fleet, request_of_nobody) for _ in range(6)]
    assert sorted(asked) == sorted(2 * NAMES)
    engines["a:1"].fault = EngineAwayError("gone")
    left = {await answered_by(fleet, request_of_nobody) for _ in range(6)}
    assert left == {"b:1", "c:1"}


async def test_what_belongs_to_nobody_goes_to_the_least_busy(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    engines["a:1"].takes_s = engines["c:1"].takes_s = 0.5
    slow = [asyncio.ensure_future(fleet.ask(SimilarRequest("i", 1), 1.0)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert {await answered_by(fleet, SimilarRequest("i", 1)) for _ in range(5)} == {"b:1"}
    await asyncio.gather(*slow)


async def test_an_engine_that_is_too_slow_keeps_its_users(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    """The time is over, and its load would only go round."""
    for engine in engines.values():
        engine.fault = EngineUnavailableError("too slow")
    with pytest.raises(EngineUnavailableError, match="too slow"):
        await fleet.ask(of_user("ann"), 1.0)
    assert sum(len(engine.patience) for engine in engines.values()) == 1


async def test_the_next_engine_gets_what_is_left_of_the_time(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    first, second = (engines[NAMES[place]] for place in Rendezvous(NAMES).of("ann")[:2])
    first.takes_s, first.fault = 0.2, EngineAwayError("died while it was asked")
    assert await answered_by(fleet, of_user("ann")) == second.name
    assert second.patience[0] < 0.85


async def test_too_slow_names_the_time_that_was_asked_for(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    """A caller who waited 50 ms read "not within 33 ms": what the first engine, which was away, had left."""
    first, second = (engines[NAMES[place]] for place in Rendezvous(NAMES).of("ann")[:2])
    first.fault, second.fault = EngineAwayError("gone"), EngineTooSlowError(0.033)
    with pytest.raises(EngineTooSlowError, match="within 50 ms"):
        await fleet.ask(of_user("ann"), 0.05)


async def test_without_any_engine_the_last_reason_is_told(
    fleet: EngineFleet, engines: dict[str, Scripted]
) -> None:
    for engine in engines.values():
        engine.fault = EngineAwayError("gone")
    with pytest.raises(EngineAwayError, match=r"None of 3 engines is there\. gone"):
        await fleet.ask(of_user("ann"), 1.0)


async def test_all_are_closed_together(fleet: EngineFleet, engines: dict[str, Scripted]) -> None:
    await fleet.close()
    assert all(engine.closed for engine in engines.values())


async def test_one_address_needs_no_fleet() -> None:
    alone, several = connect(["unix:a"]), connect(["unix:a", "unix:b"])
    assert isinstance(alone, RemoteEngineClient)
    assert isinstance(several, EngineFleet)
    assert (list(alone.engines()), list(several.engines())) == (["unix:a"], ["unix:a", "unix:b"])
