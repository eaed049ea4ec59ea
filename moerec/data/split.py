"""Which events train, and which are held out. What trains is always a prefix of a user's history."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from moerec.data.sequences import Histories
from moerec.errors import UsageError

_NONE: Final = -1
_LEAST_EVENTS: Final = 3
_RULES: Final = (
    'Use "leave-one-out", "time:0.1" (the last 10 % of all events), "user-ratio:0.2" (the last 20 % of '
    'each user\'s), or "none".'
)


@dataclass(frozen=True)
class HoldOut:
    """A split of U users' histories.

    * `rule`: "leave-one-out", "time:FRACTION", "user-ratio:FRACTION" or "none";
    * `train_lengths` int32 [U]: the user's first so many events may be trained on;
    * `validation_at`, `test_at` int32 [U]: place of the user's target in the history, or -1.

    A target is predicted from the user's events before it. What trains ends before the validation
    target and before the test target. With "user-ratio" every event from the test target on is held out.
    """

    rule: str
    train_lengths: NDArray[np.int32]
    validation_at: NDArray[np.int32]
    test_at: NDArray[np.int32]

    def targets(
        self, part: Literal["validation", "test"]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The users (row numbers, ascending) that have a target in `part`, and its place."""
        at = self.validation_at if part == "validation" else self.test_at
        users = np.flatnonzero(at >= 0)
        return users, at[users]


def leave_one_out(histories: Histories) -> HoldOut:
    """The last event is the test, the second last the validation; under three events all train."""
    lengths = histories.lengths.astype(np.int32)
    long = lengths >= _LEAST_EVENTS
    return HoldOut(
        "leave-one-out",
        np.where(long, lengths - 2, lengths).astype(np.int32),
        np.where(long, lengths - 2, _NONE).astype(np.int32),
        np.where(long, lengths - 1, _NONE).astype(np.int32),
    )


def by_time(histories: Histories, fraction: float) -> HoldOut:
    """Two cuts in time: the last `fraction` of all events is the test, as many before it validation.

    Events at the same millisecond stay on one side. A user's target is the first event of the
    part; a user without an event before it has none. Every event before the validation cut trains.
    Raises UsageError unless 0 < fraction < 0.5 and all three parts have events.
    """
    if not 0 < fraction < 0.5:
        raise UsageError(f"a split by time cannot hold out {fraction} of the events twice", _RULES)
    times = np.sort(histories.timestamps)
    held = max(1, round(len(times) * fraction))
    if len(times) < 2 * held + 1:
        raise UsageError("there are too few events for a split by time", _RULES)
    test_cut = times[-held]
    validation_cut = times[max(0, np.searchsorted(times, test_cut) - held)]
    before_validation = _events_before(histories, validation_cut)
    before_test = _events_before(histories, test_cut)
    if not before_validation.any() or validation_cut == test_cut:
        raise UsageError("too many events share one time for a split by time", _RULES)
    return HoldOut(
        f"time:{fraction:g}",
        before_validation,
        _first_of_part(before_validation, before_test),
        _first_of_part(before_test, histories.lengths.astype(np.int32)),
    )


def by_user_ratio(histories: Histories, fraction: float) -> HoldOut:
    """The last `fraction` of each user's events is the test, the event before it validation.

    Of n events round(fraction * n) are the test, halves up, at least 1 and at most n - 2; users with
    under three events all train. The first event of a part is its target. UsageError unless
    0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"a split cannot hold out {fraction} of each user's events", _RULES)
    lengths = histories.lengths
    long = lengths >= _LEAST_EVENTS
    held = np.floor(fraction * lengths + 0.5).clip(1, np.maximum(lengths - 2, 1)).astype(np.int64)
    first = np.where(long, lengths - held, _NONE)
    return HoldOut(
        f"user-ratio:{fraction:g}",
        np.where(long, first - 1, lengths).astype(np.int32),
        np.where(long, first - 1, _NONE).astype(np.int32),
        first.astype(np.int32),
    )


def hold_out(rule: str, histories: Histories, has_time: bool) -> HoldOut:
    """The split that `rule` names ("leave-one-out", "time:0.1", ...); UsageError for any other."""
    if rule == "leave-one-out":
        return leave_one_out(histories)
    if rule == "none":
        nothing = np.full(len(histories.users), _NONE, dtype=np.int32)
        return HoldOut("none", histories.lengths.astype(np.int32), nothing, nothing.copy())
    name, _, fraction = rule.partition(":")
    if name not in ("time", "user-ratio") or not _is_number(fraction):
        raise UsageError(f"there is no split called {rule!r}", _RULES)
    if name == "user-ratio":
        return by_user_ratio(histories, float(fraction))
    if not has_time:
        raise UsageError("this log has no times, so it cannot be split by time", _RULES)
    return by_time(histories, float(fraction))


def _events_before(histories: Histories, cut: np.int64) -> NDArray[np.int32]:
    """int32 [U]: how many of a user's events are earlier than `cut`."""
    earlier = np.concatenate([[0], np.cumsum(histories.timestamps < cut)])
    return np.diff(earlier[histories.offsets]).astype(np.int32)


def _first_of_part(start: NDArray[np.int32], end: NDArray[np.int32]) -> NDArray[np.int32]:
    """Place of the first event in [start, end), if there is one and one before it; else -1."""
    return np.where((start < end) & (start > 0), start, _NONE).astype(np.int32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
