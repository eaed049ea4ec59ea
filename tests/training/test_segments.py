"""Batches of segments: every training event is predicted once an epoch, and nothing held out is seen."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.data.sequences import Histories
from moerec.training.segments import Batch, Segments


def histories_of(lengths: list[int]) -> Histories:
    """User u's items are 1000 * u + 1, + 2, + 3 ...: an item tells user and place, time and value."""
    items = [
        1000 * user + place + 1 for user, length in enumerate(lengths) for place in range(length)
    ]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    numbers = np.array(items)
    return Histories(
        [], offsets, numbers.astype(np.int32), numbers * 60_000, (numbers % 7).astype(np.float32)
    )


def segments(lengths: list[int], held_out: int = 0, **options: int) -> Segments:
    kept = np.maximum(np.array(lengths, np.int32) - held_out, 0)
    settings = {"length": 8, "batch_events": 32, "seed": 1} | options
    return Segments(histories_of(lengths), kept, **settings)


def check_times_and_values(batch: Batch) -> None:
    """They stand where their event stands; the padding has time 0 and no value."""
    for events in (batch.inputs, batch.prefix):
        there = events.items > 0
        assert torch.equal(events.times, events.items * 60_000)
        assert torch.equal(events.values[there], (events.items[there] % 7).float())
        assert events.values[~there].isnan().all()
    asked = batch.targets > 0
    assert torch.equal(batch.target_values[asked], (batch.targets[asked] % 7).float())
    assert batch.target_values[~asked].isnan().all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
    st.integers(0, 3),
    st.integers(1, 20),
    st.integers(0, 5),
)
def test_every_training_event_is_a_target_once(
    lengths: list[int], held_out: int, length: int, epoch: int
) -> None:
    parts = segments(lengths, held_out, length=length)
    found: list[int] = []
    for batch in parts.epoch(epoch):
        asked = batch.targets > 0
        assert torch.equal(asked, batch.inputs.items > 0)
        # The target is the next item of the same user, and the prefix is what came just before.
        assert (batch.targets[asked] == batch.inputs.items[asked] + 1).all()
        for inputs, prefix in zip(batch.inputs.items, batch.prefix.items, strict=True):
            before = prefix[prefix > 0].tolist()
            first = int(inputs[0])
            expected = list(range(first - len(before), first))
            assert before == expected
            assert len(before) == min(first % 1000 - 1, batch.prefix.items.shape[1])
        assert batch.inputs.items.shape[1] <= length
        found += batch.targets[asked].tolist()
        check_times_and_values(batch)
    wanted = [
        1000 * user + place + 1
        for user, size in enumerate(lengths)
        for place in range(1, size - held_out)
    ]
    assert sorted(found) == wanted
    assert parts.targets == len(wanted)


def test_batches_are_no_larger_than_asked() -> None:
    """A batch that crossed from a pool of long segments into one of short ones used to be padded to the
    long ones while it was filled by the count of the short ones."""
    lengths = [2, 3, 2, 9, 8, 9] * 200
    parts = segments(lengths, batch_events=64)
    shapes = [batch.inputs.items.shape for batch in parts.epoch(0)]
    assert max(rows * width for rows, width in shapes) <= 64
    assert len(shapes) == parts.count_batches()


def test_seed_and_epoch_decide_the_order() -> None:
    lengths = [5, 30, 12] * 5

    def inputs(seed: int, epoch: int) -> list[list[list[int]]]:
        return [batch.inputs.items.tolist() for batch in segments(lengths, seed=seed).epoch(epoch)]

    assert inputs(1, 0) == inputs(1, 0)
    assert inputs(1, 0) != inputs(1, 1)
    assert inputs(1, 0) != inputs(2, 0)
