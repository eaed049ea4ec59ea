"""How an item's content becomes features: what a bundle keeps of it, without the library of tables."""

from functools import cached_property
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Kind = Literal["list", "words", "value", "number"]

HASH_BITS: Final = 53


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one column is read.

    * "list": each entry is a feature;
    * "words": each different word is, in lower case;
    * "value": the whole text is, in lower case, blanks at its ends gone;
    * "number": the number of `edges` (ascending) that are not above the value is, and so is a
      missing value.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...] = ()


class FeatureRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """How an item's content becomes features, also that of an item which comes later.

    * `columns` of the item file, and how each is read;
    * `items`: how many items the recipe was learned from;
    * `hashes` [F] ascending, and `counts` [F]: in how many of those items each feature was.

    ValueError if these contradict each other.
    """

    columns: list[Column]
    items: int
    hashes: list[int]
    counts: list[int]

    def __post_init__(self) -> None:
        rules = {
            "a hash and a count for each of 1 or more features": 0
            < len(self.hashes)
            == len(self.counts),
            f"hashes of {HASH_BITS} bits, ascending": self.hashes == sorted(set(self.hashes))
            and all(0 <= value < 2**HASH_BITS for value in self.hashes),
            "counts from 1 and below the number of items": all(
                0 < count < self.items for count in self.counts
            ),
            "edges in ascending order": all(
                list(column.edges) == sorted(column.edges) for column in self.columns
            ),
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError(f"a feature recipe needs {'; '.join(broken)}")

    @cached_property
    def rarity(self) -> NDArray[np.float32]:
        """log(items / count) of each feature: what all items have weighs nothing. float32 [F]."""
        return np.log(self.items / np.array(self.counts)).astype(np.float32)
