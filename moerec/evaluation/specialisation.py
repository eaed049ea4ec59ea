"""What experts specialise in: which kinds of events wake an expert more often than events in general do.

Letters: L layers, E experts, V items (row 0 is the padding), A values of an attribute, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.evaluation.buckets import DECILES, popularity_deciles

MOST_CATEGORIES: Final = 20
"""The most frequent categories that a table shows."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Specialisation:
    """How often the tokens of each value of an attribute woke each expert.

    * `values` A names; `tokens_A` tokens that have the value; `awake_LAE` those that woke the expert;
    * `rate_LE`: share of all N tokens that woke the expert.
    """

    attribute: str
    values: list[str]
    tokens_A: Counts
    awake_LAE: Counts
    rate_LE: NDArray[np.float64]

    @property
    def lift_LAE(self) -> NDArray[np.float64]:
        """P(expert awake | value) / P(expert awake); 1 is no preference, NaN where there is nothing to
        compare (no token, dead expert)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            lift_LAE: NDArray[np.float64] = (
                self.awake_LAE / self.tokens_A[None, :, None] / self.rate_LE[:, None, :]
            )
        return lift_LAE

    def strongest(self, layer: int, least_share: float = 0.01) -> tuple[int, str, float] | None:
        """The expert, value and lift that stand out most, among values with `least_share` of the tokens
        of all values; None if there is no such value."""
        lift_AE = np.nan_to_num(self.lift_LAE[layer], nan=0.0)
        lift_AE[self.tokens_A < least_share * self.tokens_A.sum()] = 0.0
        if not lift_AE.any():
            return None
        value, expert = np.unravel_index(int(lift_AE.argmax()), lift_AE.shape)
        return int(expert), self.values[int(value)], float(lift_AE[value, expert])

    def to_dict(self) -> dict[str, Any]:
        """For JSON: lifts as [layer][value][expert], None where there is nothing to compare."""
        return {
            "attribute": self.attribute,
            "values": self.values,
            "tokens": self.tokens_A.tolist(),
            "lift": [
                [[None if np.isnan(lift) else float(lift) for lift in row] for row in layer]
                for layer in self.lift_LAE
            ],
        }


def by_category(
    categories: Sequence[Sequence[str]],
    tokens_V: Counts,
    awake_LVE: Counts,
    rate_LE: NDArray[np.float64],
) -> Specialisation | None:
    """By the categories of the event's item; an item with several counts in each of them.

    `categories[i]` belongs to the item of index i + 1. None if no event has a category.
    """
    names = sorted({name for row in categories for name in row})
    number = {name: place for place, name in enumerate(names)}
    pairs = [(number[name], item + 1) for item, row in enumerate(categories) for name in set(row)]
    if not pairs:
        return None
    rows, columns = np.array(pairs).T
    shape = (len(names), len(tokens_V))
    belongs_AV = sparse.coo_array((np.ones(len(pairs), np.int64), (rows, columns)), shape).tocsr()
    tokens_A = belongs_AV @ tokens_V
    top = np.argsort(-tokens_A, kind="stable")[:MOST_CATEGORIES]
    top = top[tokens_A[top] > 0]
    if len(top) == 0:
        return None
    awake_LAE = np.stack([belongs_AV[top] @ awake_VE for awake_VE in awake_LVE])
    values = [names[place] for place in top.tolist()]
    return Specialisation("category", values, tokens_A[top], awake_LAE, rate_LE)


def by_popularity(
    counts: Counts, tokens_V: Counts, awake_LVE: Counts, rate_LE: NDArray[np.float64]
) -> Specialisation:
    """By the popularity decile of the event's item; `counts` int64 [V + 1] are training events."""
    belongs_AV = popularity_deciles(counts)[None, :] == np.arange(1, DECILES + 1)[:, None]
    values = ["1 (most popular)", *map(str, range(2, DECILES)), f"{DECILES} (least)"]
    return Specialisation(
        "popularity decile",
        values,
        belongs_AV @ tokens_V,
        np.stack([belongs_AV @ awake_VE for awake_VE in awake_LVE]),
        rate_LE,
    )
