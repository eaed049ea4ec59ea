"""The expert policy by itself: quota, masks, budgets, and what it counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.engine.policy import ExpertPolicy
from moerec.errors import SettingsError
from moerec.models.config import ModelConfig

CONFIG = ModelConfig(items=10, layers=2)
WINDOW = 640
QUOTA = 0.25


def policy(quota: float = QUOTA, busy_frame: int = 0) -> ExpertPolicy:
    return ExpertPolicy(CONFIG, quota, busy_frame, WINDOW)


def token(
    draw: np.random.Generator, chances: list[float], masked_nE: np.ndarray
) -> list[list[int]]:
    """Two to four experts a layer, by preference, without the masked ones: as a router would."""
    found = []
    for masked in masked_nE:
        weights = np.where(masked, 0, chances)
        size = int(draw.integers(CONFIG.min_experts, CONFIG.max_experts + 1))
        chosen = draw.choice(CONFIG.experts, size, replace=False, p=weights / weights.sum())
        found.append(sorted(chosen.tolist()))
    return found


def drive(of: ExpertPolicy, chances: list[float], tokens: int, seed: int = 0) -> list[float]:
    """The largest share of an expert after each of the tokens beyond the first window."""
    draw, largest = np.random.default_rng(seed), []
    for number in range(tokens):
        of.observe([token(draw, chances, of.masked_nE)])
        if number >= WINDOW:
            largest.append(float(of.shares().max()))
    return largest


SKEWED = [20.0, 1, 1, 1, 1, 1, 1, 1]


def test_an_expert_that_all_want_keeps_its_quota() -> None:
    assert min(drive(policy(0.9), SKEWED, 3 * WINDOW)) > 0.28
    ours = policy()
    largest = drive(ours, SKEWED, 6 * WINDOW)
    # A look at the shares comes every tenth token; between two of them a share grows a little.
    assert max(largest[WINDOW:]) < QUOTA + 0.02
    # And it is not starved: it comes back when it has had its rest.
    assert min(largest) > 0.8 * QUOTA
    assert ours.epoch > 2


def test_it_does_not_change_its_mind_at_each_look() -> None:
    """Between mask and return lies a tenth of the quota, which takes a part of the window to pass."""
    ours = policy()
    drive(ours, SKEWED, 11 * WINDOW)
    looks = 10 * WINDOW / (WINDOW // 64)
    assert ours.epoch < looks / 5


def test_ordinary_traffic_meets_no_mask() -> None:
    ours = policy()
    drive(ours, [1.4, 1, 1, 1, 1, 1, 1, 0.8], 4 * WINDOW)
    assert (ours.epoch, ours.masks) == (0, False)


def test_nothing_is_masked_before_a_window_is_full() -> None:
    ours = policy()
    ours.observe([[[0, 1], [0, 1]]] * (WINDOW - 1))
    assert not ours.masks
    ours.observe([[[0, 1], [0, 1]]])
    assert ours.masked_nE.tolist() == [[True, True] + [False] * 6] * 2
    assert ours.epoch == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    quota=st.floats(0.126, 0.3),
    least=st.integers(1, 2),
    most=st.integers(2, 6),
)
def test_masks_depend_on_the_tokens_alone_and_leave_enough(
    seed: int, cuts: list[int], quota: float, least: int, most: int
) -> None:
    """However the tokens come in batches; and at most E - max_experts of a layer are masked."""
    config = replace(CONFIG, min_experts=least, max_experts=most, mean_experts=2.0)
    draw = np.random.default_rng(seed)
    chances = draw.random(8) ** 3 + 1e-3
    tokens = []
    for _ in range(sum(cuts)):
        layers = [
            draw.choice(8, int(draw.integers(least, most + 1)), False, chances / chances.sum())
            for _ in range(2)
        ]
        tokens.append([layer.tolist() for layer in layers])
    one, other = (ExpertPolicy(config, quota, window=128) for _ in range(2))
    place = 0
    for cut in cuts:
        one.observe(tokens[place : place + cut])
        place += cut
        assert (one.masked_nE.sum(1) <= 8 - most).all()
    for each in tokens:
        other.observe([each])
        assert (other.masked_nE.sum(1) <= 8 - most).all()
    assert np.array_equal(one.masked_nE, other.masked_nE)
    assert one.epoch == other.epoch
    assert np.allclose(one.shares(), other.shares())
    assert np.allclose(one.shares().sum(1), 1)


def test_shares_are_those_of_the_newest_tokens() -> None:
    ours = policy()
    assert ours.shares().tolist() == [[0.0] * 8] * 2
    ours.observe([[[0, 1], [2, 3, 4, 5]]] * WINDOW)
    ours.observe([[[6, 7], [6, 7]]] * (WINDOW // 2))
    assert ours.shares()[0].tolist() == [0.25, 0.25, 0, 0, 0, 0, 0.25, 0.25]
    assert ours.shares()[1, 2:].tolist() == pytest.approx([1 / 6] * 6)


def test_a_budget_is_the_requests_own_or_by_load() -> None:
    ours = policy(busy_frame=40)
    assert [ours.budget(asked, 1) for asked in (None, 2, 3, 4)] == [4, 2, 3, 4]
    assert [ours.budget(None, frame) for frame in (39, 40, 64)] == [4, 2, 2]
    assert ours.budget(3, 64) == 3
    # A gateway of another bundle may ask for what this model does not have.
    assert [ours.budget(asked, 1) for asked in (1, 99)] == [2, 4]
    assert not policy().is_busy(64)


@pytest.mark.parametrize("quota", [0.01, 0.125])
def test_a_quota_that_cannot_be_kept_is_refused(quota: float) -> None:
    with pytest.raises(SettingsError, match=r"even share is 0\.125\.\nSet MOEREC_EXPERT_QUOTA"):
        policy(quota)


def test_a_dense_model_has_no_policy() -> None:
    dense = ExpertPolicy(CONFIG.dense(64), 0.5, busy_frame=1)
    assert (dense.watches, dense.budget(None, 64)) == (False, 1)


def test_what_is_counted() -> None:
    ours = policy(busy_frame=40)
    ours.observe([[[0, 1], [4, 5, 6, 7]]] * WINDOW)
    ours.count([[0, 2], [4, 5]], 4, by_load=True)
    ours.count([[0, 1, 2], [4, 5]], 2, by_load=False)
    ours.count([[2, 3], [4, 5, 6]], 2, by_load=True)
    counters = ours.counters()
    assert counters["routing_epoch"] == 1
    assert counters["query_rows"] == 3
    assert counters["budget_cuts"] == 1
    assert counters["load_cuts"] == 1
    rerouted = {name: value for name, value in counters.items() if name.startswith("rerouted")}
    assert sum(rerouted.values()) == 3
    assert rerouted["rerouted_rows/0/0"] == 2
    assert counters["expert_masked/0/1"] == 1
    assert counters["expert_masked/1/4"] == 0
