"""How well known the films are, and how that changes while the simulated viewers watch."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.data.demo.features import FilmFeatures

MONTHS: Final = 25
"""The span of the log counts 24 months; its very last moment opens one more."""

# In nats, like all that the simulator adds to a film's log chance of being chosen.
SPREAD: Final = 0.6  # standard deviation over films
FAME: Final = 0.9  # for the famous
RECENCY: Final = 0.012  # for each year of release after 1980
FASHION: Final = 0.5  # amplitude of a film's ups and downs over the months

FAMOUS: Final = (
    "12-angry-men-1957",
    "2001-a-space-odyssey-1968",
    "alien-1979",
    "amelie-2001",
    "back-to-the-future-1985",
    "batman-begins-2005",
    "blade-runner-1982",
    "casablanca-1942",
    "city-of-god-2002",
    "die-hard-1988",
    "fight-club-1999",
    "finding-nemo-2003",
    "forrest-gump-1994",
    "frozen-2013",
    "get-out-2017",
    "gladiator-2000",
    "goodfellas-1990",
    "groundhog-day-1993",
    "inception-2010",
    "interstellar-2014",
    "jaws-1975",
    "jurassic-park-1993",
    "la-la-land-2016",
    "mad-max-fury-road-2015",
    "parasite-2019",
    "psycho-1960",
    "pulp-fiction-1994",
    "raiders-of-the-lost-ark-1981",
    "saving-private-ryan-1998",
    "schindlers-list-1993",
    "seven-samurai-1954",
    "singin-in-the-rain-1952",
    "some-like-it-hot-1959",
    "spirited-away-2001",
    "star-wars-episode-iv-a-new-hope-1977",
    "taxi-driver-1976",
    "the-avengers-2012",
    "the-exorcist-1973",
    "the-godfather-1972",
    "the-good-the-bad-and-the-ugly-1966",
    "the-grand-budapest-hotel-2014",
    "the-lion-king-1994",
    "the-lord-of-the-rings-the-fellowship-of-the-ring-2001",
    "the-matrix-1999",
    "the-princess-bride-1987",
    "the-shawshank-redemption-1994",
    "the-shining-1980",
    "the-silence-of-the-lambs-1991",
    "the-terminator-1984",
    "titanic-1997",
    "toy-story-1995",
    "vertigo-1958",
    "when-harry-met-sally-1989",
)
"""Films that nearly everyone has heard of."""


def draw_popularity(rng: np.random.Generator, films: FilmFeatures) -> NDArray[np.float32]:
    """Popularity of each film in each month, nats, float32 [MONTHS, films]."""
    count = len(films.ids)
    base = rng.normal(0, SPREAD, count) + RECENCY * (films.years - 1980)
    base += FAME * np.isin(films.ids, FAMOUS)
    months = np.arange(MONTHS)[:, None]
    turns = rng.uniform(0, 2, count) * months / (MONTHS - 1) + rng.random(count)
    return (base + FASHION * np.sin(2 * np.pi * turns)).astype(np.float32)
