"""How the engine comes to a user's vector: by replaying the history, or by going on from a kept state.

Both give what `MoERecommender.user_vectors` gives. `ReplayEncoder` is that function itself, on any device,
and the reference; `StreamedEncoder` pays for new events alone, on a CPU.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.engine.counters import Counters
from moerec.engine.kernels.arithmetic import Floats, Ints
from moerec.engine.kernels.packed import pack
from moerec.engine.kernels.query import query
from moerec.engine.kernels.rows import Limits, NewEvents, StoredType, bytes_a_user, new_arena
from moerec.engine.kernels.step import advance
from moerec.engine.state import Taste, UserState
from moerec.errors import MoerecError
from moerec.models.config import LAST_ITEMS, ModelConfig
from moerec.models.events import Events
from moerec.models.liked import joined
from moerec.models.recommender import MoERecommender, QueryLimits

ROWS: Final = 1024
"""So many events go through the layers together, or one user's: what they need stays in the cache."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Places for kept states: how many, how many of them are taken, and what each takes in memory."""

    count: int
    used: int
    bytes_each: int


class Encoder(Protocol):
    """Makes tastes of states. One thread at a time."""

    @property
    def slots(self) -> Slots:
        """Where it keeps what it knows; no place at all where it keeps nothing."""
        ...

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """The model's view of each history; each has fresh events, which are old then (`fresh` is 0)."""
        ...

    def query(self, states: Sequence[UserState], limits: Limits) -> list[Taste]:
        """The same with the newest event of each history under limits; each has been encoded.

        Nothing that is kept of a history changes.
        """
        ...

    def release(self, state: UserState) -> None:
        """The state will not come again: what is kept for it may go."""
        ...

    def see_items(self, items_VD: Tensor) -> None:
        """From now on these are the items: those there were, in the same rows, and perhaps more.

        States with an item whose vector is another one now are not to come again.
        """
        ...


class ReplayEncoder:
    """Reads each history from its beginning, in one model call; keeps nothing."""

    @property
    def slots(self) -> Slots:
        """As `Encoder`."""
        return Slots(0, 0, 0)

    def __init__(
        self, model: MoERecommender, items_VD: Tensor, counters: Counters | None = None
    ) -> None:
        self._model = model
        self._items = items_VD
        self._counters = counters or Counters()

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """As `Encoder`."""
        found = self._replay(states, None)
        for state in states:
            state.fresh = 0
        return found

    def query(self, states: Sequence[UserState], limits: Limits) -> list[Taste]:
        """As `Encoder`."""
        device = self._items.device
        masked, most = (torch.from_numpy(each).to(device) for each in limits)
        return self._replay(states, QueryLimits(masked, most))

    def release(self, state: UserState) -> None:
        """As `Encoder`."""

    def see_items(self, items_VD: Tensor) -> None:
        """As `Encoder`."""
        self._items = items_VD

    def _replay(self, states: Sequence[UserState], limits: QueryLimits | None) -> list[Taste]:
        events, starts, ends = flat(states, self._items.device)
        self._counters.rows_encoded += len(events.items)
        users = self._model.user_vectors(events, starts, ends, self._items, limits)
        liked = None if users.liked is None else users.liked.cpu().numpy()
        return tastes(
            users.vectors.float().cpu().numpy(),
            users.recent.cpu().numpy(),
            users.experts.cpu().numpy(),
            liked,
        )


class StreamedEncoder:
    """Goes on from the attention state of `slots` users: an event costs the same after any history.

    MoerecError where more than `slots` states are kept at once; a state without a slot is built from its
    history.
    """

    def __init__(
        self,
        model: MoERecommender,
        items_VD: Tensor,
        slots: int,
        stored: StoredType = np.int8,
        counters: Counters | None = None,
    ) -> None:
        self._model = model
        self._config = model.config
        self._counters = counters or Counters()
        self._liked_head = (
            model.liked if model.liked is not None and model.liked.weight > 0 else None
        )
        self._packed = pack(model)
        self._items = np.ascontiguousarray(items_VD.float().numpy())
        self._arena = new_arena(model.config, slots, stored)
        self._bytes_a_slot = bytes_a_user(model.config, stored)
        self._free = list(range(slots - 1, -1, -1))

    @property
    def slots(self) -> Slots:
        """As `Encoder`."""
        count = len(self._arena.count_S)
        return Slots(count, count - len(self._free), self._bytes_a_slot)

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """As `Encoder`."""
        for state in states:
            self._prepare(state)
            self._counters.rows_encoded += state.fresh
        vectors = np.empty((len(states), self._config.dim), np.float32)
        awake = np.empty((len(states), self._config.layers, self._config.experts), np.bool_)
        for first, after in _pieces(states):
            advance(
                self._packed,
                self._arena,
                self._items,
                self._new_events(states[first:after]),
                vectors[first:after],
                awake[first:after],
            )
            for state in states[first:after]:
                state.fresh = 0
        found = self._tastes(states, vectors, awake)
        if self._liked_head is None:
            for state in states:
                state.past.keep(LAST_ITEMS)
        return found

    def query(self, states: Sequence[UserState], limits: Limits) -> list[Taste]:
        """As `Encoder`."""
        vectors = np.empty((len(states), self._config.dim), np.float32)
        awake = np.empty((len(states), self._config.layers, self._config.experts), np.bool_)
        row = np.arange(len(states))
        newest = NewEvents(
            np.array([state.past.items(1)[0] for state in states], np.int64),
            np.array([state.past.times(1)[0] for state in states], np.int64),
            row,
            row + 1,
            np.zeros(len(states), np.int64),
            np.array([state.slot for state in states]),
        )
        query(self._packed, self._arena, self._items, newest, limits, vectors, awake)
        return self._tastes(states, vectors, awake)

    def release(self, state: UserState) -> None:
        """As `Encoder`."""
        if state.slot is not None:
            self._free.append(state.slot)
            state.slot = None

    def see_items(self, items_VD: Tensor) -> None:
        """As `Encoder`."""
        self._items = np.ascontiguousarray(items_VD.float().numpy())

    def _prepare(self, state: UserState) -> None:
        """A slot for who has none; from the beginning where the ring has nothing left to go on from."""
        if state.slot is not None:
            self._counters.events_streamed += state.fresh
        if state.slot is None:
            if not self._free:
                raise MoerecError("the arena of user states is full", "Release a state first.")
            state.slot = self._free.pop()
            state.fresh = state.past.length
            self._arena.summary_SD[state.slot] = 0.0
            self._arena.count_S[state.slot] = 0
        elif state.fresh > self._config.receptive_field:
            # The summary goes on.
            self._arena.count_S[state.slot] = 0

    def _new_events(self, states: Sequence[UserState]) -> NewEvents:
        items, times = array("i"), array("q")
        for state in states:
            items += state.past.items(state.fresh)
            times += state.past.times(state.fresh)
        lengths = np.array([state.fresh for state in states])
        if lengths.min() == 0:
            raise MoerecError("a state without a new event was encoded", "Use the taste it has.")
        ends = lengths.cumsum()
        return NewEvents(
            np.array(items, np.int64),
            np.array(times, np.int64),
            ends - lengths,
            ends,
            np.maximum(lengths - self._config.receptive_field, 0),
            np.array([state.slot for state in states]),
        )

    def _tastes(
        self, states: Sequence[UserState], vectors: Floats, awake: NDArray[np.bool_]
    ) -> list[Taste]:
        return tastes(vectors, _recent(states), awake, self._liked(states, vectors))

    def _liked(self, states: Sequence[UserState], vectors: Floats) -> Floats | None:
        if self._liked_head is None:
            return None
        windows, prefixes, _ = self._model.cut(*flat(states, torch.device("cpu")))
        rows = self._liked_head.user_rows(torch.from_numpy(vectors), joined(prefixes, windows))
        liked: Floats = rows.numpy()
        return liked


def tastes(
    vectors: Floats, recent: Ints, awake_BnE: NDArray[np.bool_], liked: Floats | None
) -> list[Taste]:
    """A taste of each row. The rows are copied: one user must not keep the memory of a whole batch."""
    users, layers, experts = awake_BnE.shape
    patterns = awake_BnE.tobytes()
    by_layer = [
        _names(patterns[first : first + experts]) for first in range(0, len(patterns), experts)
    ]
    return [
        Taste(
            vectors[row].copy(),
            recent[row].copy(),
            by_layer[row * layers : (row + 1) * layers],
            None if liked is None else liked[row].copy(),
        )
        for row in range(users)
    ]


@lru_cache(4096)
def _names(pattern: bytes) -> list[int]:
    """The experts that are awake; a byte of the pattern for each. Nobody may change the list."""
    return [expert for expert, on in enumerate(pattern) if on]


def _recent(states: Sequence[UserState]) -> Ints:
    """Of each history the last items, newest first, 0 where there is none."""
    recent, none = array("i"), array("i", [0] * LAST_ITEMS)
    for state in states:
        last = state.past.items(LAST_ITEMS)
        last.reverse()
        recent += last + none[len(last) :]
    return np.array(recent, np.int64).reshape(-1, LAST_ITEMS)


def is_streamable(config: ModelConfig) -> bool:
    """Whether the compiled kernels can run the model: they take four terms of a sum at a time."""
    return config.dim // config.heads % 4 == 0 and config.expert_dim % 4 == 0


def flat(states: Sequence[UserState], device: torch.device) -> tuple[Events, Tensor, Tensor]:
    """All histories one after the other, where each begins, and where it ends."""
    items, times, values = array("i"), array("q"), array("f")
    for past in (state.past for state in states):
        items += past.items(past.length)
        times += past.times(past.length)
        values += past.values(past.length)
    ends = torch.tensor([state.past.length for state in states]).cumsum(0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    events = Events(
        torch.from_numpy(np.array(items, np.int64)),
        torch.from_numpy(np.array(times, np.int64)),
        torch.from_numpy(np.array(values, np.float32)),
    )
    return events.to(device), starts.to(device), ends.to(device)


def _pieces(states: Sequence[UserState]) -> Iterator[tuple[int, int]]:
    """Runs of states with at most `ROWS` new events together, or of one state."""
    first, rows = 0, 0
    for place, state in enumerate(states):
        if rows + state.fresh > ROWS and place > first:
            yield first, place
            first, rows = place, 0
        rows += state.fresh
    if first < len(states):
        yield first, len(states)
