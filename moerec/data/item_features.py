"""What the item file says of each item, as sparse rows of weighted features.

A feature is known by 53 bits of a hash of its name, the same on every machine (and exact in JSON).
Among n features two share a hash with a probability of about n^2 / 2^54: 2e-7 for the most that are
kept. They would then count as one. Letters: V items, F features, n entries of all rows.
"""

from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moerec.data.feature_recipe import HASH_BITS, Column, FeatureRecipe
from moerec.data.item_columns import features_of, kinds_of
from moerec.data.items import ItemTable
from moerec.types import PADDING

MOST_FEATURES: Final = 65_536
LEAST_ITEMS: Final = 2
"""A feature of a single item says nothing of another one, and would only be a second id for it."""


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """Rows 0..V of weighted features, compressed; row 0 (the padding) is empty.

    * `size` F, the number of different features;
    * `offsets` int32 [V + 2]: row i owns the entries `offsets[i]` to `offsets[i + 1] - 1`;
    * `features` int32 [n], 0..F-1, ascending in each row;
    * `weights` float32 [n], positive; the squares of a row add up to 1. A row may be empty.
    """

    size: int
    offsets: NDArray[np.int32]
    features: NDArray[np.int32]
    weights: NDArray[np.float32]

    def digest(self) -> str:
        """A hash of the content."""
        digest = sha256()
        for array in (self.offsets, self.features, self.weights):
            digest.update(array.tobytes())
        return digest.hexdigest()


def learn_recipe(items: ItemTable) -> FeatureRecipe | None:
    """The features of an item file. None if it says nothing that tells groups of items apart.

    Kept are features that at least two items have and not all of them; of more than `MOST_FEATURES`
    the most frequent.
    """
    columns = kinds_of(items.frame)
    counts = _entries(items.frame, columns).group_by("hash").len("count")
    kept = counts.filter((pl.col("count") >= LEAST_ITEMS) & (pl.col("count") < len(items.frame)))
    kept = kept.sort(["count", "hash"], descending=[True, False]).head(MOST_FEATURES).sort("hash")
    if len(kept) == 0:
        return None
    return FeatureRecipe(
        columns,
        len(items.frame),
        kept.get_column("hash").to_list(),
        kept.get_column("count").to_list(),
    )


def item_features(
    recipe: FeatureRecipe, items: ItemTable, indexes: NDArray[np.int32], catalogue: int
) -> ItemFeatures:
    """The rows of a catalogue of V = `catalogue` items; `indexes` [items] says which row is whose.

    Features that the recipe does not know are left out; items that the file lacks have empty rows.
    """
    found = _entries(items.frame, recipe.columns)
    known = np.array(recipe.hashes, dtype=np.int64)
    hashes = found.get_column("hash").to_numpy()
    place = np.searchsorted(known, hashes).clip(max=len(known) - 1)
    kept = known[place] == hashes
    rows = indexes[found.get_column("row").to_numpy()]
    kept &= rows != PADDING  # (an item that the catalogue lacks)
    rows, features = rows[kept], place[kept].astype(np.int32)
    order = np.lexsort((features, rows))
    rows, features = rows[order], features[order]
    weights = recipe.rarity[features]
    squares = np.bincount(rows, weights.astype(np.float64) ** 2, minlength=catalogue + 1)
    sizes = np.bincount(rows, minlength=catalogue + 1)
    return ItemFeatures(
        len(known),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        features,
        (weights / np.sqrt(squares[rows])).astype(np.float32),
    )


def _entries(frame: pl.DataFrame, columns: list[Column]) -> pl.DataFrame:
    """`row` UInt32, `hash` Int64, no repeats."""
    found = features_of(frame, columns)
    names = found.get_column("feature").unique()
    table = pl.DataFrame(
        {"feature": names, "hash": pl.Series([_hash(name) for name in names], dtype=pl.Int64)}
    )
    return found.join(table, on="feature", maintain_order="left").select("row", "hash").unique()


def _hash(name: str) -> int:
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - HASH_BITS)
