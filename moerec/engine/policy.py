"""The expert policy: a budget of experts for each request, and a quota of work for each expert.

Knows experts by number and answers by who was awake; no model, no clock. The same tokens in the same order
give the same masks.

Letters: n layers, E experts, T tokens of the window, R rows.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.rows import Limits
from moerec.errors import SettingsError
from moerec.models.config import ModelConfig

WINDOW: Final = 4096
"""Tokens, the newest ones, over which an expert's share is taken."""

STEPS: Final = 64
"""So many times in a window's length the shares are looked at."""

RELEASE: Final = 0.9
"""A masked expert comes back when its share is below this part of the quota: not at the very next token."""

Experts = Sequence[Sequence[int]]
"""Those awake for one token, by layer."""


class ExpertPolicy:
    """Masks experts that have had more than their quota, and says how many a request may wake.

    * `quota`: the largest share of a layer's work on query rows that an expert may do over the last `window`
      tokens; 0 for none. Above it the expert is masked in that layer until its share has fallen by a
      tenth; never more than E - max_experts of a layer at once, those with the largest shares first;
    * `busy_frame`: requests without a budget of their own get `min_experts` in a frame of so many or
      more; 0 for never.

    SettingsError for a quota that even perfectly even work would pass. Not thread-safe: the engine holds its
    lock around every call.
    """

    def __init__(
        self, config: ModelConfig, quota: float = 0.0, busy_frame: int = 0, window: int = WINDOW
    ) -> None:
        if 0 < quota <= 1 / config.experts and not config.is_dense:
            raise SettingsError(
                f"An expert quota of {quota:g} cannot be kept: with {config.experts} experts an even "
                f"share is {1 / config.experts:g}.",
                "Set MOEREC_EXPERT_QUOTA above it, 0.25 for example, or to 0 for no quota.",
            )
        shape = (config.layers, config.experts)
        self._least, self._most = config.min_experts, config.max_experts
        self._quota = 0.0 if config.is_dense else quota
        self.watches = self._quota > 0
        """Whether `observe` is to be told of tokens."""
        self._busy_frame = busy_frame
        self._most_masked = config.experts - config.max_experts
        self._every = max(window // STEPS, 1)
        self._window_TnE = np.zeros((window, *shape), np.bool_)
        self._work_nE = np.zeros(shape, np.int64)
        self._tokens = 0
        self.masked_nE: NDArray[np.bool_] = np.zeros(shape, np.bool_)
        """Who is masked now."""
        self.epoch = 0
        """Counts the changes of `masked_nE`."""
        self._query_rows = self._budget_cuts = self._load_cuts = 0
        self._rerouted_nE = np.zeros(shape, np.int64)

    def budget(self, asked: int | None, frame: int) -> int:
        """How many experts a request may wake in a layer: its own wish within the model's, else by load.

        `frame` is the number of requests that came together.
        """
        if asked is not None:
            return min(max(asked, self._least), self._most)
        return self._least if self.is_busy(frame) else self._most

    def is_busy(self, frame: int) -> bool:
        """Whether a frame of so many requests means load."""
        return 0 < self._busy_frame <= frame

    @property
    def masks(self) -> bool:
        """Whether any expert is masked."""
        return self.watches and bool(self.masked_nE.any())

    def reroutes(self, experts: Experts) -> bool:
        """Whether a row that wakes these wakes a masked one."""
        return self.watches and any(
            self.masked_nE[layer, expert] for layer, awake in enumerate(experts) for expert in awake
        )

    def limits(self, budgets: Sequence[int]) -> Limits:
        """The masks of now, for rows with these budgets."""
        masked_BnE = np.repeat(self.masked_nE[None], len(budgets), axis=0)
        return Limits(masked_BnE, np.array(budgets, np.int64))

    def no_limits(self, rows: int) -> Limits:
        """For rows that may wake whom the model wakes."""
        masked_BnE = np.zeros((rows, *self.masked_nE.shape), np.bool_)
        return Limits(masked_BnE, np.full(rows, self._most, np.int64))

    def count(self, experts: Experts, most: int, by_load: bool) -> None:
        """A query row has been made for a row that wakes these experts, with at most `most` a layer."""
        self._query_rows += 1
        if any(len(awake) > most for awake in experts):
            self._load_cuts += by_load
            self._budget_cuts += not by_load
        if self.masks:
            for layer, awake in enumerate(experts):
                self._rerouted_nE[layer, awake] += self.masked_nE[layer, awake]

    def observe(self, rows: Sequence[Experts]) -> None:
        """The rows that answers were made of, in order, each a token; for a policy that `watches`."""
        awake_RnE = np.zeros((len(rows), *self._work_nE.shape), np.bool_)
        for row, layers in enumerate(rows):
            for layer, awake in enumerate(layers):
                awake_RnE[row, layer, awake] = True
        first = 0
        while first < len(rows):
            # Up to the next look at the shares, which depends on the tokens alone, not on their batches.
            after = min(first + self._every - self._tokens % self._every, len(rows))
            self._take_in(awake_RnE[first:after])
            if self._tokens % self._every == 0 and self._tokens >= len(self._window_TnE):
                self._mask()
            first = after

    def _take_in(self, awake_RnE: NDArray[np.bool_]) -> None:
        places = (self._tokens + np.arange(len(awake_RnE))) % len(self._window_TnE)
        self._work_nE += awake_RnE.sum(0) - self._window_TnE[places].sum(0)
        self._window_TnE[places] = awake_RnE
        self._tokens += len(awake_RnE)

    def _mask(self) -> None:
        shares_nE = self.shares()
        limit_nE = np.where(self.masked_nE, RELEASE * self._quota, self._quota)
        masked_nE = shares_nE > limit_nE
        for layer in np.flatnonzero(masked_nE.sum(1) > self._most_masked):
            out = np.flatnonzero(masked_nE[layer])
            # Those who are masked stay: two with like shares must not take turns.
            order = np.lexsort((-shares_nE[layer, out], ~self.masked_nE[layer, out]))
            masked_nE[layer, out[order[self._most_masked :]]] = False
        if not np.array_equal(masked_nE, self.masked_nE):
            self.masked_nE = masked_nE
            self.epoch += 1

    def shares(self) -> NDArray[np.float64]:
        """Each expert's share of its layer's work over the window, [n, E]; 0 before the first token."""
        work_n1 = self._work_nE.sum(1, keepdims=True)
        shares_nE: NDArray[np.float64] = self._work_nE / np.maximum(work_n1, 1)
        return shares_nE

    def counters(self) -> dict[str, float]:
        """What has happened so far, and how things are; of one expert as "name/layer/expert"."""
        found: dict[str, float] = {
            "routing_epoch": self.epoch,
            "query_rows": self._query_rows,
            "budget_cuts": self._budget_cuts,
            "load_cuts": self._load_cuts,
        }
        for layer, expert in np.ndindex(self.masked_nE.shape):
            found[f"rerouted_rows/{layer}/{expert}"] = int(self._rerouted_nE[layer, expert])
            found[f"expert_masked/{layer}/{expert}"] = int(self.masked_nE[layer, expert])
        return found
