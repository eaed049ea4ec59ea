"""The cold items' protocol: nothing of them is trained on, and everything on them is asked for."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from moerec.data.interactions import from_frame
from tests.bench.script import BENCH, run_script
from tests.logs import walking_log, with_histories

sys.path.insert(0, str(BENCH))

import pytest
from cold import AfterKnown, cold_rows, is_cold, questions, without_cold

from moerec.evaluation.baselines import Popularity


def test_no_event_of_a_cold_item_is_left() -> None:
    log = from_frame(walking_log())
    left = without_cold(log).frame
    assert 0 < len(left) < len(log.frame)
    assert not any(is_cold(item) for item in left.get_column("item_id").unique())


def test_asked_is_each_event_on_a_cold_item_after_a_known_one() -> None:
    id_map, histories = with_histories(from_frame(walking_log()))
    cold = cold_rows(id_map)
    asked = questions(histories, cold)
    assert cold[asked.targets].all()
    for user in range(len(histories.users)):
        places = np.flatnonzero(cold[histories.items_of(user)])
        first_known = int(np.argmax(~cold[histories.items_of(user)]))
        assert int((asked.users == user).sum()) == int((places > first_known).sum())
    seen: list[np.ndarray] = []

    class Watching(Popularity):
        def scores(self, histories, leaving=()):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            seen.extend(history.items for history in histories)
            return super().scores(histories, leaving)

    AfterKnown(Watching(np.ones(len(cold), np.int64)), cold).scores(asked.histories[:20])
    assert not any(cold[items].any() for items in seen)


@pytest.mark.slow
def test_a_row_each_for_the_cold_items_and_the_known_ones(tmp_path: Path) -> None:
    """Items 0 and 15, 1 and 16 ... share a category: of what follows, content knows half."""
    log, items, figures = tmp_path / "log.csv", tmp_path / "items.csv", tmp_path / "figures.json"
    walking_log(users=80).write_csv(log)
    names = [f"item{number}" for number in range(30)]
    groups = [f"group{number % 15}" for number in range(30)]
    pl.DataFrame({"item_id": names, "categories": groups}).write_csv(items)
    done = run_script("cold.py", log, items, "--epochs", "2", "--json", figures)
    assert done.returncode == 0, done.stderr
    [run] = json.loads(figures.read_text())["runs"]
    assert set(run) == {
        *("cold: moerec", "cold: content-kNN", "cold: popularity"),
        *("warm: with content", "warm: without content"),
    }
    assert run["cold: content-kNN"]["hr@10"] > run["cold: popularity"]["hr@10"]
    assert run["cold: moerec"]["cold items"] == sum(map(is_cold, names))
