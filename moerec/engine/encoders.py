"""How the engine comes to a user's vector: by replaying the history, or by going on from a kept state.

Both give what `MoERecommender.user_vectors` gives. `ReplayEncoder` is that function itself, on any device,
and the reference; `StreamedEncoder` pays for new events alone, on a CPU.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from moerec.engine.kernels.packed import pack
from moerec.engine.kernels.rows import NewEvents, new_arena
from moerec.engine.kernels.step import advance
from moerec.engine.state import PastEvent, Taste, UserState
from moerec.errors import MoerecError
from moerec.models.config import ModelConfig
from moerec.models.events import Events
from moerec.models.liked import joined
from moerec.models.recommender import MoERecommender
from moerec.models.transitions import LAST_ITEMS

ROWS: Final = 1024
"""So many events go through the layers together, or one user's: what they need stays in the cache."""


class Encoder(Protocol):
    """Makes tastes of states. One thread at a time."""

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """The model's view of each history, none of them empty; all events are old then (`fresh` is 0)."""
        ...

    def release(self, state: UserState) -> None:
        """The state will not come again: what is kept for it may go."""
        ...


class ReplayEncoder:
    """Reads each history from its beginning, in one model call; keeps nothing."""

    def __init__(self, model: MoERecommender, items_VD: Tensor) -> None:
        self._model = model
        self._items = items_VD

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """As `Encoder`."""
        events, starts, ends = flat(states, self._items.device)
        users = self._model.user_vectors(events, starts, ends, self._items)
        experts = users.experts.tolist()
        for state in states:
            state.fresh = 0
        return [
            Taste(
                users.vectors[row].clone(),
                users.recent[row].clone(),
                [[expert for expert, on in enumerate(layer) if on] for layer in experts[row]],
                None if users.liked is None else users.liked[row].clone(),
            )
            for row in range(len(states))
        ]

    def release(self, state: UserState) -> None:
        """As `Encoder`."""


class StreamedEncoder:
    """Goes on from the attention state of `slots` users: an event costs the same after any history.

    MoerecError where more than `slots` states are kept at once; a state without a slot is built from its
    history.
    """

    def __init__(self, model: MoERecommender, items_VD: Tensor, slots: int) -> None:
        self._model = model
        self._config = model.config
        self._packed = pack(model)
        self._items = np.ascontiguousarray(items_VD.float().numpy())
        self._arena = new_arena(model.config, slots)
        self._free = list(range(slots - 1, -1, -1))

    @property
    def bytes_a_user(self) -> int:
        """What the arena holds for each slot."""
        return sum(array.nbytes for array in self._arena) // len(self._arena.count_S)

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """As `Encoder`."""
        for state in states:
            self._prepare(state)
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
        for state in states:
            state.fresh = 0
        return self._tastes(states, torch.from_numpy(vectors), awake.tolist())

    def release(self, state: UserState) -> None:
        """As `Encoder`."""
        if state.slot is not None:
            self._free.append(state.slot)
            state.slot = None

    def _prepare(self, state: UserState) -> None:
        """A slot for who has none; from the beginning where there is nothing to go on from, or to."""
        if state.slot is None:
            if not self._free:
                raise MoerecError("the arena of user states is full", "Release a state first.")
            state.slot = self._free.pop()
        elif 0 < state.fresh <= self._config.receptive_field:
            return
        state.fresh = len(state.history)
        self._arena.count_S[state.slot] = 0

    def _new_events(self, states: Sequence[UserState]) -> NewEvents:
        fresh = [_newest(state) for state in states]
        lengths = np.array([len(events) for events in fresh])
        ends = lengths.cumsum()
        slots = np.array([state.slot for state in states])
        skip = np.maximum(lengths - self._config.receptive_field, 0)
        items = np.array([event.item for events in fresh for event in events], np.int64)
        times = np.array([event.timestamp_ms for events in fresh for event in events], np.int64)
        return NewEvents(items, times, ends - lengths, ends, skip, slots)

    def _tastes(
        self, states: Sequence[UserState], vectors: Tensor, awake: list[list[list[bool]]]
    ) -> list[Taste]:
        liked = self._liked(states, vectors)
        recent = torch.zeros(len(states), LAST_ITEMS, dtype=torch.int64)
        for row, state in enumerate(states):
            last = [event.item for event in _last(state, LAST_ITEMS)]
            recent[row, : len(last)] = torch.tensor(last[::-1])
        return [
            Taste(
                vectors[row],
                recent[row],
                [[expert for expert, on in enumerate(layer) if on] for layer in awake[row]],
                None if liked is None else liked[row],
            )
            for row in range(len(states))
        ]

    def _liked(self, states: Sequence[UserState], vectors: Tensor) -> Tensor | None:
        if self._model.liked is None or self._model.liked.weight == 0:
            return None
        windows, prefixes, _ = self._model.cut(*flat(states, vectors.device))
        return self._model.liked.user_rows(vectors, joined(prefixes, windows))


def is_streamable(config: ModelConfig) -> bool:
    """Whether the compiled kernels can run the model: they take four terms of a sum at a time."""
    return config.dim // config.heads % 4 == 0 and config.expert_dim % 4 == 0


def flat(states: Sequence[UserState], device: torch.device) -> tuple[Events, Tensor, Tensor]:
    """All histories one after the other, where each begins, and where it ends."""
    items, times, values = zip(*(event for state in states for event in state.history), strict=True)
    ends = torch.tensor([len(state.history) for state in states]).cumsum(0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    events = Events(torch.tensor(items), torch.tensor(times), torch.tensor(values))
    return events.to(device), starts.to(device), ends.to(device)


def _newest(state: UserState) -> list[PastEvent]:
    return _last(state, state.fresh)


def _last(state: UserState, number: int) -> list[PastEvent]:
    """The newest events, oldest first; a walk from the deque's end, not over all of it."""
    number = min(number, len(state.history))
    return [state.history[place] for place in range(-number, 0)]


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
