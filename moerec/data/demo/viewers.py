"""Viewers and their evenings: who they are, and when they watch, before any film is chosen.

Letters: U viewers, M moods of one viewer (three slots), G genres, L places in the longest history.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.data.demo.moods import MOODS, mood_genres

MOOD_SLOTS: Final = 3
FAVOURITES: Final = 2
"""Directors whom a viewer in a given mood prefers."""

LAST_MS: Final = 1_735_603_200_000
"""2024-12-31 00:00 UTC: nothing of the log happens later."""
DAY_MS: Final = 86_400_000
SPAN_MS: Final = 730 * DAY_MS
"""The log covers the two years before `LAST_MS`."""

SESSION_STARTS: Final = 0.27
"""Share of events that begin a session."""
SAME_MOOD: Final = 0.4
"""Chance that a session follows the mood of the one before, rather than a mood drawn anew."""


@dataclass(frozen=True, slots=True)
class Viewers:
    """Tastes at the beginning and at the end of a viewer's two years; between them they drift.

    * `genres` float32 [2, U, M, G]; `years`, `spreads` float32 [2, U, M] and [U, M];
    * `favourites` int64 [U, M, FAVOURITES]: rows of the people who direct;
    * `weights` float64 [2, U, M]: how often each mood comes, summing to 1 (0: a mood they lack).
    """

    genres: NDArray[np.float32]
    years: NDArray[np.float32]
    spreads: NDArray[np.float32]
    favourites: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evenings:
    """When each viewer watches: `lengths` int64 [U] events, the rest [U, L].

    * `timestamps` int64, UTC ms, rising along a row; `progress` float32, 0..1 through the span;
    * `starts` bool: the event opens a session; `moods` int64: the session's mood slot.
    """

    lengths: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    progress: NDArray[np.float32]
    starts: NDArray[np.bool_]
    moods: NDArray[np.int64]


def draw_viewers(rng: np.random.Generator, viewers: int, people: int) -> Viewers:
    """One to three moods each; a mood drifts up to 0.7 of the way towards another one."""
    shape = (viewers, MOOD_SLOTS)
    kinds = rng.random((viewers, len(MOODS))).argsort(axis=1)
    now, later = kinds[:, :MOOD_SLOTS], kinds[:, MOOD_SLOTS : 2 * MOOD_SLOTS]
    drift = rng.uniform(0.0, 0.7, size=shape).astype(np.float32)
    table = mood_genres()
    own = table[now] + rng.gamma(0.3, 0.25, (*shape, table.shape[1])).astype(np.float32)
    end = (1 - drift[..., None]) * own + drift[..., None] * table[later]
    genres = np.stack([own, end])
    genres /= np.linalg.norm(genres, axis=-1, keepdims=True)
    centre = np.array([mood.year for mood in MOODS], dtype=np.float32)
    first_years = centre[now] + rng.normal(0, 4, shape).astype(np.float32)
    last_years = (1 - drift) * first_years + drift * centre[later]
    spreads = np.array([mood.spread for mood in MOODS], dtype=np.float32)[now]
    count = rng.choice([1, 2, 3], size=viewers, p=[0.25, 0.4, 0.35])
    has = np.arange(MOOD_SLOTS) < count[:, None]
    weights = rng.gamma(2.0, 1.0, (2, *shape)) * has
    return Viewers(
        genres=genres,
        years=np.stack([first_years, last_years]),
        spreads=spreads,
        favourites=rng.integers(0, people, (*shape, FAVOURITES)),
        weights=weights / weights.sum(axis=-1, keepdims=True),
    )


def draw_evenings(rng: np.random.Generator, viewers: Viewers) -> Evenings:
    """Thirty to sixty events a viewer, in sessions of a few films, over part of the two years."""
    count: int = viewers.weights.shape[1]
    lengths = rng.triangular(30, 36, 61, size=count).astype(np.int64)
    places = int(lengths.max())
    starts = rng.random((count, places)) < SESSION_STARTS
    starts[:, 0] = True
    timestamps = _timestamps(rng, starts, lengths)
    progress = ((timestamps - (LAST_MS - SPAN_MS)) / SPAN_MS).astype(np.float32)
    return Evenings(lengths, timestamps, progress, starts, _moods(rng, viewers, starts, progress))


def _timestamps(
    rng: np.random.Generator, starts: NDArray[np.bool_], lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Films of a session follow each other within hours or on the next evening; sessions lie
    apart, stretched so that a viewer's last event falls on the day they stop watching."""
    inside = rng.uniform(95, 190, starts.shape) * 60_000
    inside += (rng.random(starts.shape) < 0.4) * DAY_MS
    apart = rng.exponential(1.0, starts.shape) + 0.15
    gaps = np.where(starts, 0.0, inside)
    rest = np.where(starts, apart, 0.0)
    gaps[:, 0] = rest[:, 0] = 0.0
    own = np.arange(starts.shape[1]) < lengths[:, None]
    joins = rng.uniform(0.0, 0.45, len(lengths)) * SPAN_MS
    leaves = SPAN_MS - rng.beta(0.6, 3.0, len(lengths)) * 0.4 * SPAN_MS
    free = leaves - joins - (gaps * own).sum(axis=1)
    total = np.maximum((rest * own).sum(axis=1), 0.15)
    since = joins[:, None] + np.cumsum(gaps + rest * (free / total)[:, None], axis=1)
    whole_seconds = np.minimum(since, SPAN_MS).astype(np.int64) // 1000 * 1000
    return np.asarray(LAST_MS - SPAN_MS + whole_seconds)


def _moods(
    rng: np.random.Generator,
    viewers: Viewers,
    starts: NDArray[np.bool_],
    progress: NDArray[np.float32],
) -> NDArray[np.int64]:
    keep = ~starts | (rng.random(starts.shape) < SAME_MOOD)
    keep[:, 0] = False
    first, last = viewers.weights[:, :, None, :]
    chances = first + (last - first) * progress[..., None]
    ladder = np.cumsum(chances, axis=-1)
    draws = (1.0 - rng.random((*starts.shape, 1))) * ladder[..., -1:]
    moods = np.asarray((ladder < draws).sum(axis=-1))
    for place in range(1, starts.shape[1]):
        moods[:, place] = np.where(keep[:, place], moods[:, place - 1], moods[:, place])
    return moods
