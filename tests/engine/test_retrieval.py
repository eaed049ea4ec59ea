"""Lists: order, exclusion, ties; and the compiled lists beside those of the model's own code."""

from array import array
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from moerec.engine.kernels.nearby import Index
from moerec.engine.retrieval import (
    CompiledRetrieval,
    Retrieval,
    TorchRetrieval,
    cosine_scores,
    top_k,
)
from moerec.engine.state import Taste
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender, take_out

CONFIG = ModelConfig(items=300, dim=8, layers=1, window=2, expert_dim=4, neighbors=12)
NO_TABLE, NO_WEIGHT = replace(CONFIG, neighbors=0), replace(CONFIG, temperature=0.1)
LIKED = replace(CONFIG, liked_factors=3, liked_from=3.0)

torch.set_num_threads(1)


def test_best_first_without_padding() -> None:
    values, indexes = top_k(torch.tensor([[9.0, 0.1, 0.3, 0.2]]), 2)
    assert indexes.tolist() == [[2, 3]]
    assert values.tolist() == [pytest.approx([0.3, 0.2])]


def test_excluded_items_differ_by_row() -> None:
    scores = torch.tensor([[0.0, 3.0, 2.0, 1.0], [0.0, 3.0, 2.0, 1.0]])
    take_out(scores, [[1], [2, 2, 0]])
    assert top_k(scores, 2)[1].tolist() == [[2, 3], [1, 3]]


def test_ties_go_to_the_lower_index_inside_and_at_the_end_of_the_list() -> None:
    scores = torch.zeros(2, 1001)
    scores[0, 500] = 1.0
    scores[1, [7, 9, 900]] = 1.0
    take_out(scores, [[1], []])
    _, indexes = top_k(scores, 4)
    assert indexes.tolist() == [[500, 2, 3, 4], [7, 9, 900, 1]]


def test_k_above_the_catalogue_gives_the_catalogue() -> None:
    values, indexes = top_k(torch.tensor([[0.0, -torch.inf, 2.0]]), 10)
    assert indexes.shape == (1, 2)
    assert values.tolist() == [[2.0, -torch.inf]]


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_full_stable_sort(seed: int) -> None:
    """Coarse scores are full of ties; the reference sorts everything, stably, by falling score."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (8, 60), generator=generator).float()
    expected = scores.clone()
    expected[:, 0] = -torch.inf
    order = expected.sort(dim=1, descending=True, stable=True).indices[:, :10]
    assert torch.equal(top_k(scores, 10)[1], order)


def test_cosine_ignores_length() -> None:
    unit = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    scores = cosine_scores(torch.tensor([[5.0, 0.0]]), unit)
    assert scores.tolist() == [pytest.approx([0.0, 1.0, 0.6])]


def model_of(config: ModelConfig, seed: int = 0) -> MoERecommender:
    """Random vectors, a table where a third of the places are unused, a random head for "liked"."""
    torch.manual_seed(seed)
    model = MoERecommender(config).eval()
    with torch.no_grad():
        model.embedding.weight[1:].normal_()
    table = model.transitions
    if config.neighbors and config is not NO_WEIGHT:
        table.weight.fill_(0.7)
    for item in range(1, config.items + 1):
        used = config.neighbors * 2 // 3
        table.neighbors[item, :used] = torch.randperm(config.items)[:used].int() + 1
        table.chances[item, :used] = torch.rand(used) * 0.2
    if model.liked is not None:
        for buffer in model.liked.buffers():
            buffer.normal_()
        model.liked.weight.fill_(1.5)
    return model


@torch.inference_mode()
def taste_of(model: MoERecommender, seed: int) -> Taste:
    """A direction, and 0 to 10 last items."""
    draw = torch.Generator().manual_seed(seed)
    vector = normalize(torch.randn(model.config.dim, generator=draw), dim=0)
    recent = torch.randint(1, model.config.items + 1, (10,), generator=draw)
    recent[seed % 11 :] = 0
    liked = None
    if model.liked is not None:
        liked = torch.randn(2 * model.config.liked_factors + 2, generator=draw)
    return Taste(vector.numpy(), recent.numpy(), [], None if liked is None else liked.numpy())


@torch.inference_mode()
def both(model: MoERecommender) -> tuple[CompiledRetrieval, TorchRetrieval, Tensor]:
    items = model.item_vectors()
    return CompiledRetrieval(model, items), TorchRetrieval(model, items), items


@torch.inference_mode()
def indexed(model: MoERecommender, spread: float) -> CompiledRetrieval:
    """With an index of 12 cells of items chosen at random; a spread of 2 reaches every item."""
    items = model.item_vectors()
    order = np.random.default_rng(5).permutation(len(items) - 1) + 1
    vectors = items.numpy()[order]
    axes = np.linalg.qr(np.random.default_rng(6).normal(size=(vectors.shape[1], 4)))[0]
    heads = vectors @ axes
    step = np.abs(heads).max() / 127
    codes = np.rint(heads / step).astype(np.int8)
    sizes = [len(cell) for cell in np.array_split(order, 12)]
    ends = np.cumsum(sizes)
    cells = list(zip(ends - sizes, ends, strict=True))
    cell_of = np.zeros(len(items), np.int16)
    cell_of[order] = np.repeat(np.arange(12), sizes)
    index = Index(
        np.stack([vectors[begin:end].mean(0) for begin, end in cells]),
        np.full(12, spread, np.float32),
        np.full(12, spread, np.float32),
        ends,
        order.astype(np.int32),
        cell_of,
        axes.astype(np.float32),
        np.concatenate([codes[begin:end].T.ravel() for begin, end in cells]),
        np.sqrt(np.maximum((vectors**2).sum(1) - (heads**2).sum(1), 0)).astype(np.float32),
        np.float32(step),
    )
    return CompiledRetrieval(model, items, index)


@torch.inference_mode()
def listed_by(
    retrieval: Retrieval, tastes: list[Taste], excluded: list[list[int]], sizes: list[int]
) -> list[tuple[list[int], list[float]]]:
    return retrieval.lists(tastes, [array("i", each) for each in excluded], sizes)


def assert_same_lists(
    ours: tuple[list[int], list[float]], theirs: tuple[list[int], list[float]]
) -> None:
    """Items whose scores differ by a rounding may change places."""
    assert ours[1] == pytest.approx(theirs[1], abs=2e-6)
    scores = dict(zip(*theirs, strict=True))
    assert len(set(ours[0])) == len(ours[0])
    for item, score in zip(*ours, strict=True):
        assert scores.get(item, theirs[1][-1]) == pytest.approx(score, abs=2e-6)


@pytest.mark.parametrize("config", [CONFIG, NO_TABLE, NO_WEIGHT, LIKED])
def test_compiled_lists_are_the_models_own(config: ModelConfig) -> None:
    """Sizes from one to more than there are, no exclusions to nearly all, repeated ones and padding too."""
    model = model_of(config)
    compiled, reference, _ = both(model)
    draw = np.random.default_rng(1)
    for turn in range(40):
        batch = int(draw.integers(1, 9))
        tastes = [taste_of(model, 100 * turn + place) for place in range(batch)]
        excluded = [
            draw.integers(0, config.items + 1, int(draw.choice([0, 1, 20, 2_000]))).tolist()
            for _ in range(batch)
        ]
        sizes = draw.choice([1, 2, 10, 50, 299, 300, 10**12], batch).tolist()
        ours = listed_by(compiled, tastes, excluded, sizes)
        theirs = listed_by(reference, tastes, excluded, sizes)
        for one, other, size, out in zip(ours, theirs, sizes, excluded, strict=True):
            assert len(one[0]) == min(size, config.items - len(set(out) - {0}))
            assert_same_lists(one, other)


@pytest.mark.parametrize("least", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_an_excluded_item_never_comes_out(least: int) -> None:
    """So many random cases: the best ones are excluded again and again, the followers among them."""
    model = model_of(CONFIG)
    compiled, _, _ = both(model)
    draw = np.random.default_rng(0)
    cases = 0
    while cases < least:
        tastes = [taste_of(model, int(draw.integers(1 << 30))) for _ in range(50)]
        out: list[list[int]] = [[] for _ in tastes]
        for _ in range(40):
            found = listed_by(compiled, tastes, out, [8] * 50)
            for (items, _), excluded in zip(found, out, strict=True):
                assert set(items).isdisjoint(excluded)
                assert len(items) == min(8, CONFIG.items - len(set(excluded)))
                excluded += draw.choice(items, 3).tolist() if items else []
            cases += len(tastes)


@pytest.mark.parametrize("config", [CONFIG, NO_TABLE, NO_WEIGHT, LIKED])
def test_an_index_whose_cells_reach_everything_changes_nothing(config: ModelConfig) -> None:
    """Though candidates are first compared in 8 bits."""
    model = model_of(config)
    exact, _, _ = both(model)
    through = indexed(model, 2.0)
    draw = np.random.default_rng(2)
    for turn in range(20):
        batch = int(draw.integers(1, 9))
        tastes = [taste_of(model, 100 * turn + place) for place in range(batch)]
        out = [draw.integers(0, config.items + 1, 20).tolist() for _ in range(batch)]
        sizes = draw.choice([1, 10, 50, 300], batch).tolist()
        ours = listed_by(through, tastes, out, sizes)
        theirs = listed_by(exact, tastes, out, sizes)
        for one, other in zip(ours, theirs, strict=True):
            assert_same_lists(one, other)


def test_a_follower_never_comes_below_its_own_cosine() -> None:
    """At a temperature of .002 the odds of a cosine above .18 are more than a float32 holds: a follower would
    have got the score where the exponential ends, and lost its place to items that are less near."""
    model = model_of(replace(CONFIG, temperature=0.002))
    items = model.item_vectors().detach()
    tastes = [taste_of(model, seed) for seed in range(40)]
    for retrieval in (both(model)[0], indexed(model, 2.0)):
        found = listed_by(retrieval, tastes, [[]] * 40, [10] * 40)
        for taste, (listed, scores) in zip(tastes, found, strict=True):
            nearest = (items[1:] @ torch.from_numpy(taste.vector)).topk(10)
            assert listed == (nearest.indices + 1).tolist()
            assert scores == pytest.approx(nearest.values.tolist(), abs=1e-6)


def test_lists_through_an_index_keep_what_lists_promise() -> None:
    """Excluded items never come out, scores are those of the model, and a list is as long as it can be, also
    where the cells that are read first are used up."""
    model = model_of(CONFIG)
    exact, _, _ = both(model)
    through = indexed(model, 0.2)
    draw = np.random.default_rng(3)
    for _ in range(200):
        tastes = [taste_of(model, int(draw.integers(1 << 30))) for _ in range(9)]
        out = [draw.integers(0, 301, int(draw.choice([0, 30, 2_000]))).tolist() for _ in tastes]
        sizes = draw.choice([1, 10, 100, 300], len(tastes)).tolist()
        found = listed_by(through, tastes, out, sizes)
        everything = listed_by(exact, tastes, [[]] * len(tastes), [300] * len(tastes))
        for (items, scores), size, excluded, (all_items, all_scores) in zip(
            found, sizes, out, everything, strict=True
        ):
            assert set(items).isdisjoint(excluded)
            assert len(set(items)) == len(items) == min(size, 300 - len(set(excluded) - {0}))
            score_of = dict(zip(all_items, all_scores, strict=True))
            assert scores == pytest.approx([score_of[item] for item in items], abs=2e-6)
            assert scores == sorted(scores, reverse=True)


def test_where_much_is_left_out_nearby_more_is_read() -> None:
    """Who had seen a hundred of the items around them got what was left of the cells that were read for all:
    items from far away, where a full search finds nearer ones. A list with nothing left has to read on."""
    model = model_of(NO_TABLE)
    exact, _, _ = both(model)
    # Not one item of a random cell comes so near as its mean does not.
    through = indexed(model, 0.1)
    tastes = [taste_of(model, seed) for seed in range(20)]
    best = [items for items, _ in listed_by(exact, tastes, [[]] * 20, [300] * 20)]
    assert listed_by(through, tastes, [[]] * 20, [10] * 20) != listed_by(
        exact, tastes, [[]] * 20, [10] * 20
    )
    for left_out, size in ((281, 10), (0, 291)):
        out = [items[:left_out] for items in best]
        found = listed_by(through, tastes, out, [size] * 20)
        assert found == listed_by(exact, tastes, out, [size] * 20)


def test_a_list_through_an_index_does_not_depend_on_its_batch() -> None:
    model = model_of(CONFIG)
    through = indexed(model, 0.1)
    tastes = [taste_of(model, seed) for seed in range(30)]
    out = [[seed, 2 * seed] for seed in range(30)]
    alone = [
        listed_by(through, [taste], [items], [10])[0]
        for taste, items in zip(tastes, out, strict=True)
    ]
    assert listed_by(through, tastes, out, [10] * 30) == alone


def test_equal_scores_go_to_the_lower_index_in_compiled_lists_too() -> None:
    model = model_of(NO_TABLE)
    with torch.no_grad():
        model.embedding.weight[1:] = torch.eye(8)[torch.arange(CONFIG.items) % 4]
    compiled, _, _ = both(model)
    taste = Taste(np.eye(8, dtype=np.float32)[0], np.zeros(10, np.int64), [])
    ((items, scores),) = listed_by(compiled, [taste], [[5]], [80])
    assert items == [*[i for i in range(1, 301, 4) if i != 5], *[2, 3, 4, 6, 7, 8]]
    assert scores == [1.0] * 74 + [0.0] * 6


@pytest.mark.parametrize("config", [CONFIG, NO_TABLE])
def test_a_list_does_not_depend_on_its_batch_to_the_last_bit(config: ModelConfig) -> None:
    model = model_of(config)
    compiled, _, _ = both(model)
    tastes = [taste_of(model, seed) for seed in range(30)]
    out = [[seed, 2 * seed] for seed in range(30)]
    alone = [
        listed_by(compiled, [taste], [items], [10])[0]
        for taste, items in zip(tastes, out, strict=True)
    ]
    for batch in range(1, 30):
        assert listed_by(compiled, tastes[:batch], out[:batch], [10] * batch) == alone[:batch]


def test_items_that_are_almost_the_same_do_not_change_with_the_batch() -> None:
    """A lone user was multiplied in another order than four at a time: at the end of a list other ones of
    many near-duplicates came out."""
    model = model_of(replace(CONFIG, dim=64, items=3_000, neighbors=0))
    with torch.no_grad():
        model.embedding.weight[1:] = torch.randn(64) + 2e-7 * torch.randn(3_000, 64)
    compiled, _, _ = both(model)
    tastes = [taste_of(model, seed) for seed in range(20)]
    alone = [listed_by(compiled, [taste], [[]], [10])[0] for taste in tastes]
    assert listed_by(compiled, tastes, [[]] * 20, [10] * 20) == alone


def test_a_list_leaves_nothing_behind_for_the_next() -> None:
    model = model_of(CONFIG)
    compiled, _, _ = both(model)
    tastes = [taste_of(model, seed) for seed in (7, 8)]
    first = listed_by(compiled, tastes, [[], [1, 2]], [10, 20])
    listed_by(compiled, [taste_of(model, 99)], [list(range(1, 250))], [300])
    assert listed_by(compiled, tastes, [[], [1, 2]], [10, 20]) == first
