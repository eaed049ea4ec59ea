"""Several engines as one: users go to the engine that keeps their state, the rest to who is least busy.

Any engine can answer for any user, because it can rebuild the state from the event table. So whoever
is away is passed over: its users go to the next engine in their order (`hashing.py`) and come back when it
returns. An engine that is too slow or has too many waiting is not passed over: its users would take the
load with them.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.transport.client import EngineClient, Told, tell_later
from moerec.transport.frames import EventPush, RecommendRequest, Reply, Request
from moerec.transport.hashing import Rendezvous
from moerec.transport.remote import RemoteEngineClient


class EngineFleet:
    """An `EngineClient` over others, by their addresses. Closes them with itself."""

    def __init__(self, engines: Mapping[str, EngineClient]) -> None:
        self._engines = dict(engines)
        self._clients = list(engines.values())
        self._orders = Rendezvous(list(engines))
        self._under_way = [0] * len(self._clients)
        self._away = [False] * len(self._clients)
        self._changed_at = 0.0
        self._turn = 0

    def engines(self) -> Mapping[str, EngineClient]:
        """As `EngineClient`."""
        return self._engines

    def begin(self, request: Request, timeout_s: float, told: Told) -> None:
        """As `EngineClient`."""
        tell_later(self.ask(request, timeout_s), told)

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        """As `EngineClient`. A question that an engine took with it is asked again elsewhere: questions
        change nothing, and an event's number tells whether it is known."""
        return asyncio.ensure_future(self._ask(request, timeout_s))

    async def _ask(self, request: Request, timeout_s: float) -> Reply:
        time = asyncio.get_running_loop().time
        deadline = time() + timeout_s
        reason = ""
        for place in self._order(request):
            self._under_way[place] += 1
            try:
                reply = await self._clients[place].ask(request, deadline - time())
            except EngineAwayError as error:
                reason = error.message
                self._find(place, away=True)
                if isinstance(request, RecommendRequest):
                    moved_s = time() - self._changed_at
                    request = msgspec.structs.replace(request, moved_s=moved_s)
            except EngineUnavailableError as error:
                self._find(place, away=False)
                if isinstance(error, EngineTooSlowError):
                    # It knows only of the time that was left for it.
                    raise EngineTooSlowError(timeout_s) from None
                raise
            else:
                self._find(place, away=False)
                return reply
            finally:
                self._under_way[place] -= 1
        raise EngineAwayError(f"None of {len(self._clients)} engines is there. {reason}")

    async def close(self) -> None:
        """As `EngineClient`."""
        await asyncio.gather(*(client.close() for client in self._clients))

    def _find(self, place: int, *, away: bool) -> None:
        # Any change counts for all: which engines were told of a user's events is nowhere written.
        if self._away[place] is not away:
            self._away[place] = away
            self._changed_at = asyncio.get_running_loop().time()

    def _order(self, request: Request) -> Sequence[int]:
        match request:
            case EventPush(user_id) | RecommendRequest(user_id=str(user_id), history=None):
                return self._orders.of(user_id)
            case _:
                return self._least_busy_first()

    def _least_busy_first(self) -> list[int]:
        """Engines with as many requests under way take turns."""
        self._turn = (self._turn + 1) % len(self._clients)
        turns = (*range(self._turn, len(self._clients)), *range(self._turn))
        return sorted(turns, key=self._under_way.__getitem__)


def connect(addresses: Iterable[str], version: str | None = None) -> EngineClient:
    """A client of the engines at these addresses, at least one; of those that serve the bundle of
    `version`, if one is named."""
    clients = {address: RemoteEngineClient(address, version) for address in addresses}
    return EngineFleet(clients) if len(clients) > 1 else next(iter(clients.values()))
