"""The simulated log: repeatable, well formed, and with an order that a sequence model can learn."""

import numpy as np
import polars as pl
import pytest

from moerec.data.demo.catalogue import films, series
from moerec.data.demo.simulator import simulate
from moerec.errors import UsageError


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    return simulate()


def test_same_seed_same_bytes_other_seed_other_log() -> None:
    first = simulate(viewers=40, seed=5).write_csv()
    assert simulate(viewers=40, seed=5).write_csv() == first
    assert simulate(viewers=40, seed=6).write_csv() != first


@pytest.mark.parametrize("viewers", [0, -3])
def test_no_viewers_no_log(viewers: int) -> None:
    with pytest.raises(UsageError, match=f"cannot simulate {viewers} viewers"):
        simulate(viewers=viewers)


def test_one_viewer_is_enough() -> None:
    assert set(simulate(viewers=1)["user_id"]) == {"viewer-0001"}


def test_form(log: pl.DataFrame) -> None:
    assert dict(log.schema) == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "event": pl.String,
        "value": pl.Float64,
    }
    assert log["timestamp"].is_sorted()
    assert set(log["event"]) == {"watch"}
    assert set(log["value"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert not log.select("user_id", "timestamp").is_duplicated().any()
    assert sum(log.null_count().row(0)) == 0


def test_size(log: pl.DataFrame) -> None:
    lengths = log["user_id"].value_counts()["count"]
    assert len(lengths) == 2000
    assert 30 <= lengths.min() <= lengths.max() <= 60  # type: ignore[operator]
    assert 80_000 <= log.height <= 90_000
    assert set(log["item_id"]) <= set(films().frame["item_id"])
    assert log["item_id"].n_unique() > 470


def test_rewatches_are_rare_and_never_at_once(log: pl.DataFrame) -> None:
    again = log.select("user_id", "item_id").is_duplicated().mean()
    assert 0 < again < 0.02
    before = log.select(pl.col("item_id").shift().over("user_id") == pl.col("item_id"))
    assert not before["item_id"].any()


def test_popularity_has_a_long_tail_that_moves(log: pl.DataFrame) -> None:
    counts = log["item_id"].value_counts()["count"].sort(descending=True)
    assert 0.35 < counts.head(100).sum() / log.height < 0.55
    middle = log["timestamp"].median()
    halves = log.group_by("item_id").agg(
        early=(pl.col("timestamp") < middle).sum(), late=(pl.col("timestamp") >= middle).sum()
    )
    moved = halves.filter(pl.max_horizontal("early", "late") > 100)
    ratio = (moved["late"] / moved["early"]).log().abs()
    assert (ratio > 0.4).mean() > 0.2  # a half more, or a third less


def test_ratings_follow_taste(log: pl.DataFrame) -> None:
    """Of the viewers of one film, those who watch much of its kind rate it higher."""
    genre = films().frame.select("item_id", genre=pl.col("categories").list.first())
    events = log.join(genre, on="item_id").with_columns(
        share=pl.len().over("user_id", "genre") / pl.len().over("user_id"),
        stars=pl.col("value") - pl.col("value").mean().over("item_id"),
    )
    fans = pl.col("share") > pl.col("share").median().over("item_id")
    means = events.group_by(fans.alias("fan")).agg(pl.col("stars").mean())
    of = dict(means.iter_rows())
    assert of[True] > of[False] + 0.1


def test_a_trilogy_is_watched_in_its_order(log: pl.DataFrame) -> None:
    parts = series()["the-lord-of-the-rings"]
    places = (
        log.with_columns(place=pl.int_range(pl.len()).over("user_id"))
        .filter(pl.col("item_id").is_in(parts))
        .pivot("item_id", index="user_id", values="place", aggregate_function="min")
        .drop_nulls()
    )
    in_order = places.select(
        (pl.col(parts[0]) < pl.col(parts[1])) & (pl.col(parts[1]) < pl.col(parts[2]))
    ).to_series()
    assert len(in_order) > 50
    assert in_order.mean() > 0.8  # type: ignore[operator]


def hit_rates_at_10(log: pl.DataFrame) -> tuple[float, float]:
    """HR@10 on each viewer's last film: most popular, and transition counts of all earlier events.

    Films seen before are left out of both lists.
    """
    codes = log.with_columns(item=pl.col("item_id").rank("dense").cast(pl.Int64) - 1)
    histories = [np.array(h) for h in codes.group_by("user_id").agg("item")["item"].to_list()]
    count = log["item_id"].n_unique()
    popular = np.zeros(count)
    steps = np.zeros((count, count))
    for history in histories:
        np.add.at(popular, history[:-1], 1)
        np.add.at(steps, (history[:-2], history[1:-1]), 1)
    hits = np.zeros(2)
    for history in histories:
        target = history[-1]
        fresh = np.ones(count, dtype=bool)
        fresh[history[:-1]] = False
        chain = steps[history[-2]] + popular / popular.sum()
        for place, scores in enumerate((popular, chain)):
            hits[place] += ((scores >= scores[target]) & fresh).sum() <= 10 - (not fresh[target])
    by_popularity, by_transitions = hits / len(histories)
    return float(by_popularity), float(by_transitions)


def test_what_was_watched_last_says_what_comes_next(log: pl.DataFrame) -> None:
    """Without this the demo could not show that a sequence model learns anything."""
    by_popularity, by_transitions = hit_rates_at_10(log)
    assert 0.05 <= by_popularity <= 0.12
    assert by_transitions >= 0.25
    assert by_transitions >= 3 * by_popularity
