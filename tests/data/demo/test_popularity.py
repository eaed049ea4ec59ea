"""Popularity has its famous films and its fashions."""

import numpy as np

from moerec.data.demo.features import film_features
from moerec.data.demo.popularity import FAMOUS, MONTHS, draw_popularity

FILMS = film_features()


def test_the_famous_are_films_of_the_catalogue() -> None:
    assert len(FAMOUS) == len(set(FAMOUS))
    assert set(FAMOUS) <= set(FILMS.ids)


def test_the_famous_are_more_popular_and_nobody_stays_where_they_were() -> None:
    popularity = draw_popularity(np.random.default_rng(1), FILMS)
    famous = np.isin(FILMS.ids, FAMOUS)
    assert popularity.shape == (MONTHS, len(FILMS.ids))
    assert popularity[:, famous].mean() > popularity[:, ~famous].mean() + 0.5
    assert (np.ptp(popularity, axis=0) > 0.05).mean() > 0.9
