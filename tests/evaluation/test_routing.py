"""The routing report against counts by loops, one history at a time."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from moerec.data.sequences import History
from moerec.evaluation.buckets import popularity_deciles
from moerec.evaluation.difficulty import rank_correlation
from moerec.evaluation.evaluate import Cases
from moerec.evaluation.model_scorer import encode
from moerec.evaluation.routing import PLACES, RoutingReport, measure_routing
from moerec.models.events import Events
from moerec.models.recommender import MoERecommender
from tests.tiny import tiny_config

ITEMS = 30
CATEGORIES = [["all", "odd"] if item % 2 else ["all"] for item in range(1, ITEMS)] + [[]]
COUNTS = np.array([0, *range(ITEMS, 0, -1)])


@pytest.fixture(scope="module")
def model() -> MoERecommender:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    model = MoERecommender(replace(tiny_config(ITEMS), uses_time=1)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        # Tokens and users must differ, or every event takes the same way.
        model.embedding.weight[1:] = torch.randn(ITEMS, 16)
        model.embedding.weight[0] = 0.0
        for block in model.encoder.blocks:
            block.moe.router.from_token.weight.mul_(6)
    return model


@pytest.fixture(scope="module")
def questions() -> Cases:
    """Histories shorter and longer than what the attention reaches (7), one that is empty."""
    rng = np.random.default_rng(0)
    lengths = [0, 1, 2, 5, 7, 8, 20, 170, *rng.integers(1, 12, 70).tolist()]
    histories = [rng.integers(1, ITEMS + 1, length).astype(np.int32) for length in lengths]
    targets = rng.integers(1, ITEMS + 1, len(lengths)).astype(np.int32)
    targets[3] = 0  # not in the catalogue
    events = [
        History(items, np.cumsum(rng.integers(0, 10**8, len(items))), rng.random(len(items)))
        for items in histories
    ]
    return Cases(np.arange(len(lengths)), events, targets)


@pytest.fixture(scope="module")
def report(model: MoERecommender, questions: Cases) -> RoutingReport:
    found = measure_routing(model, questions, CATEGORIES, COUNTS)
    assert found is not None
    return found


def one_row(history: History) -> Events:
    return Events(
        torch.as_tensor(history.items.astype(np.int64))[None],
        torch.as_tensor(history.timestamps)[None],
        torch.as_tensor(history.values)[None],
    )


Token = tuple[int, int, list[set[int]], float | None, bool]


@pytest.fixture(scope="module")
def tokens(model: MoERecommender, questions: Cases) -> list[Token]:
    """Item, place from 1, awake experts by layer, loss, whether it is the newest: one row a token."""
    rows: list[Token] = []
    vectors = model.item_vectors().detach()
    for history, target in zip(questions.histories, questions.targets.tolist(), strict=True):
        if len(history) == 0:
            continue
        with torch.inference_mode():
            hidden, routings = model(one_row(history[-7:]), one_row(history[-157:-7]))
        for row, place in enumerate(range(max(len(history) - 7, 0), len(history))):
            awake = [
                {
                    int(expert)
                    for expert, active in zip(
                        routing.experts_NK[row], routing.active_NK[row], strict=True
                    )
                    if active
                }
                for routing in routings
            ]
            newest = place == len(history) - 1
            following = target if newest else int(history.items[place + 1])
            cosines = vectors[1:] @ functional.normalize(hidden[0, row], dim=0)
            chances = torch.softmax(cosines.double() / model.config.temperature, dim=0)
            loss = -math.log(float(chances[following - 1])) if following else None
            rows.append((int(history.items[place]), place + 1, awake, loss, newest))
    return rows


def test_every_routed_token_is_counted_once(report: RoutingReport, tokens: list[Token]) -> None:
    assert report.tokens == len(tokens)
    for layer in range(2):
        by_hand = [
            sum(expert in awake[layer] for _, _, awake, _, _ in tokens) for expert in range(4)
        ]
        assert report.load_LE[layer].tolist() == by_hand
        sizes = [len(awake[layer]) for _, _, awake, _, _ in tokens]
        assert report.k_counts_LK[layer].tolist() == [sizes.count(k) for k in range(5)]
        assert report.mean_k_L[layer] == pytest.approx(np.mean(sizes))
    assert len({tuple(sorted(awake[0])) for _, _, awake, _, _ in tokens}) > 3  # it is not trivial


def test_it_counts_what_serving_runs(
    model: MoERecommender, questions: Cases, tokens: list[Token]
) -> None:
    """The newest event's experts are those that answers name."""
    experts = encode(model, [history for history in questions.histories if len(history)]).experts
    newest = [awake for _, _, awake, _, last in tokens if last]
    for user, awake in enumerate(newest):
        for layer in range(2):
            assert set(experts[user, layer].nonzero().flatten().tolist()) == awake[layer]


@pytest.mark.parametrize("held_out", [False, True])
def test_difficulty(report: RoutingReport, tokens: list[Token], held_out: bool) -> None:
    rows = [
        (loss, [len(experts) for experts in awake])
        for _, _, awake, loss, newest in tokens
        if newest == held_out and loss is not None
    ]
    found = report.held_out if held_out else report.difficulty
    assert found.tokens == len(rows)
    rows.sort(key=lambda row: row[0])
    groups = np.array_split(np.arange(len(rows)), 10)
    losses = np.array([loss for loss, _ in rows])
    k_NL = np.array([k for _, k in rows])
    assert found.loss_D == pytest.approx([losses[group].mean() for group in groups], abs=1e-4)
    for layer in range(2):
        means = [k_NL[group, layer].mean() for group in groups]
        assert found.experts_LD[layer] == pytest.approx(means)
        assert found.spearman_L[layer] == pytest.approx(
            rank_correlation(k_NL[:, layer], losses), abs=1e-3
        )
    assert found.spearman == pytest.approx(rank_correlation(k_NL.mean(1), losses), abs=1e-3)


def lift(tokens: list[Token], chosen: list[bool], layer: int, expert: int) -> float:
    awake = np.array([expert in awake[layer] for _, _, awake, _, _ in tokens])
    return float(awake[np.array(chosen)].mean() / awake.mean())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("category", "odd"),
        ("popularity decile", "1 (most popular)"),
        ("popularity decile", "4"),
        ("position in history", "1"),
        ("position in history", "6-10"),
        ("position in history", "101-200"),
    ],
)
def test_lift(report: RoutingReport, tokens: list[Token], attribute: str, value: str) -> None:
    table = next(table for table in report.specialisations if table.attribute == attribute)
    row = table.values.index(value)
    deciles: NDArray[np.int64] = popularity_deciles(COUNTS)
    chosen = [
        {
            "category": lambda item, _: item < ITEMS and value in CATEGORIES[item - 1],
            "popularity decile": lambda item, _: deciles[item] == int(value.split()[0]),
            "position in history": lambda _, place: (
                PLACES.labels[int(PLACES.of(np.array([place]))[0])] == value
            ),
        }[attribute](item, place)
        for item, place, _, _, _ in tokens
    ]
    assert table.tokens_A[row] == sum(chosen) > 0
    for layer in range(2):
        for expert in range(4):
            expected = lift(tokens, chosen, layer, expert)
            assert table.lift_LAE[layer, row, expert] == pytest.approx(expected)


def test_a_dead_expert_is_named(model: MoERecommender, questions: Cases) -> None:
    router = model.encoder.blocks[1].moe.router
    before = router.balance_bias.clone()
    router.balance_bias[2] = -9.0
    found = measure_routing(model, questions, CATEGORIES, COUNTS)
    router.balance_bias.copy_(before)
    assert found is not None
    assert found.dead == [(2, 3)]
    assert found.to_dict()["dead_experts"] == [{"layer": 2, "expert": 3}]
    assert np.isnan(found.specialisations[0].lift_LAE[1, :, 2]).all()


def test_it_is_plain_json(report: RoutingReport) -> None:
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["load"] == report.load_LE.tolist()
    assert document["largest_share"] == pytest.approx(
        max(max(row) / sum(row) for row in document["load"])
    )


def test_progress_counts_the_users_that_are_routed(model: MoERecommender, questions: Cases) -> None:
    steps: list[int] = []
    measure_routing(model, questions, CATEGORIES, COUNTS, on_progress=steps.append)
    assert sum(steps) == len(questions) - 1
    assert len(steps) == 2


def test_nobody_to_route(model: MoERecommender) -> None:
    nobody = Cases(np.zeros(1, np.int64), [History.of_items([])], np.ones(1, np.int32))
    assert measure_routing(model, nobody, CATEGORIES, COUNTS) is None
