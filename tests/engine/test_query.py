"""Query rows through both encoders, and what is remembered of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.engine.counters import Counters
from moerec.engine.encoders import Encoder, StreamedEncoder
from moerec.engine.kernels.rows import Limits, StoredType
from moerec.engine.policy import ExpertPolicy
from moerec.engine.query import Answered, QueryRows
from moerec.engine.state import Taste, UserState
from tests.engine.test_encoders import (
    SHAPES,
    assert_alike,
    encode,
    encoders,
    history,
    model_of,
    state_of,
)

LENGTHS = (1, 2, 5, 6, 7, 11, 30, 170)


@torch.inference_mode()
def query(encoder: Encoder, states: list[UserState], limits: Limits) -> list[Taste]:
    return encoder.query(states, limits)


def free(shape: str, users: int) -> Limits:
    config = SHAPES[shape]
    masked = np.zeros((users, config.layers, config.experts), np.bool_)
    return Limits(masked, np.full(users, config.max_experts))


def drawn(shape: str, users: int, seed: int) -> Limits:
    """Budgets, and up to E - max masked experts in each layer."""
    config, draw = SHAPES[shape], np.random.default_rng(seed)
    limits = free(shape, users)
    for masked_nE in limits.masked_BnE:
        for masked_E in masked_nE:
            size = draw.integers(0, config.experts - config.max_experts + 1)
            masked_E[draw.permutation(config.experts)[:size]] = True
    return Limits(
        limits.masked_BnE, draw.integers(config.min_experts, config.max_experts + 1, users)
    )


@pytest.mark.parametrize("stored", [np.int8, np.float32])
@pytest.mark.parametrize("shape", ["times", "a long window", "liked", "dense"])
def test_without_limits_it_is_so_to_the_last_bit_where_states_are_streamed(
    shape: str, stored: StoredType
) -> None:
    streamed, _ = encoders(shape, stored=stored)
    states = [state_of(shape, history(length)) for length in LENGTHS]
    canonical = encode(streamed, *states)
    for one, other in zip(
        canonical, query(streamed, states, free(shape, len(states))), strict=True
    ):
        assert np.array_equal(one.vector, other.vector)
        assert one.experts == other.experts


@pytest.mark.parametrize("shape", SHAPES)
def test_without_limits_a_query_row_is_the_canonical_one(shape: str) -> None:
    for encoder in encoders(shape):
        states = [state_of(shape, history(length)) for length in LENGTHS]
        canonical = encode(encoder, *states)
        for one, other in zip(
            canonical, query(encoder, states, free(shape, len(states))), strict=True
        ):
            assert one.vector.tolist() == pytest.approx(other.vector.tolist(), abs=1e-6)
            assert one.experts == other.experts


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 10**6),
)
def test_under_any_limits_the_kernels_say_what_the_model_says(shape: str, seed: int) -> None:
    """And what they say keeps within the limits; what is kept of the users stays as it is, bit for bit."""
    streamed, replay = encoders(shape)
    draw = np.random.default_rng(seed)
    lengths = draw.choice(LENGTHS, draw.integers(1, 8)).tolist()
    ours = [state_of(shape, history(length, seed)) for length in lengths]
    theirs = [state_of(shape, history(length, seed)) for length in lengths]
    encode(streamed, *ours)
    encode(replay, *theirs)
    limits = drawn(shape, len(ours), seed)
    kept = [array.copy() for array in streamed._arena]
    tastes = query(streamed, ours, limits)
    assert all(np.array_equal(*pair) for pair in zip(kept, streamed._arena, strict=True))
    for row, (one, other) in enumerate(zip(tastes, query(replay, theirs, limits), strict=True)):
        assert_alike(one, other)
        for layer, awake in enumerate(one.experts):
            assert SHAPES[shape].min_experts <= len(awake) <= limits.most_B[row]
            assert not limits.masked_BnE[row, layer, awake].any()


@pytest.mark.parametrize("shape", ["times", "three layers", "liked"])
def test_in_eight_bits_they_say_what_a_model_says_that_rounds_alike(shape: str) -> None:
    """As in `test_encoders.py`: nearly all to 1e-5, and none by more than a step of a coordinate moves it."""
    streamed, replay = encoders(shape, 40, np.int8)
    ours, theirs = (
        [state_of(shape, history(2 * length, length)) for length in range(1, 41)] for _ in range(2)
    )
    encode(streamed, *ours)
    limits = drawn(shape, len(ours), 5)
    kept = [array.copy() for array in streamed._arena]
    pairs = zip(query(streamed, ours, limits), query(replay, theirs, limits), strict=True)
    gaps = [np.abs(one.vector - other.vector).max() for one, other in pairs]
    assert all(np.array_equal(*pair) for pair in zip(kept, streamed._arena, strict=True))
    assert np.mean(np.array(gaps) < 1e-5) > 0.7
    assert max(gaps) < 0.02


def test_a_masked_expert_never_runs_in_a_query_row() -> None:
    """Its weights are not numbers: who ran it would show."""
    model = model_of("times")
    streamed, _ = encoders("times")
    state = state_of("times", history(30))
    encode(streamed, state)
    limits = free("times", 1)
    limits.masked_BnE[0, 0, 3] = limits.masked_BnE[0, 1, 5] = True
    with torch.inference_mode():
        broken = StreamedEncoder(model, model.item_vectors(), 1, np.float32)
    same = state_of("times", history(30))
    encode(broken, same)
    broken._packed.mixture.gate_up_nEDG[0, 3] = np.nan
    broken._packed.mixture.gate_up_nEDG[1, 5] = np.nan
    (one,), (other,) = query(streamed, [state], limits), query(broken, [same], limits)
    assert np.array_equal(one.vector, other.vector)


def test_a_row_does_not_depend_on_its_batch_to_the_last_bit() -> None:
    streamed, _ = encoders("times", 40)
    states = [state_of("times", history(length, seed)) for seed, length in enumerate(LENGTHS * 4)]
    encode(streamed, *states)
    limits = drawn("times", len(states), 1)
    together = query(streamed, states, limits)
    for row, state in enumerate(states):
        own = Limits(limits.masked_BnE[row : row + 1].copy(), limits.most_B[row : row + 1].copy())
        (alone,) = query(streamed, [state], own)
        assert np.array_equal(alone.vector, together[row].vector)


class Counting:
    """An encoder that counts the query rows it makes."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.rows = 0

    def encode(self, states: list[UserState]) -> list[Taste]:
        return encode(self._encoder, *states)

    def query(self, states: list[UserState], limits: Limits) -> list[Taste]:
        self.rows += len(states)
        return query(self._encoder, states, limits)

    def release(self, state: UserState) -> None:
        self._encoder.release(state)


def query_rows(
    quota: float = 0.0, busy_frame: int = 0, memo: bool = True
) -> tuple[QueryRows, Counting, ExpertPolicy]:
    encoder = Counting(encoders("times", 64)[0])
    policy = ExpertPolicy(SHAPES["times"], quota, busy_frame, window=64)
    return QueryRows(encoder, policy, Counters(), memo), encoder, policy


def undecided() -> UserState:
    """Somebody whose newest event wakes more than two experts."""
    streamed, _ = encoders("times", 64)
    for seed in range(60):
        state = state_of("times", history(12, seed))
        if any(len(awake) > 2 for awake in encode(streamed, state)[0].experts):
            return state_of("times", history(12, seed))
    raise AssertionError("the router of this model is never undecided")


def ask(rows: QueryRows, states: list[UserState], *wishes: int | None, frame: int = 1) -> Answered:
    return rows.answer(states, wishes, frame)


def test_who_asks_for_fewer_gets_fewer_and_the_company_does_not_change() -> None:
    rows, encoder, _ = query_rows()
    state, plain = undecided(), undecided()
    (alone,) = ask(rows, [plain], None).tastes
    found = ask(rows, [state, plain, state], 2, None, None)
    assert all(len(awake) == 2 for awake in found.tastes[0].experts)
    assert found.tastes[1] is alone
    assert found.tastes[2] is state.taste
    # Who asks for less is not worse off than they wished.
    assert found.degraded == [None, None, None]
    assert encoder.rows == 1


def test_a_query_row_is_remembered_until_the_next_event() -> None:
    rows, encoder, _ = query_rows()
    state = undecided()
    first = ask(rows, [state], 2).tastes[0]
    assert ask(rows, [state, state], 2, 2).tastes == [first, first]
    assert encoder.rows == 1
    state.append(history(1)[0]._replace(timestamp_ms=10**13))
    assert state.limited is None
    assert ask(rows, [state], 2).tastes[0] is not first


def test_without_the_memo_each_list_has_its_own_row_and_says_the_same() -> None:
    """To the last bit, where states are streamed, limits or none."""
    rows, _, _ = query_rows()
    again, encoder, _ = query_rows(memo=False)
    for wish in (None, 2):
        ours, theirs = ([state_of("times", history(n)) for n in LENGTHS] for _ in range(2))
        for turn in range(3):
            encoder.rows = 0
            for one, other in zip(
                ask(rows, [*ours, ours[0]], *[wish] * 9).tastes,
                ask(again, [*theirs, theirs[0]], *[wish] * 9).tastes,
                strict=True,
            ):
                assert np.array_equal(one.vector, other.vector)
                assert one.experts == other.experts
            # The first time only the second question of the first user finds a row.
            canonical = 9 if turn else 1
            assert encoder.rows >= canonical
            assert wish is not None or encoder.rows == canonical


def test_load_cuts_the_budget_of_who_has_none_of_their_own() -> None:
    rows, _, policy = query_rows(busy_frame=10)
    state, own = undecided(), undecided()
    found = ask(rows, [state, own], None, 4, frame=10)
    assert all(len(awake) == 2 for awake in found.tastes[0].experts)
    assert found.degraded == ["fewer_experts", None]
    assert found.tastes[1] is own.taste
    assert policy.counters()["load_cuts"] == 1
    assert ask(rows, [state], None, frame=9).tastes[0] is state.taste


def test_an_expert_past_its_quota_is_passed_over_and_comes_back() -> None:
    rows, encoder, policy = query_rows(quota=0.3)
    state = undecided()
    (canonical,) = ask(rows, [state], None).tastes
    policy.observe([canonical.experts[:1] * 2] * 64)
    assert policy.masks
    found = ask(rows, [state], None)
    assert found.degraded == ["rerouted"]
    for layer, awake in enumerate(found.tastes[0].experts):
        assert not policy.masked_nE[layer, awake].any()
    assert state.taste is canonical
    assert (
        sum(value for name, value in policy.counters().items() if name.startswith("rerouted")) > 0
    )
    # A new epoch, in which nobody is masked: the canonical row is the answer again.
    policy.observe([[[expert, expert + 4] for _ in range(2)] for expert in [0, 1, 2, 3] * 32])
    assert not policy.masks
    assert ask(rows, [state], None).tastes == [canonical]
    assert encoder.rows == 1


def test_each_new_row_is_a_token_once() -> None:
    rows, _, policy = query_rows(quota=0.9)
    states = [state_of("times", history(8, seed)) for seed in range(3)]
    ask(rows, [*states, states[0]], None, None, None, None)
    ask(rows, states, None, None, None)
    work = sum(len(awake) for state in states if state.taste for awake in state.taste.experts)
    assert int(policy._work_nE.sum()) == work


def test_a_dense_model_answers_under_any_budget() -> None:
    config = replace(SHAPES["dense"])
    streamed, _ = encoders("dense")
    rows = QueryRows(streamed, ExpertPolicy(config, 0.5, 1), Counters())
    with torch.inference_mode():
        found = rows.answer([state_of("dense", history(9))], [3], 64)
    assert found.degraded == [None]
