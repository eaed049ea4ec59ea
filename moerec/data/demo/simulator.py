"""A seeded simulator of film viewers: the interaction log that the demo trains on.

Each viewer has one to three moods (tastes over genres, eras and directors) that drift. A session
follows one mood: its first film is drawn by taste and popularity, the next ones also by what came
before: the next part of a series, another film of the same director, or a film in the same vein.

Letters: U viewers (those who still watch, in the functions below), I films, G genres.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moerec.data.demo.features import FilmFeatures, film_features
from moerec.data.demo.popularity import MONTHS, draw_popularity
from moerec.data.demo.viewers import Evenings, Viewers, draw_evenings, draw_viewers
from moerec.errors import UsageError

EVENT: Final = "watch"

# Everything below is in nats: added to a film's log chance of being chosen.
TASTE: Final = 7.0  # times the cosine of the mood's and the film's genres
FAVOURITE: Final = 1.2  # a favourite director's film
VEIN: Final = 3.5  # times the cosine of the genres of the last film and the next one
SAME_ERA: Final = 1.5  # for two films of one year, fading with the years between
SAME_DIRECTOR: Final = 3.5  # in sessions that follow a director
NEXT_PART: Final = 2.6  # of the series of the last film
PART_DUE: Final = 1.0  # a part of a series whose earlier part was watched, at any time before
PART_TOO_EARLY: Final = -3.0  # a later part of a series whose earlier part was not watched
NEVER: Final = -1e9

DIRECTOR_SESSIONS: Final = 0.45
"""Share of sessions that follow a director."""
REWATCHES: Final = 0.004
"""Share of events that are a film watched before."""


@dataclass(frozen=True, slots=True)
class _World:
    """What is the same for every viewer.

    `kinship`, `same_director` float32 [I, I]: the last film's row, the next one's column;
    `popularity` float32 [MONTHS, I]; `quality` float64 [I]: stars above or below the average film.
    """

    films: FilmFeatures
    kinship: NDArray[np.float32]
    same_director: NDArray[np.float32]
    popularity: NDArray[np.float32]
    quality: NDArray[np.float64]


def simulate(viewers: int = 2000, seed: int = 7) -> pl.DataFrame:
    """Watch events of `viewers` people over two years, in order of time.

    Columns: user_id ("viewer-0001"), item_id, timestamp (UTC ms), event ("watch"), value (rating,
    1.0 to 5.0 in whole steps). 30 to 60 events a viewer. The same arguments give the same frame.

    Raises UsageError if `viewers` is below 1.
    """
    if viewers < 1:
        raise UsageError(f"cannot simulate {viewers} viewers", "Ask for at least one.")
    rng = np.random.default_rng(seed)
    world = _draw_world(rng)
    people = draw_viewers(rng, viewers, len(world.films.directed))
    evenings = draw_evenings(rng, people)
    chosen, ratings = _watch(rng, world, people, evenings)
    return _frame(world.films.ids, evenings, chosen, ratings)


def _draw_world(rng: np.random.Generator) -> _World:
    films = film_features()
    apart = films.years[None, :] - films.years[:, None]
    kinship = VEIN * films.genres @ films.genres.T + SAME_ERA * np.exp(-((apart / 12) ** 2))
    parts = np.flatnonzero(films.next_part >= 0)
    kinship[parts, films.next_part[parts]] += NEXT_PART
    shared = np.minimum(films.directed.T @ films.directed, 1.0)
    same_director = SAME_DIRECTOR * shared + 0.5 * shared * (apart > 0)
    popularity = draw_popularity(rng, films)
    return _World(
        films=films,
        kinship=kinship.astype(np.float32),
        same_director=same_director.astype(np.float32),
        popularity=popularity,
        quality=0.3 * popularity.mean(axis=0) + rng.normal(0, 0.4, len(films.ids)),
    )


def _watch(
    rng: np.random.Generator, world: _World, viewers: Viewers, evenings: Evenings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Films (rows of the catalogue) and ratings, both [U, L]; what lies beyond a viewer's length is 0."""
    count = len(evenings.lengths)
    places = evenings.timestamps.shape[1]
    chosen = np.zeros((count, places), dtype=np.int64)
    ratings = np.zeros((count, places))
    seen = np.zeros((count, len(world.films.ids)), dtype=bool)
    follows_director = np.zeros(count, dtype=bool)
    mildness = rng.normal(0, 0.35, size=count)
    for place in range(places):
        rows = np.flatnonzero(evenings.lengths > place)
        opens = evenings.starts[rows, place]
        follows_director[rows[opens]] = rng.random(opens.sum()) < DIRECTOR_SESSIONS
        taste = _taste(world.films, viewers, evenings, rows, place)
        month = (evenings.progress[rows, place] * (MONTHS - 1)).astype(np.int64)
        scores = taste + world.popularity[month]
        if place:
            last = chosen[rows, place - 1]
            _follow(scores, world, last, ~opens, ~opens & follows_director[rows])
        _rule_out(rng, scores, world.films, seen[rows])
        films = _draw(rng, scores)
        chosen[rows, place] = films
        seen[rows, films] = True
        ratings[rows, place] = _rate(rng, taste, films, world.quality[films] + mildness[rows])
    return chosen, ratings


def _taste(
    films: FilmFeatures, viewers: Viewers, evenings: Evenings, rows: NDArray[np.int64], place: int
) -> NDArray[np.float32]:
    """How well each film fits the mood of the moment, [U, I]."""
    mood = evenings.moods[rows, place]
    progress = evenings.progress[rows, place, None]
    first, last = viewers.genres[0, rows, mood], viewers.genres[1, rows, mood]
    taste: NDArray[np.float32] = TASTE * ((first + (last - first) * progress) @ films.genres.T)
    first_year, last_year = viewers.years[0, rows, mood], viewers.years[1, rows, mood]
    year = first_year[:, None] + (last_year - first_year)[:, None] * progress
    taste -= ((films.years - year) / viewers.spreads[rows, mood, None]) ** 2 / 2
    for person in viewers.favourites[rows, mood].T:
        taste += FAVOURITE * films.directed[person]
    return taste


def _follow(
    scores: NDArray[np.float32],
    world: _World,
    last: NDArray[np.int64],
    inside: NDArray[np.bool_],
    follows_director: NDArray[np.bool_],
) -> None:
    """Draw the next film towards the last one, if both are of one session."""
    scores[inside] += world.kinship[last[inside]]
    scores[follows_director] += world.same_director[last[follows_director]]
    scores[np.arange(len(last)), last] = NEVER  # no film twice in a row


def _rule_out(
    rng: np.random.Generator,
    scores: NDArray[np.float32],
    films: FilmFeatures,
    seen: NDArray[np.bool_],
) -> None:
    """Leave only new films, or now and then only old ones; series are begun at their beginning."""
    parts = np.flatnonzero(films.previous_part >= 0)
    due = seen[:, films.previous_part[parts]]
    scores[:, parts] += np.where(due, np.float32(PART_DUE), np.float32(PART_TOO_EARLY))
    again = (rng.random(len(scores)) < REWATCHES) & (seen.sum(axis=1) >= 10)
    scores[seen != again[:, None]] = NEVER


def _draw(rng: np.random.Generator, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """One film for each row, with chances exp(score)."""
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    ladder = np.cumsum(chances, axis=1, dtype=np.float64)
    heights = (1.0 - rng.random((len(scores), 1))) * ladder[:, -1:]  # never 0: no film of chance 0
    return np.asarray((ladder < heights).sum(axis=1))


def _rate(
    rng: np.random.Generator,
    taste: NDArray[np.float32],
    films: NDArray[np.int64],
    leaning: NDArray[np.float64],
) -> NDArray[np.float64]:
    """1 to 5: the better a film fits the mood, compared with the catalogue, the more stars."""
    own = taste[np.arange(len(films)), films]
    fit = (own - taste.mean(axis=1)) / taste.std(axis=1)
    stars = 2.7 + 0.6 * fit + leaning + rng.normal(0, 0.6, len(films))
    return np.asarray(np.clip(np.rint(stars), 1, 5))


def _frame(
    ids: list[str], evenings: Evenings, chosen: NDArray[np.int64], ratings: NDArray[np.float64]
) -> pl.DataFrame:
    viewer, place = np.nonzero(np.arange(chosen.shape[1]) < evenings.lengths[:, None])
    width = max(4, len(str(len(chosen))))
    names = pl.Series([f"viewer-{number + 1:0{width}}" for number in range(len(chosen))])
    frame = pl.DataFrame(
        {
            "user_id": names[viewer],
            "item_id": pl.Series(ids)[chosen[viewer, place]],
            "timestamp": evenings.timestamps[viewer, place],
            "event": pl.repeat(EVENT, len(viewer), eager=True),
            "value": ratings[viewer, place],
        }
    )
    return frame.sort("timestamp", "user_id", maintain_order=True)
