"""The catalogue as arrays: what the simulator needs to know of each film.

Letters: I films (rows as in `catalogue.films()`), G genres, P people who direct.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moerec.data.demo.catalogue import GENRES, SEPARATOR, films, series


@dataclass(frozen=True, slots=True)
class FilmFeatures:
    """One row for each film.

    * `ids` [I] item ids;
    * `genres` float32 [I, G]: equal weights on the film's genres, each row of length 1;
    * `years` float32 [I];
    * `directed` float32 [P, I]: 1 where the person directed the film;
    * `next_part`, `previous_part` int64 [I]: row of the neighbour in the film's series, or -1.
    """

    ids: list[str]
    genres: NDArray[np.float32]
    years: NDArray[np.float32]
    directed: NDArray[np.float32]
    next_part: NDArray[np.int64]
    previous_part: NDArray[np.int64]


def film_features() -> FilmFeatures:
    """Read the catalogue into arrays."""
    table = films().frame
    ids = table["item_id"].to_list()
    next_part, previous_part = _series_neighbours(ids)
    directors = table["director"].str.split(SEPARATOR)
    people = directors.explode().unique(maintain_order=True).to_list()
    genres = _membership(table["categories"], GENRES)
    return FilmFeatures(
        ids=ids,
        genres=genres / np.linalg.norm(genres, axis=1, keepdims=True),
        years=table["year"].to_numpy().astype(np.float32),
        directed=np.ascontiguousarray(_membership(directors, people).T),
        next_part=next_part,
        previous_part=previous_part,
    )


def _membership(lists: pl.Series, names: tuple[str, ...] | list[str]) -> NDArray[np.float32]:
    """1 where row i's list holds the name of column j, else 0."""
    column = {name: place for place, name in enumerate(names)}
    table = np.zeros((len(lists), len(names)), dtype=np.float32)
    for row, members in enumerate(lists.to_list()):
        table[row, [column[member] for member in members]] = 1.0
    return table


def _series_neighbours(ids: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row = {item_id: place for place, item_id in enumerate(ids)}
    following = np.full(len(ids), -1, dtype=np.int64)
    preceding = np.full(len(ids), -1, dtype=np.int64)
    for parts in series().values():
        for earlier, later in pairwise(parts):
            following[row[earlier]] = row[later]
            preceding[row[later]] = row[earlier]
    return following, preceding
