"""Margins meet their budget; the transitions weigh what validation says."""

import numpy as np
import pytest
import torch

from moerec.data.sequences import History
from moerec.evaluation.evaluate import Cases, evaluate
from moerec.evaluation.model_scorer import ModelScorer, encode, encoded
from moerec.models.config import ModelConfig
from moerec.models.moe import MoELayer
from moerec.models.recommender import MoERecommender
from moerec.training.calibrate import (
    TransitionCalibration,
    calibrate_liked,
    calibrate_margins,
)

ITEMS = 30
CONFIG = ModelConfig(
    items=ITEMS, dim=16, layers=3, heads=2, window=6, expert_dim=8, dropout=0.0, neighbors=1
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def model(mean: float = 2.25) -> MoERecommender:
    torch.manual_seed(0)
    values = CONFIG.to_dict() | {"mean_experts": mean}
    return MoERecommender(ModelConfig.from_dict(values)).eval()


def questions(count: int = 150) -> Cases:
    """After its last item i, item i + 1 comes: what the table knows and a random network does not."""
    rng = np.random.default_rng(0)
    items = [rng.integers(1, ITEMS, rng.integers(1, 12)).astype(np.int32) for _ in range(count)]
    return Cases(
        np.arange(count),
        [History.of_items(history) for history in items],
        np.array([history[-1] + 1 for history in items], np.int32),
    )


def mean_experts(model: MoERecommender, cases: Cases) -> list[float]:
    """Experts a token woke, by layer, over every token that is read."""
    awake: list[list[int]] = [[] for _ in range(CONFIG.layers)]
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    hooks = [
        layer.router.register_forward_hook(
            lambda _m, _i, routing, place=place: awake[place].extend(
                routing.active_NK.sum(1).tolist()
            )
        )
        for place, layer in enumerate(layers)
    ]
    for history in cases.histories:
        encode(model, [history])
    for hook in hooks:
        hook.remove()
    return [float(np.mean(counts)) for counts in awake]


@pytest.mark.parametrize("mean", [2.0, 2.25, 3.1, 4.0])
def test_every_layer_meets_its_budget_within_two_per_cent(mean: float) -> None:
    cases = questions()
    subject = model(mean)
    calibrate_margins(subject, cases)
    assert mean_experts(subject, cases) == pytest.approx([mean] * CONFIG.layers, rel=0.02)


def with_table(subject: MoERecommender, followers: list[int]) -> MoERecommender:
    subject.transitions.neighbors[:, 0] = torch.tensor(followers, dtype=torch.int32)
    subject.transitions.chances[1:, 0] = 0.5
    return subject


def calibration(subject: MoERecommender, cases: Cases) -> TransitionCalibration:
    return TransitionCalibration(subject, cases, list(encoded(subject, cases.histories)))


def test_a_table_that_knows_gets_weight() -> None:
    cases = questions()
    subject = with_table(model(), [0, *range(2, ITEMS + 1), 1])
    share, ndcg = calibration(subject, cases).best()
    assert share >= 0.5
    assert ndcg == pytest.approx(evaluate(ModelScorer(subject), cases, ITEMS).summary["ndcg@10"])
    assert evaluate(ModelScorer(subject), cases, ITEMS).summary["hr@1"] > 0.5


def test_a_table_that_misleads_gets_none() -> None:
    """Every item is said to be followed by the last target of nobody: the network alone is better."""
    cases = questions()
    subject = with_table(model(), [0] + [1] * ITEMS)
    assert calibration(subject, cases).best()[0] == 0.0
    assert float(subject.transitions.weight) == 0.0


def test_a_given_share_is_taken() -> None:
    subject = with_table(model(), [0, *range(2, ITEMS + 1), 1])
    calibration(subject, questions()).use(0.3)
    assert float(subject.transitions.weight) > 0


def test_lists_mind_what_is_liked_only_if_that_ranks_better() -> None:
    """The head likes the true next item in the one case, and every other item in the other."""
    for helps in (True, False):
        network = model()
        config = ModelConfig.from_dict(
            network.config.to_dict() | {"liked_factors": 1, "liked_from": 1.0}
        )
        torch.manual_seed(0)
        with_head = MoERecommender(config).eval()
        assert with_head.liked is not None
        asked = questions()
        target = int(np.bincount(asked.targets).argmax())
        bias = torch.zeros(ITEMS + 1)
        bias[target] = 6.0 if helps else -6.0
        with_head.liked.item_bias.copy_(bias)
        chosen = Cases(
            np.flatnonzero(asked.targets == target),
            [
                history
                for history, item in zip(asked.histories, asked.targets, strict=True)
                if item == target
            ],
            asked.targets[asked.targets == target],
        )
        answers = list(encoded(network, chosen.histories))
        weight, ranks = calibrate_liked(with_head, chosen, answers)
        expected = evaluate(ModelScorer(with_head), chosen, ITEMS).ranks
        np.testing.assert_array_equal(ranks, expected)
        assert (weight > 0) == helps
        assert float(with_head.liked.weight) == pytest.approx(weight)


def test_who_has_no_history_counts_as_in_every_evaluation() -> None:
    """Their target was a miss where the model has a head, and in a catalogue of under ten items the very
    same log had other validation figures with values than without."""
    config = ModelConfig.from_dict(CONFIG.to_dict() | {"liked_factors": 1, "liked_from": 1.0})
    subject = MoERecommender(config).eval()
    histories = [History.of_items(items) for items in ([], [3], [])]
    asked = Cases(np.arange(3), histories, np.array([5, 4, 0], np.int32))
    answers = list(encoded(subject, asked.histories))
    _, ranks = calibrate_liked(subject, asked, answers)
    np.testing.assert_array_equal(ranks, evaluate(ModelScorer(subject), asked, ITEMS).ranks)
    assert ranks[0] == ITEMS
