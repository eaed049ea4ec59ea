"""An evaluation must never score what was trained on."""

import numpy as np
import polars as pl
import pytest

from moerec.artifacts.trained_on import TrainedOn, fingerprint, ordered_fingerprint
from moerec.data.id_map import IdMap
from moerec.data.interactions import from_frame
from moerec.data.sequences import Histories, build_histories
from moerec.data.split import leave_one_out
from moerec.errors import LeakError
from tests.logs import walking_log, with_histories

LOG = walking_log(8, events=6)


@pytest.fixture
def trained() -> tuple[TrainedOn, IdMap, Histories]:
    id_map, histories = with_histories(from_frame(LOG))
    return (
        TrainedOn.record(histories, leave_one_out(histories).train_lengths, id_map),
        id_map,
        histories,
    )


def check(record: TrainedOn, id_map: IdMap, frame: pl.DataFrame, part: str = "test") -> None:
    histories = build_histories(from_frame(frame), id_map)
    users, places = leave_one_out(histories).targets(part)  # type: ignore[arg-type]
    record.check(histories, users, places.astype(np.int64), id_map)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_held_out_events_may_be_scored(
    trained: tuple[TrainedOn, IdMap, Histories], part: str
) -> None:
    record, id_map, _ = trained
    check(record, id_map, LOG, part)


def test_events_that_were_trained_on_are_refused(
    trained: tuple[TrainedOn, IdMap, Histories],
) -> None:
    _, id_map, histories = trained
    everything = TrainedOn.record(histories, histories.lengths.astype(np.int32), id_map)
    with pytest.raises(LeakError, match="8 of the 8"):
        check(everything, id_map, LOG)


def test_a_shortened_log_is_refused(trained: tuple[TrainedOn, IdMap, Histories]) -> None:
    """Without their last two events, users' new "test" events are training events."""
    record, id_map, _ = trained
    shorter = LOG.group_by("user_id", maintain_order=True).head(4)
    with pytest.raises(LeakError, match="were trained on"):
        check(record, id_map, shorter)


def test_another_past_is_refused(trained: tuple[TrainedOn, IdMap, Histories]) -> None:
    record, id_map, _ = trained
    other = LOG.with_columns(
        item_id=pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit("item29"))
        .otherwise(pl.col("item_id"))
    )
    assert not other.equals(LOG)
    with pytest.raises(LeakError, match="another past"):
        check(record, id_map, other)


def test_a_log_that_goes_on_may_be_scored(trained: tuple[TrainedOn, IdMap, Histories]) -> None:
    record, id_map, _ = trained
    later = walking_log(8, events=1, seed=5).with_columns(
        timestamp=pl.col("timestamp") + 10_000_000
    )
    check(record, id_map, pl.concat([LOG, later]))


def test_new_users_may_be_scored(trained: tuple[TrainedOn, IdMap, Histories]) -> None:
    record, id_map, _ = trained
    check(record, id_map, LOG.with_columns(user_id="new-" + pl.col("user_id")))


def test_a_fingerprint_names_the_content_not_the_order_of_users() -> None:
    id_map, histories = with_histories(from_frame(LOG))
    turned = build_histories(from_frame(LOG.reverse()), id_map)
    other = build_histories(from_frame(walking_log(8, events=6, seed=3)), id_map)
    assert fingerprint(turned, id_map) == fingerprint(histories, id_map)
    assert fingerprint(other, id_map) != fingerprint(histories, id_map)


def test_what_weights_follow_from_changes_the_ordered_fingerprint() -> None:
    """A training is not continued on a log with other times or ratings."""
    rated = LOG.with_columns(value=pl.lit(3.0))
    later = LOG.with_columns(pl.col("timestamp") + 1_000)
    better = rated.with_columns(value=pl.lit(4.0))
    logs = [with_histories(from_frame(frame)) for frame in (LOG, rated, later, better)]
    assert len({fingerprint(histories, id_map) for id_map, histories in logs}) == 1
    assert len({ordered_fingerprint(histories, id_map) for id_map, histories in logs}) == 4
