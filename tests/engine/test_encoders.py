"""The two encoders: a streamed state says what a replayed history says, whatever way it came about."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import count, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.engine.encoders import Encoder, ReplayEncoder, StreamedEncoder, is_streamable
from moerec.engine.kernels.rows import StoredType, bytes_a_user, new_arena
from moerec.engine.state import Past, PastEvent, Taste, UserState
from moerec.errors import MoerecError
from moerec.models.attention import WindowAttention
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender

CONFIG = ModelConfig(
    items=60, dim=16, layers=2, heads=2, window=6, expert_dim=8, dropout=0.0, uses_time=1
)
SHAPES = {
    "times": CONFIG,
    "no times": replace(CONFIG, uses_time=0, window=11, layers=3),
    "a long window": replace(CONFIG, window=21),
    "three layers": replace(CONFIG, layers=3, window=8),
    "one layer": replace(CONFIG, layers=1, heads=4, window=8),
    "a window of one": replace(CONFIG, window=1),
    "a reach of less than ten": replace(
        CONFIG, window=4, experts=1, min_experts=1, max_experts=1, mean_experts=1.0
    ),
    "no gates": replace(CONFIG, gated=0),
    "no user in the routing": replace(CONFIG, user_routing=0),
    "always two experts": replace(CONFIG, max_experts=2, mean_experts=2.0),
    "dense": CONFIG.dense(24),
    "liked": replace(CONFIG, liked_factors=3, liked_from=3.0),
}


@cache
def model_of(shape: str) -> MoERecommender:
    """Random weights, and routers that are far from indifferent."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = MoERecommender(SHAPES[shape])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embedding" not in name:
                weight.add_(0.3 * torch.randn_like(weight))
        for name, buffer in model.named_buffers():
            if "balance_bias" in name:
                buffer.normal_(std=0.1)
        if model.liked is not None:
            for buffer in model.liked.buffers():
                buffer.normal_()
            model.liked.weight.fill_(1.0)
    return model.eval()


@torch.inference_mode()
def encoders(
    shape: str, slots: int = 8, stored: StoredType = np.float32
) -> tuple[StreamedEncoder, ReplayEncoder]:
    """In float32, where the two must agree closely; or in 8 bits, with a model that rounds alike."""
    model = model_of(shape)
    items = model.item_vectors()
    streamed = StreamedEncoder(model, items, slots, stored)
    if stored is np.int8:
        model = deepcopy(model)
        for module in model.modules():
            if isinstance(module, WindowAttention):
                module.rounds = True
    return streamed, ReplayEncoder(model, items)


def history(length: int, seed: int = 0) -> list[PastEvent]:
    """Gaps of some seconds to some weeks; a third of the events have values."""
    draw = np.random.default_rng([seed, length])
    times = np.cumsum(1_000 * 2.0 ** draw.integers(0, 22, length)).astype(np.int64)
    values = np.where(draw.random(length) < 0.3, draw.integers(1, 6, length), np.nan)
    items = draw.integers(1, CONFIG.items + 1, length)
    return [
        PastEvent(int(item), int(time), float(value))
        for item, time, value in zip(items, times, values, strict=True)
    ]


def state_of(shape: str, events: list[PastEvent]) -> UserState:
    return UserState(Past.of(events, SHAPES[shape].reach))


@torch.inference_mode()
def encode(encoder: Encoder, *states: UserState) -> list[Taste]:
    return encoder.encode(states)


def assert_alike(one: Taste, other: Taste) -> None:
    assert one.vector.tolist() == pytest.approx(other.vector.tolist(), abs=1e-5)
    assert one.recent.tolist() == other.recent.tolist()
    assert one.experts == other.experts
    assert (one.liked is None) == (other.liked is None)
    if one.liked is not None and other.liked is not None:
        assert one.liked.tolist() == pytest.approx(other.liked.tolist(), abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_history_at_once_is_what_the_model_says(shape: str) -> None:
    streamed, replay = encoders(shape, 16)
    pasts = [history(length) for length in (1, 2, 5, 6, 7, 11, 30, 170, 400)]
    ours = encode(streamed, *[state_of(shape, past) for past in pasts])
    theirs = encode(replay, *[state_of(shape, past) for past in pasts])
    for one, other in zip(ours, theirs, strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("shape", SHAPES)
def test_event_by_event_is_what_the_model_says(shape: str) -> None:
    """At each of 60 events: the ring has gone round many times, and older events have left the reach."""
    streamed, replay = encoders(shape)
    past = history(60)
    state = state_of(shape, past[:1])
    encode(streamed, state)
    for length, event in enumerate(past[1:], start=2):
        state.append(event)
        (ours,) = encode(streamed, state)
        (theirs,) = encode(replay, state_of(shape, past[:length]))
        assert_alike(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_eight_bits_it_is_what_a_model_says_that_rounds_alike(shape: str) -> None:
    """Nearly all to 1e-5. A coordinate that lies between two steps may go to either of them, by the order of
    the sums before it, and moves a vector by some thousandths."""
    streamed, replay = encoders(shape, 60, np.int8)
    pasts = [history(2 * length, length) for length in range(1, 61)]
    states = [state_of(shape, past[:-1]) for past in pasts]
    encode(streamed, *states)
    for state, past in zip(states, pasts, strict=True):
        state.append(past[-1])
    ours = encode(streamed, *states)
    theirs = encode(replay, *[state_of(shape, past) for past in pasts])
    gaps = [
        np.abs(one.vector - other.vector).max() for one, other in zip(ours, theirs, strict=True)
    ]
    assert np.mean(np.array(gaps) < 1e-5) > 0.7
    assert max(gaps) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_in_eight_bits_a_stream_is_a_rebuild(shape: str) -> None:
    """To the rounding of sums: two engines do not give one user two lists."""
    streamed, _ = encoders(shape, 3, np.int8)
    past = history(60)
    state = state_of(shape, past[:1])
    for length in range(2, len(past) + 1):
        encode(streamed, state)
        state.append(past[length - 1])
    (ours,) = encode(streamed, state)
    again = state_of(shape, past)
    (rebuilt,) = encode(streamed, again)
    assert_alike(ours, rebuilt)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["event", "event", "ask", "evict"]), st.integers(0, 3)),
        min_size=1,
        max_size=80,
    ),
    shape=st.sampled_from(sorted(SHAPES)),
)
def test_any_order_of_events_questions_and_evictions(
    steps: list[tuple[str, int]], shape: str
) -> None:
    """Four users come and go: each answer is that of the whole history, replayed."""
    streamed, replay = encoders(shape, 4)
    pasts: list[list[PastEvent]] = [[] for _ in range(4)]
    states: list[UserState | None] = [None] * 4
    numbers = count(1)
    for what, user in steps:
        state = states[user]
        if what == "event":
            event = PastEvent(next(numbers) * 7 % CONFIG.items + 1, 1_000 * len(pasts[user]) ** 3)
            pasts[user].append(event)
            if state is not None:
                state.append(event)
        elif what == "evict" and state is not None:
            streamed.release(state)
            states[user] = None
        elif what == "ask" and pasts[user]:
            state = states[user] = state or state_of(shape, pasts[user])
            if state.fresh:
                (ours,) = encode(streamed, state)
                (theirs,) = encode(replay, state_of(shape, pasts[user]))
                assert_alike(ours, theirs)
    kept = [user for user in range(4) if (state := states[user]) is not None and state.fresh]
    if kept:
        asked = [state for state in states if state is not None and state.fresh]
        for user, taste in zip(kept, encode(streamed, *asked), strict=True):
            assert_alike(taste, encode(replay, state_of(shape, pasts[user]))[0])


@pytest.mark.parametrize("shape", ["times", "dense"])
def test_an_answer_does_not_depend_on_its_batch_to_the_last_bit(shape: str) -> None:
    """Histories of many lengths, each alone, and in all kinds of company."""
    streamed, _ = encoders(shape, 70)
    pasts = [history(length, seed) for seed, length in enumerate([1, 3, 8, 21, 170] * 12)]
    alone = []
    for past in pasts:
        state = state_of(shape, past)
        alone.append(encode(streamed, state)[0].vector)
        streamed.release(state)
    draw = np.random.default_rng(0)
    for _ in range(5):
        order = draw.permutation(len(pasts))[: draw.integers(1, len(pasts) + 1)].tolist()
        states = [state_of(shape, pasts[place]) for place in order]
        for place, taste in zip(order, encode(streamed, *states), strict=True):
            assert np.array_equal(taste.vector, alone[place])
        for state in states:
            streamed.release(state)


def test_the_same_events_in_the_same_steps_give_the_same_state_to_the_last_bit() -> None:
    streamed, _ = encoders("times")
    found = []
    for _ in range(2):
        past = history(40)
        state = state_of("times", past[:3])
        for event in past[3:]:
            encode(streamed, state)
            state.append(event)
        found.append(encode(streamed, state)[0].vector)
        streamed.release(state)
    assert np.array_equal(*found)


def test_more_new_events_than_the_ring_holds_are_taken_in_from_the_history() -> None:
    """A user who was hot, was not asked for, and had a thousand events meanwhile."""
    streamed, replay = encoders("times")
    past = history(1_200)
    state = state_of("times", past[:20])
    encode(streamed, state)
    for event in past[20:]:
        state.append(event)
    (ours,) = encode(streamed, state)
    (theirs,) = encode(replay, state_of("times", past))
    assert_alike(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hot_user_comes_back_with_some_new_events(shape: str) -> None:
    """In a model of three layers the second one saw the times of a burst's last events in the place of older
    ones: the first layer had written them into the ring already."""
    streamed, replay = encoders(shape)
    past = history(160)
    state, length = state_of(shape, past[:9]), 9
    encode(streamed, state)
    for burst in (2, 5, 4, 9, 1, 13, 7, 8, 12, 16, 24, 3, 11):
        for event in past[length : length + burst]:
            state.append(event)
        length += burst
        (ours,) = encode(streamed, state)
        assert_alike(ours, encode(replay, state_of(shape, past[:length]))[0])


def test_a_slot_keeps_nothing_of_the_user_before() -> None:
    streamed, replay = encoders("times", 1)
    for seed in range(3):
        past = history(4 + 20 * seed, seed)
        state = state_of("times", past)
        (ours,) = encode(streamed, state)
        assert_alike(ours, encode(replay, state_of("times", past))[0])
        streamed.release(state)


def test_an_arena_that_is_full_says_so_and_goes_on() -> None:
    streamed, replay = encoders("times", 1)
    ann, bob = state_of("times", history(4)), state_of("times", history(5))
    encode(streamed, ann)
    with pytest.raises(MoerecError, match="arena of user states is full"):
        encode(streamed, bob)
    streamed.release(ann)
    (ours,) = encode(streamed, bob)
    assert_alike(ours, encode(replay, state_of("times", history(5)))[0])


def test_a_state_without_a_new_event_is_refused() -> None:
    """The compiled step would read before the first row."""
    streamed, _ = encoders("times")
    state = state_of("times", history(4))
    encode(streamed, state)
    with pytest.raises(MoerecError, match="without a new event"):
        encode(streamed, state)


def test_what_a_user_takes_is_told() -> None:
    """Keys and values of 8 places (6, rounded up) and 2 layers, their scales, times, a summary, a count."""
    assert bytes_a_user(CONFIG) == 2 * 2 * 8 * (16 + 4) + 8 * 8 + 16 * 4 + 8
    assert bytes_a_user(CONFIG, np.float32) == 2 * 2 * 8 * (16 * 4 + 4) + 8 * 8 + 16 * 4 + 8
    kinds: tuple[StoredType, ...] = (np.int8, np.float32)
    for config, kind in product(SHAPES.values(), kinds):
        arena = new_arena(config, 5, kind)
        assert bytes_a_user(config, kind) == sum(each.nbytes for each in arena) / 5


def test_a_user_of_the_usual_shape_takes_sixteen_kilobytes() -> None:
    """Two layers, width 64, a window of 50."""
    assert bytes_a_user(ModelConfig(items=1, dim=64, layers=2, window=50)) < 16_000


def test_a_shape_that_the_kernels_cannot_run_is_named() -> None:
    assert is_streamable(CONFIG)
    assert not is_streamable(replace(CONFIG, dim=12))
    assert not is_streamable(replace(CONFIG, expert_dim=6))
