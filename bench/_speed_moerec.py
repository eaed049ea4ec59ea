"""moerec's side of `training_speed.py`: trains for some steps and prints how fast, as JSON.

python bench/_speed_moerec.py SEQUENCES.npz OPTIONS_JSON

What `moerec train --fit-all` does once the log is read, other processes included; it is watched step by step,
and stopped as Ctrl-C does it.
"""

import json
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from _machine import ROOT
from _speed_sequences import Arrays

sys.path.insert(0, str(ROOT))

from moerec.data.columns import ColumnNames
from moerec.data.interactions import Interactions, from_frame
from moerec.training.fit import FitOptions, fit_log, prepare_log
from moerec.training.interrupt import TrainingInterrupted
from moerec.training.loop import Progress
from moerec.training.presets import Variant
from moerec.training.workers import with_workers


class Recorder:
    """Notes each step's loss, the events it predicted, and when it ended; ends the training after `steps`."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._sum, self._targets = 0.0, 0
        self.losses: list[float] = []
        self.events: list[int] = []
        self.ends: list[float] = []

    def update(self, progress: Progress) -> None:
        """Called by the trainer, after each step and at the end of an epoch."""
        total = progress.loss * progress.targets
        if progress.step_in_epoch:
            events = progress.targets - self._targets
            self.losses.append((total - self._sum) / events)
            self.events.append(events)
            self.ends.append(time.perf_counter())
        self._sum, self._targets = total, progress.targets
        if len(self.ends) == self._steps:
            signal.raise_signal(signal.SIGINT)


def log_of(arrays: Arrays) -> Interactions:
    """The sequences as a log of the package."""
    users = np.repeat(np.arange(len(arrays["offsets"]) - 1), np.diff(arrays["offsets"]))
    columns = {"user_id": users, "item_id": arrays["items"]}
    if arrays["timed"]:
        columns["timestamp"] = arrays["timestamps"].astype("datetime64[ms]")
    names = ColumnNames(timestamp=None if arrays["timed"] else "none")
    return from_frame(pl.DataFrame(columns), names)


def train(arrays: Arrays, options: dict[str, Any]) -> dict[str, Any]:
    """What `training_speed.py` wants to know of a training."""
    recorder = Recorder(options["warmup"] + options["steps"])
    fit = FitOptions(
        fit_all=True,
        device="cpu",
        seed=options["seed"],
        epochs=options["epochs"],
        variant=Variant(settings=options["settings"]),
    )
    log = prepare_log(log_of(arrays), None, fit)
    lengths = log.data.train_lengths
    processes = options["processes"] or log.processes
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        out = Path(folder) / "bundle"
        with suppress(TrainingInterrupted), with_workers(processes, out, fit) as group:
            fit_log(log, out, options=fit, watch=recorder.update, group=group)
    return {
        "losses": recorder.losses,
        "events": recorder.events,
        "ends": recorder.ends,
        "events_an_epoch": int((lengths[lengths >= 2] - 1).sum()),
        "processes": processes,
        "torch": torch.__version__,
    }


def main() -> int:
    """Prints one JSON object."""
    with np.load(sys.argv[1]) as file:
        print(json.dumps(train(dict(file), json.loads(sys.argv[2]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
