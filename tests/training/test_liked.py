"""What is liked is found from the values' scale, and the head learns it without touching the network."""

import numpy as np
import polars as pl
import pytest
import torch

from moerec.artifacts.bundle import Bundle
from moerec.data.interactions import from_frame
from moerec.data.sequences import build_histories
from moerec.errors import UsageError
from moerec.evaluation.report import evaluate_bundle
from moerec.models.loading import load_model
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.liked import VALUES_ALONE, liked_threshold, with_liked
from moerec.training.presets import Variant
from tests.logs import rated_log

LOG = from_frame(rated_log(users=60))
SMALL = FitOptions(
    epochs=1,
    split="user-ratio:0.2",
    variant=Variant(settings={"dim": 16, "expert_dim": 16, "layers": 1}),
)
"""The head learns from values: what the network below it is, costs time and says nothing here."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.set_num_threads(1)
    return fit_bundle(LOG, tmp_path_factory.mktemp("rated") / "bundle", options=SMALL)


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ([1, 2, 3, 4, 5], 3.0),
        ([0, 1, 1, 0], 0.5),
        ([0.0, 0.2, 0.6, 0.9], 0.45),
        ([1, 2], 1.5),
        ([*range(1, 31), 5_000], 16.0),
        ([1] * 98 + [2, 50], 2.0),
        ([-1, 1, 1], 0.0),
    ],
    ids=["stars", "thumbs", "watched", "two", "a long tail", "mostly the least", "down and up"],
)
def test_the_values_say_from_where_on_they_are_liked(values: list[float], threshold: float) -> None:
    assert liked_threshold(np.array(values, np.float32), None) == pytest.approx(threshold)


@pytest.mark.parametrize("values", [[], [1.0, 1.0, 1.0]], ids=["none", "all the same"])
def test_without_different_values_nothing_is_liked(values: list[float]) -> None:
    assert liked_threshold(np.array(values, np.float32), None) is None
    with pytest.raises(UsageError, match="no different values"):
        liked_threshold(np.array(values, np.float32), 3.0)


@pytest.mark.parametrize("given", [1.0, 5.5])
def test_a_threshold_must_leave_both_sides_something(given: float) -> None:
    with pytest.raises(UsageError, match=f"is {given:g} or more"):
        liked_threshold(np.array([1, 2, 5], np.float32), given)


def test_it_learns_what_an_item_s_average_cannot(bundle: Bundle) -> None:
    """Half of the users like what the others do not."""
    found = evaluate_bundle(bundle, LOG, "test").relevance
    assert found is not None
    areas = {result.name: result.auc for result in found.results}
    assert areas["moerec"] > 0.85
    assert areas["item's share liked"] < 0.75
    assert found.log_loss < 0.6
    assert found.users == 60


def test_values_do_not_change_the_network(bundle: Bundle) -> None:
    """The head comes after it: weights are bit for bit those of the same log without values."""
    without = from_frame(rated_log(users=60).drop("rating"))
    plain = fit_bundle(without, bundle.path.parent / "plain", options=SMALL)
    weights = bundle.weights()
    assert plain.config["liked_factors"] == 0
    for name, array in plain.weights().items():
        assert np.array_equal(array, weights[name]), name
    assert {name.split(".")[0] for name in set(weights) - set(plain.weights())} == {"liked"}


def test_the_same_seed_makes_the_same_head(bundle: Bundle) -> None:
    again = fit_bundle(LOG, bundle.path.parent / "again", options=SMALL)
    for name, array in bundle.weights().items():
        assert np.array_equal(array, again.weights()[name]), name


def test_values_that_began_of_late_train_too(bundle: Bundle) -> None:
    """A shop that had asked for ratings for a week trained for hours, and then had no bundle: no value
    was left among the older events that the parts of the head are weighed after.
    """
    place = pl.int_range(pl.len()).over("user_id")
    rating = pl.when(place >= 13).then(pl.col("rating"))
    late = from_frame(rated_log(users=20).with_columns(rating))
    found = fit_bundle(late, bundle.path.parent / "late", options=SMALL)
    assert found.weights()["liked.mix"].tolist() == [pytest.approx(VALUES_ALONE), 0.0]


def test_those_who_rate_teach_it(bundle: Bundle) -> None:
    """Where few of very many users rate, a sample of all users had nobody with a value in it."""
    rating = pl.when(pl.col("user_id").is_in(["user3", "user7"])).then(pl.col("rating"))
    few = from_frame(rated_log(users=60).with_columns(rating))
    histories = build_histories(few, bundle.id_map)
    lengths = histories.lengths.astype(np.int32)
    model = load_model(bundle.config, bundle.weights())
    head = with_liked(model, histories, lengths, 3.0, seed=0, limit=2).liked
    assert head is not None
    assert head.item_bias.abs().max() > 0


def test_a_log_without_the_values_of_the_training_is_measured(bundle: Bundle) -> None:
    """The baselines had nothing to learn from, and the command ended in a traceback."""
    place = pl.int_range(pl.len()).over("user_id")
    rating = pl.when(place >= 16).then(pl.col("rating"))
    late = from_frame(rated_log(users=60).with_columns(rating))
    found = evaluate_bundle(bundle, late, "test").relevance
    assert found is not None
    assert [result.name for result in found.results] == ["moerec", "chance"]


@pytest.mark.parametrize("scale", ["missing", "thumbs", "fraction", "same", "few"])
def test_other_values_train_too(bundle: Bundle, scale: str) -> None:
    log = rated_log(users=20)
    rating = log.get_column("rating").to_numpy()
    values = {
        "missing": np.where(np.arange(len(log)) % 3 == 0, np.nan, rating),
        "thumbs": rating >= 3,
        "fraction": rating / 5,
        "same": np.ones(len(log)),
        "few": np.where(np.arange(len(log)) % 97 == 0, rating, np.nan),
    }[scale]
    other = from_frame(log.with_columns(rating=values.astype(np.float64)).fill_nan(None))
    found = fit_bundle(other, bundle.path.parent / scale, options=SMALL)
    assert (found.config["liked_factors"] > 0) == (scale != "same")
    report = evaluate_bundle(found, other, "test")
    assert (report.relevance is not None) == (scale != "same")
    if report.relevance is not None:
        assert np.isfinite(report.relevance.log_loss)
