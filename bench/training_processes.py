"""From which size of a batch on does a second process, or a second thread, pay in training?

    python bench/training_processes.py [--batches 512 1024 ...] [--processes 2] [--threads 1 2]
        [--items 3000] [--dim WIDTH] [--repeats 3] [--steps 5] [--json FILE]

Trains the two presets (long histories, short histories) on synthetic events for some steps, at each size of
a batch: on one process with each number of threads, and on all processes with one thread each. They take
turns. A figure is the least of all repeats of the mean milliseconds a step. The load of the machine is
printed too: other work on it slows several processes more than one.
"""

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _machine import ROOT, about

sys.path.insert(0, str(ROOT))

from moerec.data.sequences import Histories
from moerec.models.recommender import MoERecommender
from moerec.training.averaging import AveragedWeights
from moerec.training.config import LogSize, presets
from moerec.training.distributed import ALONE, Group, joined
from moerec.training.negatives import NegativeSampler
from moerec.training.optim import make_optimizer
from moerec.training.segments import Segments
from moerec.training.step import Stepper

LENGTHS = {"long": 160, "short": 9}
"""Events of a history."""

Step = Callable[[], None]


def make_step(group: Group, preset: str, batch: int, options: argparse.Namespace) -> Step:
    """A step of the trainer, always on the same batch."""
    length, items = LENGTHS[preset], options.items
    users = batch // (length - 1) + 1
    model_config, config = presets(LogSize(users * length, users, items, has_time=True))
    model_config = replace(model_config, dim=options.dim or model_config.dim)
    rng, count = np.random.default_rng(0), users * length
    chosen = rng.integers(1, items + 1, count).astype(np.int32)
    times, values = np.arange(count) * 60_000, np.full(count, np.nan, np.float32)
    offsets = np.arange(users + 1) * length
    histories = Histories([], offsets, chosen, times, values)
    lengths = np.full(users, length, np.int32)
    config = replace(config, batch_events=2 * batch, negatives=options.negatives)
    segments = Segments(histories, lengths, length=config.length, batch_events=2 * batch, seed=0)
    (rows,) = segments.epoch(0, share=group.share)
    torch.manual_seed(0)
    model = MoERecommender(model_config).train()
    average = AveragedWeights(model, config.average_steps)
    sampler = NegativeSampler(torch.bincount(torch.as_tensor(chosen), minlength=items + 1))
    stepper = Stepper(model, make_optimizer(model, config), config, sampler, group=group)

    def step() -> None:
        stepper.step(rows, 1e-3, 1)
        average.update(1)
        group.any(False)  # as the trainer asks after every step whether to stop

    return step


def milliseconds(step: Step, steps: int) -> float:
    """The mean of some steps."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return 1000 * (time.perf_counter() - start) / steps


def measure(group: Group, preset: str, batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step of each contender; only those of the first process mean anything."""
    together = make_step(group, preset, batch, options)
    alone = make_step(ALONE, preset, batch, options) if group.is_first else None
    best: dict[str, float] = {}
    for repeat in range(options.repeats + 1):  # the first one warms up
        found = {}
        for threads in options.threads:
            torch.set_num_threads(threads)
            if alone is not None:
                found[f"1 x {threads}"] = milliseconds(alone, options.steps)
            group.wait()
        torch.set_num_threads(1)
        found[f"{group.size} x 1"] = milliseconds(together, options.steps)
        if repeat:
            best = {name: min(ms, best.get(name, ms)) for name, ms in found.items()}
    return best


def show(preset: str, batch: int, found: dict[str, float], *, first: bool) -> None:
    """A Markdown row; the headings before the first one."""
    if first:
        print("| preset | batch | " + " | ".join(found) + " | load |")
        print("|---|---|" + "---|" * (len(found) + 1))
    figures = " | ".join(f"{ms:.0f}" for ms in found.values())
    print(f"| {preset} | {batch} | {figures} | {os.getloadavg()[0]:.1f} |", flush=True)


def work(options: argparse.Namespace) -> None:
    """All measurements, in each of the processes; the first prints."""
    with joined(torch.device("cpu")) as group:
        lines = []
        for preset, batch in itertools.product(options.presets, options.batches):
            found = measure(group, preset, batch, options)
            if group.is_first:
                show(preset, batch, found, first=not lines)
            lines.append({"preset": preset, "batch": batch, "ms": found})
        if group.is_first and options.json:
            options.json.write_text(json.dumps({"facts": about(), "lines": lines}, indent=2) + "\n")


def start(number: int) -> list[subprocess.Popen[bytes]]:
    """This command in so many processes, as torchrun does it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"OMP_WAIT_POLICY": "PASSIVE", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | shared | {"WORLD_SIZE": str(number)}
    return [
        subprocess.Popen(
            [sys.executable, *sys.argv], env=environment | {"RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in map(str, range(number))
    ]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=sorted(LENGTHS), default=sorted(LENGTHS))
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 6400])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--negatives", type=int, default=0, help="0 (default): the full softmax")
    parser.add_argument("--dim", type=int, help="default: the preset's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> int:
    """Prints a line a size of a batch."""
    options = parse()
    if "RANK" in os.environ:
        work(options)
        return 0
    codes = [process.wait() for process in start(options.processes)]
    print(" · ".join(f"{name}: {value}" for name, value in about().items()))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
