"""Viewers watch in sessions, forward in time, in moods that they have."""

import numpy as np
import pytest

from moerec.data.demo.viewers import (
    DAY_MS,
    LAST_MS,
    SPAN_MS,
    Evenings,
    Viewers,
    draw_evenings,
    draw_viewers,
)


@pytest.fixture(scope="module")
def crowd() -> tuple[Viewers, Evenings]:
    rng = np.random.default_rng(3)
    viewers = draw_viewers(rng, 300, people=50)
    return viewers, draw_evenings(rng, viewers)


def test_one_to_three_moods_whose_weights_sum_to_one(crowd: tuple[Viewers, Evenings]) -> None:
    viewers, evenings = crowd
    np.testing.assert_allclose(viewers.weights.sum(axis=-1), 1)
    has = viewers.weights[0] > 0
    assert set(has.sum(axis=1)) == {1, 2, 3}
    assert has[np.arange(300)[:, None], evenings.moods].all()


def test_tastes_drift(crowd: tuple[Viewers, Evenings]) -> None:
    first, last = crowd[0].genres
    alike = (first * last).sum(axis=-1)
    assert alike.max() <= 1.0001
    assert 0.85 < np.median(alike) < 0.97


def test_time_runs_forward_inside_the_span(crowd: tuple[Viewers, Evenings]) -> None:
    evenings = crowd[1]
    own = np.arange(evenings.timestamps.shape[1]) < evenings.lengths[:, None]
    assert (np.diff(evenings.timestamps, axis=1)[own[:, 1:]] > 0).all()
    assert evenings.timestamps.min() >= LAST_MS - SPAN_MS
    assert evenings.timestamps.max() <= LAST_MS
    assert ((evenings.progress >= 0) & (evenings.progress <= 1)).all()


def test_a_session_keeps_its_mood_and_its_pace(crowd: tuple[Viewers, Evenings]) -> None:
    evenings = crowd[1]
    own = (np.arange(evenings.timestamps.shape[1]) < evenings.lengths[:, None])[:, 1:]
    inside = ~evenings.starts[:, 1:] & own
    gaps = np.diff(evenings.timestamps, axis=1)
    assert gaps[inside].max() < 2 * DAY_MS
    assert np.median(gaps[evenings.starts[:, 1:] & own]) > 7 * DAY_MS
    assert not np.diff(evenings.moods, axis=1)[inside].any()
