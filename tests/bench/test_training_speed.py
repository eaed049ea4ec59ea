"""The benchmark of training speed: what both sides are given, and moerec's side of the measurement.

RecTools is no dependency of ours, so its side is not run here.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.bench.script import run_script
from tests.logs import walking_log

SMALL = [
    *("--dim=16", "--layers=2", "--length=12", "--batch=20", "--processes=2"),
    *("--steps=20", "--warmup=2", "--repeats=1", "--learning-rate=0.01"),
]


@pytest.mark.slow
def test_real_events_of_a_log_are_counted_and_learned(tmp_path: Path) -> None:
    """60 users of 14 events: the last two are held out, and the 12 that train predict 11.

    A newcomer with one training event has nothing to predict and is no sequence.
    """
    newcomer = pl.DataFrame(
        {"user_id": ["new"] * 3, "item_id": ["item1"] * 3, "timestamp": [1, 2, 3]}
    )
    pl.concat([walking_log(), newcomer]).write_csv(tmp_path / "log.csv")
    done = run_script(
        "training_speed.py",
        tmp_path / "log.csv",
        "--without-rectools",
        "--json",
        tmp_path / "out.json",
        *SMALL,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    facts, (label,) = found["facts"], found["runs"]
    assert (facts["sequences"], facts["items"], facts["real events an epoch"]) == (60, 30, 660)
    assert facts["of the padded"] == "92%"
    assert label == "moerec, full softmax, processes 2"
    (measured,) = found["runs"][label]
    assert measured["processes"] == 2
    # All 60 have 11 events to predict: so many make three steps of 20.
    assert facts["moerec"]["batch_events"] == 20 * 11
    assert measured["events_an_epoch"] == 660
    assert measured["events_a_second"] > 0
    assert measured["last_loss"] < measured["first_loss"] < 2 * np.log(30)
    for words in ("real events/s, median", label, "hardware", "commit"):
        assert words in done.stdout


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    missing = ("--rectools-python", tmp_path / "python")
    done = run_script("training_speed.py", *missing, "--users", "50", *SMALL)
    assert done.returncode == 1
    assert "rectools[torch]" in done.stderr
    assert "Traceback" not in done.stderr
