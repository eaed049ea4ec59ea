"""Lists while items come and go: compiled, through an index and not, beside the model's own code."""

from array import array
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from moerec.engine.retrieval import Bools, CompiledRetrieval, Retrieval, TorchRetrieval
from moerec.engine.state import Taste
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from tests.engine.test_retrieval import (
    CONFIG,
    LIKED,
    NO_TABLE,
    assert_same_lists,
    both,
    indexed,
    listed_by,
    model_of,
    taste_of,
)

NEW = 40
GONE = [*range(1, 300, 7), 301, 320]


def out(size: int, *gone: int) -> Bools:
    """Which of so many items, and the padding, are in no list."""
    return np.isin(np.arange(size + 1), gone)


def grown(items_VD: Tensor, seed: int = 3) -> Tensor:
    """The items and `NEW` more."""
    draw = torch.Generator().manual_seed(seed)
    more = normalize(torch.randn(NEW, items_VD.shape[1], generator=draw), dim=1)
    return torch.cat([items_VD.detach(), more])


def with_new_ones(taste: Taste, seed: int) -> Taste:
    """The taste of a user whose last items are partly new ones."""
    recent = taste.recent.copy()
    if recent[0]:
        recent[seed % 3] = 301 + seed % NEW
    return taste._replace(recent=recent)


def changed(
    model: MoERecommender, compiled: CompiledRetrieval
) -> tuple[CompiledRetrieval, TorchRetrieval]:
    _, reference, items = both(model)
    now, new = grown(items), list(range(301, 301 + NEW))
    retrievals: tuple[Retrieval, ...] = (compiled, reference)
    for retrieval in retrievals:
        retrieval.see_items(now, out(340, *GONE), new)
    return compiled, reference


@pytest.mark.parametrize("config", [CONFIG, NO_TABLE, LIKED])
@pytest.mark.parametrize("through_index", [False, True])
def test_compiled_lists_are_the_models_own(config: ModelConfig, through_index: bool) -> None:
    """Of all items that are there now, whose table and head for "liked" know nothing of the new ones."""
    model = model_of(config)
    compiled, reference = changed(model, indexed(model, 2.0) if through_index else both(model)[0])
    draw = np.random.default_rng(1)
    came = 0
    for turn in range(30):
        batch = int(draw.integers(1, 9))
        tastes = [
            with_new_ones(taste_of(model, 100 * turn + place), place) for place in range(batch)
        ]
        left = [draw.integers(0, 341, int(draw.choice([0, 20]))).tolist() for _ in tastes]
        sizes = draw.choice([1, 10, 50, 400], batch).tolist()
        ours = listed_by(compiled, tastes, left, sizes)
        for one, other, left_out in zip(
            ours, listed_by(reference, tastes, left, sizes), left, strict=True
        ):
            assert_same_lists(one, other)
            assert set(one[0]).isdisjoint([*GONE, *left_out])
            came += sum(item > 300 for item in one[0])
    assert came > 100


def test_an_item_that_moved_is_found_where_it_is_now() -> None:
    """And not where the index has it."""
    model = model_of(NO_TABLE)
    retrieval = indexed(model, 0.0)
    taste = taste_of(model, 5)
    vector = torch.from_numpy(taste.vector)
    items = model.item_vectors().detach().clone()
    ((farthest, _),) = listed_by(both(model)[0], [taste], [[]], [300])
    moving = farthest[-1]
    items[moving] = vector
    retrieval.see_items(items, out(300), [moving])
    ((found, scores),) = listed_by(retrieval, [taste], [[]], [5])
    assert found[0] == moving
    assert scores[0] == pytest.approx(1.0)
    assert len(set(found)) == 5
    items = items.clone()
    items[moving] = -vector
    retrieval.see_items(items, out(300), [moving])
    ((found, _),) = listed_by(retrieval, [taste], [[]], [300])
    assert sorted(found) == list(range(1, 301))
    assert found[-1] == moving


def test_gone_items_come_back() -> None:
    model = model_of(CONFIG)
    for retrieval in (both(model)[0], indexed(model, 0.3), both(model)[1]):
        taste, items = taste_of(model, 8), model.item_vectors().detach()
        before = listed_by(retrieval, [taste], [[]], [10])
        best = before[0][0]
        retrieval.see_items(items, out(300, *best[:4]), [])
        ((fewer, _),) = listed_by(retrieval, [taste], [[]], [10])
        assert set(fewer).isdisjoint(best[:4])
        assert len(fewer) == 10
        retrieval.see_items(items, out(300), [])
        assert listed_by(retrieval, [taste], [[]], [10]) == before


def test_everything_may_be_gone() -> None:
    model = model_of(CONFIG)
    for retrieval in (both(model)[0], indexed(model, 0.3), both(model)[1]):
        retrieval.see_items(model.item_vectors().detach(), out(300, *range(1, 301)), [])
        assert listed_by(retrieval, [taste_of(model, 8)], [[]], [10]) == [([], [])]


def test_a_new_index_takes_the_new_items_over() -> None:
    """What came while it was made is still compared by itself."""
    model = model_of(NO_TABLE)
    _, _, items = both(model)
    now = grown(items)
    retrieval = indexed(model, 2.0)
    retrieval.see_items(now, out(340), list(range(301, 341)))
    assert retrieval.fresh == NEW
    larger = model_of(replace(NO_TABLE, items=330))
    with torch.no_grad():
        larger.embedding.weight.copy_(now[:331])
    made = indexed(larger, 2.0)._index
    retrieval.use_index(made, out(340, 5), list(range(331, 341)))
    assert retrieval.fresh == 10
    exact = CompiledRetrieval(model, now)
    exact.see_items(now, out(340, 5), [])
    for seed in range(20):
        tastes = [taste_of(model, seed)]
        (ours,) = retrieval.lists(tastes, [array("i")], [340])
        (theirs,) = exact.lists(tastes, [array("i")], [340])
        assert_same_lists(ours, theirs)
        assert len(ours[0]) == 339
