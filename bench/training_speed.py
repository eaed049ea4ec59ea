"""How fast does moerec train, beside RecTools' SASRec? Real events a second, same machine, same run.

    python bench/training_speed.py [LOG] [--rectools-python PATH | --without-rectools] [--json FILE]

Both sides get the same sequences (a user's last LENGTH + 1 training events; leave-one-out), width, depth,
heads, dropout, learning rate, cores, and sequences a step. A real event is a position with a target;
padding is not counted. RecTools pads every sequence to LENGTH on the left; moerec sorts by length within
pools and pads to the longest of a step: what each side makes of its padding is its own cost or gain.
A step of moerec has at most so many padded events that an epoch has as many steps as RecTools'.
moerec trains the preset of the log, on as many processes as `moerec train` would start here (--processes
tries others); what the sides share is the preset's too, unless given. RecTools is tried
with each number of loader workers and threads, with the full softmax, and if --negatives is given also
with its sampled softmax; its fastest counts. Each measurement is a fresh start; sides take turns.
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
from pathlib import Path
from typing import Any

import numpy as np
from _environment import python_with
from _machine import ROOT, about
from _speed_sequences import (
    Arrays,
    events_of_a_step,
    newest,
    sequences_of_log,
    synthetic_sequences,
)

sys.path.insert(0, str(ROOT))

from moerec.cli.options import processes
from moerec.training.config import LogSize, presets

HERE = Path(__file__).resolve().parent
RECTOOLS = "rectools[torch]==0.19.0"

Options = dict[str, Any]
Runs = dict[str, list[dict[str, Any]]]


def choose(options: argparse.Namespace, sequences: Arrays) -> tuple[Options, Arrays]:
    """What both sides get: the preset of the log where the command line says nothing else.

    And the sequences, cut to the length.
    """
    bounds, items = sequences["offsets"], int(sequences["catalogue"])
    size = LogSize(int(bounds[-1]), len(bounds) - 1, items, bool(sequences["timed"]))
    model, training = presets(size, seed=options.seed)
    shape = {
        name: getattr(model, name) if given is None else given
        for name in ("dim", "layers", "heads", "dropout")
        for given in [getattr(options, name)]
    }
    length = options.length or training.length
    sequences = newest(sequences, length + 1)
    settings = shape | {
        "length": length,
        # What reaches a row through all layers must lie within the length.
        "window": min(model.window, (length - 1) // shape["layers"] + 1),
        # The experts keep their width in proportion.
        "expert_dim": model.expert_dim * shape["dim"] // model.dim,
        "batch_events": events_of_a_step(sequences, length, options.batch, options.seed),
        "negatives": options.negatives,
        # The same at all steps, as RecTools has it.
        "learning_rate": options.learning_rate,
        "warmup_steps": 0,
        "final_rate": 1.0,
    }
    steps = options.warmup + options.steps
    epochs = max(training.epochs, steps * options.batch // len(sequences["offsets"]) + 2)
    given = ("batch", "learning_rate", "negatives", "warmup", "steps", "seed")
    shared = shape | {"length": length} | {name: getattr(options, name) for name in given}
    return shared | {"settings": settings, "epochs": epochs}, sequences


def measure(python: str, script: str, sequences: Path, options: Options) -> dict[str, Any]:
    """One fresh start; its figures after the warm-up."""
    ours = ("PYTHONPATH", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    if script == "_speed_moerec.py":
        # What its command line sets; it chooses the number of its threads itself.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(ROOT)
    else:
        environment["OMP_NUM_THREADS"] = str(options["threads"])
    command = [python, str(HERE / script), str(sequences), json.dumps(options)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    warmup = options["warmup"]
    seconds = found["ends"][-1] - found["ends"][warmup - 1]
    tenth = max(len(found["losses"]) // 10, 1)
    return {
        "events_a_second": sum(found["events"][warmup:]) / seconds,
        "first_loss": statistics.fmean(found["losses"][:tenth]),
        "last_loss": statistics.fmean(found["losses"][-tenth:]),
        "events_an_epoch": found["events_an_epoch"],
        "processes": found.get("processes", 1),
        "versions": {name: found[name] for name in ("torch", "rectools") if name in found},
    }


def contenders(options: argparse.Namespace) -> list[tuple[str, str, Options]]:
    """(label, script, what is its own) of everything that is measured."""
    softmax = f"{options.negatives} shared negatives" if options.negatives else "full softmax"
    found: list[tuple[str, str, Options]] = [
        (
            f"moerec, {softmax}, processes {number or 'auto'}",
            "_speed_moerec.py",
            {"processes": number},
        )
        for number in options.processes
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


def compare(options: argparse.Namespace, shared: Options, sequences: Arrays) -> Runs:
    """All repeats of every contender, taking turns."""
    python = (
        None
        if options.without_rectools
        else python_with([RECTOOLS], "bench-venv", options.rectools_python, ["torch"])
    )
    runs: Runs = {}
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        file = Path(folder) / "sequences.npz"
        np.savez(file, **sequences)  # type: ignore[arg-type]
        for repeat in range(options.repeats):
            for label, script, own in contenders(options):
                program = sys.executable if script == "_speed_moerec.py" else str(python)
                run = measure(program, script, file, shared | own)
                runs.setdefault(label, []).append(run)
                speed = f"{run['events_a_second']:,.0f} events/s, processes {run['processes']}"
                print(f"{repeat + 1}/{options.repeats} {label}: {speed}", file=sys.stderr)
    return runs


def median_speed(runs: list[dict[str, Any]]) -> float:
    """Real events a second."""
    return statistics.median(run["events_a_second"] for run in runs)


def fastest(side: str, runs: Runs) -> str | None:
    """The label of the side's fastest contender; None if it has none."""
    labels = [label for label in runs if label.startswith(side)]
    return max(labels, key=lambda label: median_speed(runs[label]), default=None)


def show(runs: Runs) -> None:
    """A Markdown table, and the ratio of the fastest."""
    print(
        "| | processes | real events/s, median | least to most | loss, first to last tenth |\n"
        "|---|---|---|---|---|"
    )
    for label, repeats in runs.items():
        speeds = [run["events_a_second"] for run in repeats]
        losses = f"{repeats[0]['first_loss']:.3f} to {repeats[0]['last_loss']:.3f}"
        spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
        print(
            f"| {label} | {repeats[0]['processes']} | {median_speed(repeats):,.0f} | {spread} "
            f"| {losses} |"
        )
    ours, theirs = fastest("moerec", runs), fastest("RecTools", runs)
    if ours and theirs:
        ratio = median_speed(runs[ours]) / median_speed(runs[theirs])
        print(f"{ours} against {theirs}: {ratio:.2f}x")
        print(
            "RecTools computes the padding of every sequence to the full length; real events alone "
            "are counted on both sides."
        )


def facts_of(
    options: argparse.Namespace, shared: Options, sequences: Arrays, runs: Runs
) -> dict[str, Any]:
    """What the figures are figures of."""
    users = len(sequences["offsets"]) - 1
    events = int(sequences["offsets"][-1]) - users
    shape = ("dim", "layers", "heads", "length", "batch", "dropout", "learning_rate")
    facts = {
        "log": Path(options.log).name if options.log else "synthetic",
        "sequences": users,
        "items": int(sequences["catalogue"]),
        "real events an epoch": events,
        "of the padded": f"{events / users / shared['length']:.0%}",
        **{name: shared[name] for name in shape},
        "moerec": shared["settings"],
        "steps": f"{options.steps} after {options.warmup} of warm-up",
        "repeats": options.repeats,
    }
    for repeats in runs.values():
        facts |= repeats[0]["versions"]
    return facts | about()


def main() -> int:
    """0 if all learned, on the same events."""
    options = parse()
    if options.log:
        sequences = sequences_of_log(options.log)
    else:
        sequences = synthetic_sequences(options.users, options.items, options.seed)
    shared, sequences = choose(options, sequences)
    runs = compare(options, shared, sequences)
    show(runs)
    facts = facts_of(options, shared, sequences, runs)
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "runs": runs}, indent=2) + "\n")
    every = [run for repeats in runs.values() for run in repeats]
    if any(run["last_loss"] >= run["first_loss"] for run in every):
        print("a side did not learn: its loss did not fall", file=sys.stderr)
        return 1
    if any(run["events_an_epoch"] != facts["real events an epoch"] for run in every):
        print("the sides did not have the same events", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", nargs="?", metavar="LOG")
    parser.add_argument(
        "--rectools-python", metavar="PATH", help="python of an environment with RecTools"
    )
    parser.add_argument("--without-rectools", action="store_true", help="measure moerec alone")
    for name, default in (
        ("batch", 128), ("negatives", 0), ("steps", 40), ("warmup", 5), ("repeats", 3), ("seed", 0),
        ("users", 4_000), ("items", 3_000),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    for name in ("dim", "layers", "heads", "length"):
        parser.add_argument(f"--{name}", type=int, help="default: the preset's for this log")
    parser.add_argument("--dropout", type=float, help="default: the preset's for this log")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--processes",
        type=processes,
        nargs="+",
        default=[None],
        help="of moerec, each is tried (default auto)",
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[cores], help="of RecTools, each is tried"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1], help="of RecTools, likewise"
    )
    parser.add_argument("--json", type=Path, help="write all figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
