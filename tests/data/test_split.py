"""The splits: what trains is a prefix, and nothing of the future is in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.data.sequences import Histories
from moerec.data.split import HoldOut, by_time, hold_out, leave_one_out
from moerec.errors import UsageError
from moerec.types import UserId


def histories_of(times: list[list[int]]) -> Histories:
    """Users with these event times; the items are 1, 2, 3 ... over the whole log."""
    events = sum(len(user) for user in times)
    return Histories(
        users=[UserId(f"u{number}") for number in range(len(times))],
        offsets=np.concatenate([[0], np.cumsum([len(user) for user in times])]).astype(np.int64),
        items=np.arange(1, events + 1, dtype=np.int32),
        timestamps=np.array([time for user in times for time in sorted(user)], dtype=np.int64),
        values=np.full(events, np.nan, dtype=np.float32),
    )


logs = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), min_size=1, max_size=15)


def check_prefixes(histories: Histories, split: HoldOut) -> None:
    lengths = histories.lengths
    assert (split.train_lengths >= 0).all()
    assert (split.train_lengths <= lengths).all()
    for part in ("validation", "test"):
        users, places = split.targets(part)  # type: ignore[arg-type]
        assert (places >= 1).all()
        assert (places < lengths[users]).all()
        assert (split.train_lengths[users] <= places).all()
    both = (split.validation_at >= 0) & (split.test_at >= 0)
    assert (split.validation_at[both] < split.test_at[both]).all()


@given(logs)
def test_leave_one_out_holds_out_the_last_two(times: list[list[int]]) -> None:
    histories = histories_of(times)
    split = leave_one_out(histories)
    check_prefixes(histories, split)
    for user, length in enumerate(histories.lengths):
        if length >= 3:
            assert split.test_at[user] == length - 1
            assert split.validation_at[user] == length - 2
            assert split.train_lengths[user] == length - 2
        else:
            assert split.test_at[user] == split.validation_at[user] == -1
            assert split.train_lengths[user] == length


@given(logs, st.sampled_from([0.05, 0.1, 0.2, 0.4]))
def test_by_time_trains_on_nothing_at_or_after_any_target(
    times: list[list[int]], fraction: float
) -> None:
    histories = histories_of(times)
    try:
        split = by_time(histories, fraction)
    except UsageError:
        return  # all at one time, or too few events: refused, not leaked
    check_prefixes(histories, split)
    at = histories.offsets[:-1]
    trained = [
        histories.timestamps[start : start + length]
        for start, length in zip(at, split.train_lengths, strict=True)
    ]
    newest_trained = max(part.max() for part in trained if len(part))
    validation_users, validation_places = split.targets("validation")
    test_users, test_places = split.targets("test")
    validation_times = histories.timestamps[at[validation_users] + validation_places]
    test_times = histories.timestamps[at[test_users] + test_places]
    assert (validation_times > newest_trained).all()
    assert (test_times > newest_trained).all()
    if len(validation_times) and len(test_times):
        assert validation_times.max() < test_times.min()


def test_by_time_takes_the_first_event_of_each_part() -> None:
    split = by_time(histories_of([list(range(0, 100, 2)), list(range(1, 100, 2))]), 0.1)
    assert split.rule == "time:0.1"
    assert split.train_lengths.tolist() == [40, 40]  # times 0..79
    assert split.validation_at.tolist() == [40, 40]  # times 80, 81
    assert split.test_at.tolist() == [45, 45]  # times 90, 91


def test_by_time_gives_no_target_to_a_user_without_an_event_before() -> None:
    split = by_time(histories_of([list(range(97)), [98, 99, 100]]), 0.1)
    assert split.test_at[1] == -1
    assert split.train_lengths[1] == 0


@pytest.mark.parametrize(
    "rule",
    [
        "last",
        "time",
        "time:",
        "time:x",
        "time:0",
        "time:0.5",
        "time:nan",
        "user-ratio",
        "user-ratio:1",
    ],
)
def test_unknown_rules_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match=r"split|hold out"):
        hold_out(rule, histories_of([[1, 2, 3]]), has_time=True)


def test_a_split_by_time_needs_times() -> None:
    with pytest.raises(UsageError, match="no times"):
        hold_out("time:0.1", histories_of([[1, 2, 3]]), has_time=False)


@pytest.mark.parametrize("times", [[[5] * 30], [[1], [2]]])
def test_by_time_refuses_a_log_it_cannot_cut(times: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="time"):
        by_time(histories_of(times), 0.1)


def test_the_rule_none_trains_on_everything() -> None:
    histories = histories_of([[1, 2, 3], [4]])
    split = hold_out("none", histories, has_time=False)
    assert split.train_lengths.tolist() == [3, 1]
    assert len(split.targets("test")[0]) == len(split.targets("validation")[0]) == 0


def test_rules_by_name_are_the_functions() -> None:
    histories = histories_of([list(range(30)), list(range(10, 40))])
    assert hold_out("leave-one-out", histories, has_time=False).test_at.tolist() == [29, 29]
    assert hold_out("time:0.2", histories, has_time=True).rule == "time:0.2"


def test_by_user_ratio_holds_out_the_end_of_each_history() -> None:
    """A fifth of 20, of 7 (1.4), of 3, where one must train and one validate; of 2 nothing."""
    histories = histories_of([list(range(20)), list(range(7)), [1, 2, 3], [1, 2]])
    split = hold_out("user-ratio:0.2", histories, has_time=False)
    assert split.rule == "user-ratio:0.2"
    assert split.test_at.tolist() == [16, 6, 2, -1]
    assert split.validation_at.tolist() == [15, 5, 1, -1]
    assert split.train_lengths.tolist() == [15, 5, 1, 2]


def test_by_user_ratio_leaves_an_event_to_train_on() -> None:
    split = hold_out("user-ratio:0.99", histories_of([list(range(10))]), has_time=False)
    assert split.test_at.tolist() == [2]
    assert split.train_lengths.tolist() == [1]
