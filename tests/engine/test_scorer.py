"""An evaluation through the engine comes to the figures of the model's own."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.data.interactions import from_frame
from moerec.data.items import read_items
from moerec.data.sequences import History
from moerec.engine.scorer import EngineScorer, merged
from moerec.evaluation.evaluate import Cases, Evaluation, evaluate
from moerec.evaluation.model_scorer import ModelScorer
from moerec.evaluation.report import evaluate_bundle
from moerec.models.loading import load_model
from moerec.training.fit import FitOptions, fit_bundle
from moerec.transport.frames import ListReply
from moerec.types import ItemId
from tests.logs import rated_log
from tests.tiny import tiny_bundle


def questions(items: int, users: int = 150, longest: int = 30) -> Cases:
    """Random histories, with repeats and values, one of them empty; some targets were seen before."""
    rng = np.random.default_rng(0)
    histories = []
    for user in range(users):
        length = user % longest
        histories.append(
            History(
                rng.integers(1, items + 1, length).astype(np.int32),
                np.cumsum(rng.integers(0, 5_000_000, length)),
                np.where(rng.random(length) < 0.5, rng.integers(1, 6, length), np.nan).astype(
                    np.float32
                ),
            )
        )
    targets = rng.integers(0, items + 1, users).astype(np.int32)
    return Cases(np.arange(users), histories, targets)


def both(bundle: Bundle, asked: Cases, *, keep_seen: bool = False) -> tuple[Evaluation, Evaluation]:
    catalogue = len(bundle.id_map)
    model = ModelScorer(load_model(bundle.config, bundle.weights()))
    return (
        evaluate(model, asked, catalogue, keep_seen=keep_seen),
        evaluate(EngineScorer(bundle, stored=np.float32), asked, catalogue, keep_seen=keep_seen),
    )


@pytest.mark.parametrize("keep_seen", [False, True])
@pytest.mark.parametrize("liked_weight", [0.0, 2.0])
def test_every_rank_and_every_list_is_the_models(
    tmp_path: Path, liked_weight: float, keep_seen: bool
) -> None:
    """More items than the 200 that "liked" puts into a new order, more users than one frame holds."""
    bundle = tiny_bundle(tmp_path / "b", items=300, liked_weight=liked_weight)
    model, engine = both(bundle, questions(300), keep_seen=keep_seen)
    np.testing.assert_array_equal(engine.ranks, model.ranks)
    np.testing.assert_array_equal(engine.candidates, model.candidates)
    np.testing.assert_array_equal(engine.lists, model.lists)


def test_what_leaves_is_in_no_list(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    history = History.of_items([1, 2, 3])
    scorer = EngineScorer(bundle)
    every, without_seen, without_one = (
        scorer.scores([history], leaving)[0, 1:]
        for leaving in ((), [np.array([1, 2, 3], np.int32)], [np.array([2], np.int32)])
    )
    assert np.isfinite(every).all()
    assert np.flatnonzero(np.isneginf(without_seen)).tolist() == [0, 1, 2]
    assert np.flatnonzero(np.isneginf(without_one)).tolist() == [1]


def test_what_an_index_did_not_find_comes_behind_what_it_found() -> None:
    rows = {ItemId(name): row for row, name in enumerate("abcde", start=1)}
    short = ListReply(["a", "c"], [0.9, 0.5])
    full = ListReply(["a", "b", "c", "d"], [0.9, 0.7, 0.5, 0.2])
    found = merged(short, full, rows)
    np.testing.assert_array_equal(
        found, np.array([-np.inf, 0.9, 0.5, 0.5, 0.2, -np.inf], np.float32)
    )


def test_nobody_without_a_history_gets_a_list_of_the_model(tmp_path: Path) -> None:
    scores = EngineScorer(tiny_bundle(tmp_path / "b")).scores([History.of_items([])])
    assert not scores.any()


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    return rated_log()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, log: pl.DataFrame) -> Bundle:
    """A bundle with all that a model can have: content of items, transitions, "liked"."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    pl.DataFrame(
        {
            "item_id": [f"item{number}" for number in range(30)],
            "title": [f"Title {number}" for number in range(30)],
            "category": [f"c{number % 3}" for number in range(30)],
        }
    ).write_csv(folder / "items.csv")
    bundle = fit_bundle(
        from_frame(log),
        folder / "bundle",
        items=read_items(folder / "items.csv"),
        options=FitOptions(epochs=2),
    )
    return read_bundle(bundle.path)


def test_the_report_of_a_trained_bundle(trained: Bundle, log: pl.DataFrame) -> None:
    interactions = from_frame(log)
    offline = evaluate_bundle(trained, interactions, "test")
    scorer = EngineScorer(trained, stored=np.float32)
    live = evaluate_bundle(trained, interactions, "test", ranker=scorer)
    model = load_model(trained.config, trained.weights())
    assert model.liked is not None
    assert [result.name for result in live.results] == [
        "engine",
        "Markov chain",
        "popularity",
    ]
    assert live.results[0].summary == offline.results[0].summary
    assert live.results[0].ranks.tolist() == offline.results[0].ranks.tolist()


def test_states_in_8_bits_cost_next_to_nothing(trained: Bundle, log: pl.DataFrame) -> None:
    """A hundredth of NDCG@10 is the most that they may."""
    interactions = from_frame(log)
    offline = evaluate_bundle(trained, interactions, "test", baselines="none")
    live = evaluate_bundle(
        trained, interactions, "test", baselines="none", ranker=EngineScorer(trained)
    )
    expected = offline.results[0].summary["ndcg@10"]
    assert live.results[0].summary["ndcg@10"] == pytest.approx(expected, rel=0.01)
