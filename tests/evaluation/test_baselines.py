"""The baselines against their definitions, and against figures of the real data where it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from moerec.data.interactions import read_interactions
from moerec.data.item_features import ItemFeatures
from moerec.data.sequences import History
from moerec.data.split import leave_one_out
from moerec.evaluation.baselines import ContentNeighbours, MarkovChain, Popularity, item_counts
from moerec.evaluation.evaluate import cases, evaluate
from tests.logs import with_histories

DATA = Path(os.environ["MOEREC_DATA_DIR"]) if "MOEREC_DATA_DIR" in os.environ else None


def test_counts_leave_the_padding_out() -> None:
    assert item_counts(np.array([0, 2, 2, 3], np.int32), 4).tolist() == [0, 0, 2, 1, 0]


def test_popularity_is_the_same_for_everybody() -> None:
    scores = Popularity(np.array([0, 5, 7])).scores([History.of_items([1]), History.of_items([])])
    assert scores.tolist() == [[0, 5, 7], [0, 5, 7]]


def test_markov_chain_by_its_definition() -> None:
    """Transitions by loops over all pairs, as the definition reads."""
    train = [np.array(h, np.int32) for h in ([1, 2, 3, 1, 4], [2, 3, 3], [4], [1] * 14)]
    catalogue = 4
    counts = np.zeros((5, 5))
    for history in train:
        for place, item in enumerate(history):
            for distance in range(1, 11):
                if place + distance < len(history):
                    counts[item, history[place + distance]] += 0.85 ** (distance - 1)
    popularity = item_counts(np.concatenate(train), catalogue)
    popularity = popularity / popularity.sum()
    rows = (counts + 20 * popularity) / (counts.sum(1, keepdims=True) + 20)
    asked = np.array([3, 1, 2, 2, 1, 4, 4, 3, 2, 1, 3, 2], np.int32)
    expected = sum(0.8**k * rows[item] for k, item in enumerate(asked[::-1][:10]))
    found = MarkovChain(train, catalogue).scores([History.of_items(asked), History.of_items([])])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert found[1].tolist() == [0.0] * 5


def test_markov_chain_without_any_history() -> None:
    assert MarkovChain([], 3).scores([History.of_items([2])]).tolist() == [[0.0] * 4]


REAL = [("ml-1m/ml-1m_sequences.txt.gz", 0.271, 0.157), ("lastfm/LastFM.txt", 0.0706, 0.0386)]
HERE = [case for case in REAL if DATA is not None and (DATA / case[0]).is_file()]


@pytest.mark.parametrize("number", range(len(HERE)) or [None], ids=str)
def test_known_figures_of_real_logs(number: int | None) -> None:
    """The Markov chain of the protocol gives the published figures; nothing to do without the data."""
    if number is None or DATA is None:
        return
    name, hit_rate, ndcg = HERE[number]
    id_map, histories = with_histories(read_interactions(DATA / name))
    held = leave_one_out(histories)
    train = [
        histories.items_of(user)[: held.train_lengths[user]] for user in range(len(histories.users))
    ]
    users, places = held.targets("test")
    questions = cases(histories, users, places.astype(np.int64))
    found = evaluate(MarkovChain(train, len(id_map)), questions, len(id_map)).summary
    # One of the 1,090 users of LastFM is .0009: a tie may go the other way.
    assert found["hr@10"] == pytest.approx(hit_rate, abs=0.001)
    assert found["ndcg@10"] == pytest.approx(ndcg, abs=0.001)


def test_content_neighbours_rank_items_that_have_no_events() -> None:
    """By hand: items 1 and 3 share feature 0, item 2 has feature 1; the newest item counts most."""
    features = ItemFeatures(
        2,
        np.array([0, 0, 1, 2, 3], np.int32),
        np.array([0, 1, 0], np.int32),
        np.ones(3, np.float32),
    )
    scorer = ContentNeighbours(features)
    scores = scorer.scores([History.of_items(past) for past in ([1], [2, 1], [])])
    assert scores[0].tolist() == [0, 1, 0, 1]
    assert scores[1].tolist() == pytest.approx([0, 1 / 1.5, 0.5 / 1.5, 1 / 1.5])
    assert not scores[2].any()
