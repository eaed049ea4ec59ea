"""The arrays say what the catalogue says."""

import numpy as np

from moerec.data.demo.features import film_features

FILMS = film_features()
ROW = {item_id: row for row, item_id in enumerate(FILMS.ids)}


def test_series_are_linked_in_both_directions() -> None:
    first, second, third = (
        ROW[f"the-lord-of-the-rings-{part}"]
        for part in (
            "the-fellowship-of-the-ring-2001",
            "the-two-towers-2002",
            "the-return-of-the-king-2003",
        )
    )
    assert FILMS.next_part[[first, second, third]].tolist() == [second, third, -1]
    assert FILMS.previous_part[[first, second, third]].tolist() == [-1, first, second]
    assert FILMS.next_part[ROW["amelie-2001"]] == FILMS.previous_part[ROW["amelie-2001"]] == -1


def test_each_of_two_directors_has_the_film() -> None:
    film = ROW["the-matrix-1999"]
    others = [ROW["the-matrix-reloaded-2003"], ROW["the-matrix-revolutions-2003"]]
    sisters = FILMS.directed[:, film] > 0
    assert sisters.sum() == 2
    assert FILMS.directed[sisters][:, others].all()
    assert FILMS.directed[sisters].sum() == 6
    assert (FILMS.directed.sum(axis=0) >= 1).all()


def test_genres_weigh_alike_and_have_length_one() -> None:
    np.testing.assert_allclose(np.linalg.norm(FILMS.genres, axis=1), 1, rtol=1e-6)
    matrix = FILMS.genres[ROW["the-matrix-1999"]]
    np.testing.assert_allclose(matrix[matrix > 0], [0.5**0.5] * 2, rtol=1e-6)
