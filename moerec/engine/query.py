"""From states to the tastes that lists are made of: the canonical row, or a query row where policy says so.

The canonical row is always worked out, because it is what the user's state is made of. It is the answer too
wherever it keeps within the limits: a row that wakes no masked expert and no more than the budget is the
same with them and without.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moerec.engine.counters import Counters
from moerec.engine.encoders import Encoder
from moerec.engine.policy import ExpertPolicy
from moerec.engine.state import LimitedTaste, Taste, UserState
from moerec.transport.frames import Degraded


@dataclass(frozen=True, slots=True)
class Answered:
    """The tastes of some questions, in order, and how each differs from what the model alone would say."""

    tastes: list[Taste]
    degraded: list[Degraded | None]


class QueryRows:
    """The engine's way to tastes: remembers them with the user, and keeps within the policy's limits.

    Without `memo` each question costs its row, the known ones too: the tastes are the same.
    """

    def __init__(
        self, encoder: Encoder, policy: ExpertPolicy, counters: Counters, memo: bool = True
    ) -> None:
        self._encoder = encoder
        self._policy = policy
        self._counters = counters
        self._memo = memo

    def answer(
        self, states: Sequence[UserState], wishes: Sequence[int | None], frame: int
    ) -> Answered:
        """The taste of each; what is not known yet is worked out together, and kept with the user.

        A user may ask several times at once. `wishes` are the budgets that requests have asked for;
        `frame` is the number of requests that came together.
        """
        new = {id(state): state for state in states if state.taste is None}
        self._counters.answers_computed += len(new)
        if new:
            encoded = self._encoder.encode(list(new.values()))
            for state, found in zip(new.values(), encoded, strict=True):
                state.taste = found
        if self._memo:
            self._counters.answers_memo += len(states) - len(new)
        else:
            self._work_out_again(states, set(new))
        canonical = [taste for state in states if (taste := state.taste) is not None]
        policy = self._policy
        if not (policy.masks or policy.is_busy(frame) or any(wishes)):
            if policy.watches:
                policy.observe([state.taste.experts for state in new.values() if state.taste])
            return Answered(canonical, [None] * len(canonical))
        return self._limited(states, canonical, wishes, frame, set(new))

    def _work_out_again(self, states: Sequence[UserState], new: set[int]) -> None:
        """The known tastes, once for each question; the first one of a `new` user has had its row."""
        known = []
        for state in states:
            if id(state) in new:
                new.remove(id(state))
            else:
                known.append(state)
        if known:
            self._counters.answers_computed += len(known)
            found = self._encoder.query(known, self._policy.no_limits(len(known)))
            for state, taste in zip(known, found, strict=True):
                state.taste, state.limited = taste, None

    def warm_up(self, state: UserState) -> None:
        """Works out a query row of an encoded state, so that nobody waits for first-time costs."""
        self._encoder.query([state], self._policy.limits([self._policy.budget(None, 0)]))

    def _limited(
        self,
        states: Sequence[UserState],
        canonical: list[Taste],
        wishes: Sequence[int | None],
        frame: int,
        new: set[int],
    ) -> Answered:
        policy = self._policy
        budgets = [policy.budget(wish, frame) for wish in wishes]
        degraded: list[Degraded | None] = [None] * len(states)
        known: dict[tuple[int, int], Taste] = {}
        missing: dict[tuple[int, int], int] = {}
        for row, (state, taste, most) in enumerate(zip(states, canonical, budgets, strict=True)):
            key = (id(state), most)
            over = any(len(awake) > most for awake in taste.experts)
            if policy.reroutes(taste.experts):
                degraded[row] = "rerouted"
            elif not over:
                known[key] = taste
            elif wishes[row] is None:
                degraded[row] = "fewer_experts"
            kept = state.limited
            if kept is not None and (kept.epoch, kept.most) == (policy.epoch, most):
                known[key] = kept.taste
            elif key not in known:
                missing.setdefault(key, row)
        known |= self._made(states, canonical, wishes, budgets, missing)
        tastes = [known[id(state), most] for state, most in zip(states, budgets, strict=True)]
        if policy.watches:
            tokens = {
                (id(state), most): taste.experts
                for state, most, taste in zip(states, budgets, tastes, strict=True)
                if id(state) in new or (id(state), most) in missing
            }
            policy.observe(list(tokens.values()))
        return Answered(tastes, degraded)

    def _made(
        self,
        states: Sequence[UserState],
        canonical: list[Taste],
        wishes: Sequence[int | None],
        budgets: list[int],
        missing: dict[tuple[int, int], int],
    ) -> dict[tuple[int, int], Taste]:
        """The query rows of the questions `missing`: of which user and budget, and at which place."""
        if not missing:
            return {}
        policy, rows = self._policy, list(missing.values())
        limits = policy.limits([budgets[row] for row in rows])
        found = self._encoder.query([states[row] for row in rows], limits)
        for row, taste in zip(rows, found, strict=True):
            policy.count(canonical[row].experts, budgets[row], by_load=wishes[row] is None)
            states[row].limited = LimitedTaste(policy.epoch, budgets[row], taste)
        return dict(zip(missing, found, strict=True))
