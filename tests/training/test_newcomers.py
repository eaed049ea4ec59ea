"""Items without events keep the places that the network gives them, whatever the table lifts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moerec.data.sequences import History
from moerec.evaluation.evaluate import Cases, evaluate
from moerec.evaluation.model_scorer import ModelScorer, encoded
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from moerec.training.newcomers import calibrate_newcomers
from tests.tiny import tiny_config

ITEMS, FEATURES = 300, 40
CONFIG = replace(tiny_config(ITEMS), features=FEATURES, feature_entries=ITEMS, neighbors=12)


def model(new: int, config: ModelConfig = CONFIG) -> MoERecommender:
    """Each item has one feature; the last `new` of the items have no event; a table of known items."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = MoERecommender(config).eval()
    assert made.content is not None
    rows = torch.arange(ITEMS + 1)
    made.content.fill(
        torch.cat([torch.tensor([0]), rows]).int(),
        (rows[1:] % FEATURES).int(),
        torch.ones(ITEMS),
        (rows > 0) & (rows <= ITEMS - new),
    )
    known = torch.arange(1, 1 + config.neighbors)
    made.transitions.neighbors[1:] = known.int()
    made.transitions.chances[1:] = 0.05
    return made


def questions() -> Cases:
    rng = np.random.default_rng(0)
    items = [rng.integers(1, 150, rng.integers(1, 12)).astype(np.int32) for _ in range(80)]
    histories = [History.of_items(history) for history in items]
    return Cases(np.arange(80), histories, np.ones(80, np.int32))


def new_places(subject: MoERecommender, cases: Cases, new: int) -> float:
    """The share of the places of all lists that items without events have."""
    lists = evaluate(ModelScorer(subject), cases, ITEMS).lists[:, :10]
    return float((lists > ITEMS - new).mean())


def calibrated(subject: MoERecommender, cases: Cases) -> float:
    return calibrate_newcomers(subject, cases, list(encoded(subject, cases.histories)))


def test_a_table_takes_no_places_from_items_that_it_cannot_know() -> None:
    """On Amazon Beauty lists with an unseen item fell from 47 % to 8 % when the table was mixed in."""
    subject, cases, new = model(15), questions(), 15
    alone = new_places(subject, cases, new)
    assert 0 < alone <= 0.1
    subject.transitions.weight.fill_(1e7)
    assert new_places(subject, cases, new) < alone / 2
    assert calibrated(subject, cases) > 1
    assert new_places(subject, cases, new) == pytest.approx(alone, abs=0.01)


def test_a_catalogue_full_of_items_that_nobody_wants_does_not_fill_the_lists() -> None:
    subject, cases, new = model(150), questions(), 150
    assert new_places(subject, cases, new) > 0.2
    assert calibrated(subject, cases) < 1
    assert new_places(subject, cases, new) == pytest.approx(0.1, abs=0.01)


def test_items_that_come_later_are_as_long() -> None:
    subject, cases = model(15), questions()
    subject.transitions.weight.fill_(1e7)
    length = calibrated(subject, cases)
    placed = subject.vectors_of(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([1.0]))
    assert float(placed.norm()) == pytest.approx(length)
    lengths = subject.item_vectors().norm(dim=1)
    assert torch.allclose(lengths[1:-15], torch.ones(ITEMS - 15))
    assert torch.allclose(lengths[-15:], torch.full((15,), length))


def test_without_new_items_or_content_nothing_changes() -> None:
    cases = questions()
    assert calibrated(model(0), cases) == 1.0
    plain = MoERecommender(replace(CONFIG, features=0, feature_entries=0)).eval()
    assert calibrated(plain, cases) == 1.0
