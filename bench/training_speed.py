"""How fast does moerec train, beside RecTools' SASRec? Real events a second, same machine, same run.

    python bench/training_speed.py [LOG] [--rectools-python PATH | --without-rectools] [--json FILE]

Both sides get the same sequences (a user's last LENGTH + 1 training events; leave-one-out), width, depth,
heads, dropout, learning rate, threads and sequences a step. A real event is a position with a target;
padding is not counted. RecTools pads every sequence to LENGTH on the left; moerec sorts by length within
pools and pads to the longest of a step: what each side makes of its padding is its own cost or gain.
moerec trains the preset of the log: 8 experts, attention window and loss included. RecTools is tried
with each number of loader workers and threads, with the full softmax, and if --negatives is given also
with its sampled softmax; its fastest counts. Each measurement is a fresh process; sides take turns.
Without LOG a synthetic one is made. Exit code 1 if a side did not learn or had other events than the log.

RecTools lives in an environment of its own, .moerec/bench-venv, which is made on first use.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

import numpy as np
from _machine import ROOT, about
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.data.id_map import build_id_map
from moerec.data.interactions import read_interactions
from moerec.data.sequences import build_histories
from moerec.data.split import leave_one_out

HERE = Path(__file__).resolve().parent
RECTOOLS = "rectools[torch]==0.19.0"
ENVIRONMENT = ROOT / ".moerec" / "bench-venv"

Arrays = dict[str, NDArray[np.generic]]
Options = dict[str, object]


def sequences_of_log(log: str, length: int) -> Arrays:
    """The last `length` + 1 training events of every user who has two."""
    interactions = read_interactions(log)
    histories = build_histories(interactions, build_id_map(interactions))
    trained = leave_one_out(histories).train_lengths.astype(np.int64)
    ends = histories.offsets[:-1] + trained
    kept = np.where(trained >= 2, np.minimum(trained, length + 1), 0)
    place = np.concatenate(
        [np.arange(end - count, end) for end, count in zip(ends, kept, strict=True)]
    ).astype(np.int64)
    return arrays(
        histories.items[place], kept[kept > 0], histories.timestamps[place], histories.values[place]
    )


def synthetic_sequences(users: int, items: int, length: int, seed: int) -> Arrays:
    """Users who walk among neighbouring items, popular ones more often; half are shorter than 40."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(40), 1.0, users), 2, length + 1).astype(np.int64)
    start = np.repeat(items * rng.random(users) ** 2, lengths)
    walk = (start + rng.normal(0, 5, lengths.sum())).astype(np.int64) % items
    times = np.cumsum(rng.integers(60_000, 600_000, lengths.sum()))
    return arrays(walk, lengths, times, np.full(lengths.sum(), np.nan))


def arrays(
    items: NDArray[np.generic],
    lengths: NDArray[np.int64],
    timestamps: NDArray[np.generic],
    values: NDArray[np.generic],
) -> Arrays:
    """What both sides read. Items are numbered 1..V anew: those that occur are the catalogue."""
    known, numbers = np.unique(items, return_inverse=True)
    return {
        "items": (numbers + 1).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "timestamps": timestamps.astype(np.int64),
        "values": values.astype(np.float32),
        "catalogue": np.array(len(known)),
    }


def rectools_python(given: str | None) -> str:
    """The interpreter that has RecTools: the one given, or that of an environment made for it."""
    if given is not None:
        if not Path(given).is_file():
            sys.exit(f"there is no {given}: give the python of an environment with {RECTOOLS}")
        return given
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"making {ENVIRONMENT} with {RECTOOLS}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        # The same torch as here, and before RecTools, which would choose another.
        for wanted in (f"torch=={version('torch').partition('+')[0]}", RECTOOLS):
            subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True)
    return str(python)


def measure(python: str, script: str, sequences: Path, options: Options) -> dict[str, object]:
    """One fresh process; its figures after the warm-up."""
    threads = str(options["threads"])
    # Each side's own habits: moerec's command line sets this, RecTools leaves torch as it is.
    habits = {"OMP_WAIT_POLICY": "PASSIVE"} if script == "_speed_moerec.py" else {}
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OMP_WAIT_POLICY")
    }
    environment |= {"OMP_NUM_THREADS": threads, **habits}
    command = [python, str(HERE / script), str(sequences), json.dumps(options)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    warmup = int(str(options["warmup"]))
    seconds = found["ends"][-1] - found["ends"][warmup - 1]
    tenth = max(len(found["losses"]) // 10, 1)
    return {
        "events_a_second": sum(found["events"][warmup:]) / seconds,
        "first_loss": statistics.fmean(found["losses"][:tenth]),
        "last_loss": statistics.fmean(found["losses"][-tenth:]),
        "events_an_epoch": found["events_an_epoch"],
        "versions": {name: found[name] for name in ("torch", "rectools") if name in found},
    }


def contenders(options: argparse.Namespace) -> list[tuple[str, str, Options]]:
    """(label, script, what is its own) of everything that is measured."""
    softmax = f"{options.negatives} shared negatives" if options.negatives else "full softmax"
    found: list[tuple[str, str, Options]] = [
        (f"moerec, {softmax}, threads {threads}", "_speed_moerec.py", {"threads": threads})
        for threads in options.threads
    ]
    if options.without_rectools:
        return found
    losses = {"softmax": "full softmax"}
    if options.negatives:
        losses["sampled_softmax"] = f"{options.negatives} negatives a position"
    return found + [
        (
            f"RecTools SASRec, {words}, threads {threads}, workers {workers}",
            "_speed_rectools.py",
            {"threads": threads, "loss": loss, "workers": workers},
        )
        for loss, words in losses.items()
        for threads in options.threads
        for workers in options.workers
    ]


def compare(options: argparse.Namespace, sequences: Arrays) -> dict[str, list[dict[str, object]]]:
    """All repeats of every contender, taking turns."""
    shared = {
        name: getattr(options, name)
        for name in (
            "dim", "layers", "heads", "length", "batch", "dropout", "learning_rate",
            "negatives", "warmup", "steps", "seed",
        )
    }  # fmt: skip
    python = None if options.without_rectools else rectools_python(options.rectools_python)
    runs: dict[str, list[dict[str, object]]] = {}
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        file = Path(folder) / "sequences.npz"
        np.savez(file, **sequences)  # type: ignore[arg-type]
        for repeat in range(options.repeats):
            for label, script, own in contenders(options):
                program = sys.executable if script == "_speed_moerec.py" else str(python)
                run = measure(program, script, file, shared | own)
                runs.setdefault(label, []).append(run)
                speed = f"{run['events_a_second']:,.0f} events/s"
                print(f"{repeat + 1}/{options.repeats} {label}: {speed}", file=sys.stderr)
    return runs


def median_speed(runs: list[dict[str, object]]) -> float:
    """Real events a second."""
    return statistics.median(float(str(run["events_a_second"])) for run in runs)


def show(options: argparse.Namespace, runs: dict[str, list[dict[str, object]]]) -> None:
    """A Markdown table, what was compared, and the ratio of the fastest."""
    print("| | real events/s, median | least to most | loss, first to last tenth |")
    print("|---|---|---|---|")
    for label, repeats in runs.items():
        speeds = [float(str(run["events_a_second"])) for run in repeats]
        losses = f"{repeats[0]['first_loss']:.3f} to {repeats[0]['last_loss']:.3f}"
        spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
        print(f"| {label} | {median_speed(repeats):,.0f} | {spread} | {losses} |")
    best = {
        side: max(
            (label for label in runs if label.startswith(side)), key=lambda x: median_speed(runs[x])
        )
        for side in ("moerec", "RecTools")
        if any(label.startswith(side) for label in runs)
    }
    if len(best) == 2:
        ratio = median_speed(runs[best["moerec"]]) / median_speed(runs[best["RecTools"]])
        print(f"fastest against fastest ({best['RecTools']}): {ratio:.2f}x")
        print(
            "RecTools computes the padding of every sequence to the full length; real events alone "
            "are counted on both sides."
        )
    shown = ("dim", "layers", "heads", "length", "batch", "dropout", "learning_rate")
    print(", ".join(f"{name} {getattr(options, name)}" for name in shown), end="")
    print(f"; {options.steps} steps after {options.warmup} of warm-up, {options.repeats} repeats")


def main() -> int:
    """0 if all learned, on the same events."""
    options = parse()
    if options.log:
        sequences = sequences_of_log(options.log, options.length)
    else:
        sequences = synthetic_sequences(options.users, options.items, options.length, options.seed)
    runs = compare(options, sequences)
    show(options, runs)
    users = len(sequences["offsets"]) - 1
    every = [run for repeats in runs.values() for run in repeats]
    events = int(sequences["offsets"][-1]) - users
    facts = {
        "log": Path(options.log).name if options.log else "synthetic",
        "sequences": users,
        "items": int(sequences["catalogue"]),
        "real events an epoch": events,
        "of the padded": f"{events / users / options.length:.0%}",
    }
    for run in every:
        facts |= run["versions"]  # type: ignore[arg-type]
    facts |= about()
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "runs": runs}, indent=2) + "\n")
    learned = all(float(str(run["last_loss"])) < float(str(run["first_loss"])) for run in every)
    if not learned:
        print("a side did not learn: its loss did not fall", file=sys.stderr)
    same = all(run["events_an_epoch"] == events for run in every)
    if not same:
        print("the sides did not have the same events", file=sys.stderr)
    return int(not (learned and same))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", nargs="?", metavar="LOG")
    parser.add_argument(
        "--rectools-python", metavar="PATH", help="python of an environment with RecTools"
    )
    parser.add_argument("--without-rectools", action="store_true", help="measure moerec alone")
    for name, default in (
        ("dim", 64), ("layers", 2), ("heads", 2), ("length", 200), ("batch", 128), ("negatives", 0),
        ("steps", 40), ("warmup", 5), ("repeats", 3), ("seed", 0), ("users", 4_000), ("items", 3_000),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, nargs="+", default=[cores], help="each is tried")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1], help="each is tried")
    parser.add_argument("--json", type=Path, help="write all figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
