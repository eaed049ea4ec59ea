"""The synthetic world: seeded, skewed, with something in it to learn."""

import numpy as np

from moerec.loadtest.synthetic import CLUSTER, World, lengths, times, training_log, zipf


def a_world(items: int = 1_000, seed: int = 0) -> World:
    return World([f"i{number:04}" for number in range(items)], seed)


def test_zipf_falls_as_one_over_the_rank() -> None:
    found = zipf(np.random.default_rng(0), 1_000, 200_000)
    counts = np.bincount(found, minlength=1_000)
    assert (found.min(), len(counts)) == (0, 1_000)
    harmonic = np.log(1_001)
    for rank in (0, 9, 99):
        expected = np.log((rank + 2) / (rank + 1)) / harmonic
        assert abs(counts[rank] / len(found) - expected) < 0.15 * expected + 1e-4


def test_the_same_seed_gives_the_same_histories() -> None:
    def made(seed: int) -> bytes:
        return a_world(seed=seed).histories(np.random.default_rng(seed), 20, 8).tobytes()

    assert made(3) == made(3)
    assert made(3) != made(4)


def test_neighbours_in_a_history_share_a_cluster_more_often_than_not() -> None:
    world = a_world(10 * CLUSTER)
    found = world.histories(np.random.default_rng(0), 500, 20)
    cluster_of = np.empty(len(world.ids), np.int64)
    for number, walk in enumerate(world.walks(CLUSTER)):
        cluster_of[walk] = number
    clusters = cluster_of[found]
    assert (clusters[:, 1:] == clusters[:, :-1]).mean() > 0.7
    # And some items are far more popular than others.
    counts = np.sort(np.bincount(found.ravel(), minlength=len(world.ids)))[::-1]
    assert counts[: len(counts) // 10].sum() > counts.sum() / 2


def test_histories_have_lengths_in_range_and_growing_times() -> None:
    draw = np.random.default_rng(0)
    counts = lengths(draw, 1_000, 5, 50)
    assert (counts.min(), counts.max()) == (5, 50)
    assert (np.diff(times(draw, 10, 20), axis=1) > 0).all()


def test_the_training_log_has_every_item() -> None:
    log = training_log(a_world(), 20_000, seed=0)
    assert log.get_column("item_id").n_unique() == 1_000
    assert abs(len(log) - 20_000) < 1_000
    assert log.equals(training_log(a_world(), 20_000, seed=0))
