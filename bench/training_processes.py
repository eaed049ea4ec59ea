"""From which size of a batch on does a second process, or a second thread, pay in training?

    python bench/training_processes.py [--batches 512 1024 ...] [--processes 1 2] [--threads 1 2]
        [--items 3000] [--repeats 3] [--steps 15] [--json FILE]

Trains the two presets (long histories, short histories) on synthetic events for some steps, at each size of
a batch, on each number of processes with one thread, and on one process with each number of threads. A
figure is the least of all repeats, milliseconds a step; contenders take turns. The load of the machine is
printed too: other work on it slows several processes more than one.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _machine import ROOT, about

sys.path.insert(0, str(ROOT))

WARMUP = 3
LENGTHS = {"long": 160, "short": 9}
"""Events of a history."""


def work(options: dict[str, Any]) -> float:
    """In a process of a contender: milliseconds of the median step."""
    import torch

    from moerec.data.sequences import Histories
    from moerec.models.recommender import MoERecommender
    from moerec.training.averaging import AveragedWeights
    from moerec.training.config import LogSize, presets
    from moerec.training.distributed import joined
    from moerec.training.negatives import NegativeSampler
    from moerec.training.optim import make_optimizer
    from moerec.training.segments import Segments
    from moerec.training.step import Stepper

    torch.set_num_threads(options["threads"])
    length, items, batch = LENGTHS[options["preset"]], options["items"], options["batch"]
    steps = WARMUP + options["steps"]
    users = batch * steps // (length - 1) + 2 * batch // length + 2
    model_config, config = presets(LogSize(users * length, users, items, has_time=True))
    config = replace(config, batch_events=batch, negatives=options["negatives"])
    rng = np.random.default_rng(0)
    count = users * length
    chosen = rng.integers(1, items + 1, count).astype(np.int32)
    times = np.arange(count, dtype=np.int64) * 60_000
    values = np.full(count, np.nan, np.float32)
    offsets = np.arange(users + 1, dtype=np.int64) * length
    histories = Histories([], offsets, chosen, times, values)
    lengths = np.full(users, length, np.int32)
    segments = Segments(histories, lengths, length=config.length, batch_events=batch, seed=0)
    with joined(torch.device("cpu")) as group:
        torch.manual_seed(0)
        model = MoERecommender(model_config).train()
        average = AveragedWeights(model, config.average_steps)
        sampler = NegativeSampler(torch.bincount(torch.as_tensor(chosen), minlength=items + 1))
        stepper = Stepper(model, make_optimizer(model, config), config, sampler, group=group)
        seconds = []
        for number, rows in zip(range(steps), segments.epoch(0, share=group.share), strict=False):
            start = time.perf_counter()
            stepper.step(rows, 1e-3, number)
            average.update(number)
            # As the trainer asks after every step whether to stop.
            group.any(False)
            seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[WARMUP:]))


def contender(number: int, options: dict[str, Any]) -> float:
    """Milliseconds a step of `number` processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(options["threads"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(number),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", json.dumps(options)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a process failed")
    return float(printed[0])


def main() -> int:
    """Prints a line a size of a batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=sorted(LENGTHS), default=sorted(LENGTHS))
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 1024, 2048, 6400])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--negatives", type=int, default=0, help="0 (default): the full softmax")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(work(options.work))
        return 0
    ways = [(number, 1) for number in options.processes]
    ways += [(1, threads) for threads in options.threads if threads > 1]
    names = [f"{number} x {threads}" for number, threads in ways]
    print("| preset | batch | " + " | ".join(names) + " | load |")
    print("|---|---|" + "---|" * (len(names) + 1))
    lines = []
    for preset in options.presets:
        for batch in options.batches:
            own = {"preset": preset, "batch": batch, "items": options.items}
            own |= {"negatives": options.negatives, "steps": options.steps}
            best, loads = [float("inf")] * len(ways), []
            for _ in range(options.repeats):
                for place, (number, threads) in enumerate(ways):
                    loads.append(os.getloadavg()[0])
                    found = contender(number, own | {"threads": threads})
                    best[place] = min(best[place], found)
            lines.append(own | {"ms": dict(zip(names, best, strict=True)), "loads": loads})
            figures = " | ".join(f"{ms:.1f}" for ms in best)
            print(
                f"| {preset} | {batch} | {figures} | {min(loads):.1f}-{max(loads):.1f} |",
                flush=True,
            )
    facts = about()
    print(" · ".join(f"{name}: {value}" for name, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "lines": lines}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
