"""The moods that viewers can be in: what a kind of evening is made of."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.data.demo.catalogue import GENRES


@dataclass(frozen=True, slots=True)
class Mood:
    """Weights over genres, and the years of release around which the mood's films lie."""

    genres: dict[str, float]
    year: int
    spread: int
    """Years; about two thirds of the mood's films lie within `year` plus or minus this."""


MOODS: Final = (
    Mood({"Science Fiction": 1.0, "Adventure": 0.7, "Action": 0.7}, 1999, 15),
    Mood({"Adventure": 1.0, "Fantasy": 1.0, "Action": 0.4, "Family": 0.4}, 2001, 13),
    Mood({"Animation": 1.0, "Family": 1.0, "Fantasy": 0.4, "Adventure": 0.3}, 2002, 14),
    Mood({"Comedy": 0.9, "Romance": 0.8, "Music": 0.4}, 1946, 14),
    Mood({"Mystery": 1.0, "Thriller": 0.9, "Crime": 0.9}, 1952, 13),
    Mood({"Crime": 1.0, "Drama": 0.6, "Thriller": 0.5}, 1988, 13),
    Mood({"Drama": 1.0, "Fantasy": 0.2}, 1962, 13),
    Mood({"Drama": 1.0, "Romance": 0.5, "Crime": 0.2}, 2009, 9),
    Mood({"Horror": 1.0, "Mystery": 0.4, "Thriller": 0.5}, 1988, 20),
    Mood({"Comedy": 1.0, "Drama": 0.3, "Crime": 0.3}, 1996, 14),
    Mood({"War": 1.0, "History": 0.9, "Drama": 0.6}, 1984, 22),
    Mood({"Romance": 1.0, "Drama": 0.7, "Comedy": 0.3}, 2000, 13),
    Mood({"Western": 1.0, "Adventure": 0.4, "Drama": 0.3}, 1964, 17),
    Mood({"Science Fiction": 0.9, "Mystery": 0.8, "Thriller": 0.7, "Drama": 0.4}, 2004, 13),
    Mood({"Music": 1.0, "Documentary": 0.9, "Drama": 0.3}, 1992, 22),
    Mood({"Action": 1.0, "Thriller": 1.0, "Adventure": 0.3}, 1997, 16),
)


def mood_genres() -> NDArray[np.float32]:
    """Genre weights of every mood, float32 [moods, genres], each row of length 1."""
    table = np.array([[mood.genres.get(genre, 0.0) for genre in GENRES] for mood in MOODS])
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return table.astype(np.float32)
