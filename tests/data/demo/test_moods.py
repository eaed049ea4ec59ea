"""Every mood asks for films that the catalogue has."""

import numpy as np

from moerec.data.demo.catalogue import GENRES
from moerec.data.demo.features import film_features
from moerec.data.demo.moods import MOODS, mood_genres


def test_genres_exist() -> None:
    assert {genre for mood in MOODS for genre in mood.genres} <= set(GENRES)
    np.testing.assert_allclose(np.linalg.norm(mood_genres(), axis=1), 1, rtol=1e-6)


def test_no_mood_runs_out_of_films() -> None:
    films = film_features()
    fit = mood_genres() @ films.genres.T
    for mood, cosines in zip(MOODS, fit, strict=True):
        near = np.abs(films.years - mood.year) <= 2 * mood.spread
        assert (near & (cosines > 0.5)).sum() >= 15, mood
