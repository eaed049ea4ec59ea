"""How good the lists are: `moerec train` and `moerec evaluate` on a log, one command a row of the table.

    python bench/quality.py LOG [--items FILE] [--preset NAME] [--set NAME=VALUE ...] [--twin TWIN]
        [--seeds 0 1 2] [--data NAME] [--threads N] [--processes N] [--json FILE]
        [--validation-only] [-- TRAIN OPTIONS]

Runs the commands as a user would, one seed after the other. Each run is added to the JSON-lines FILE as soon
as it is finished; its bundle, and the rank of each user's test item, stay in folders beside FILE. A run that
was stopped is resumed by the same command, and one whose line is there is not repeated unless --again. At the
end the table of all runs in FILE is printed; `compare.py` compares two of its models user by user.

The validation figures are for choosing, the test figures for telling: --validation-only leaves the latter
out, and the same command without it adds them later, from the same bundle. Mean k and the encoder's cost are
those of the very bundle that was ranked.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _command import moerec
from _machine import ROOT, about
from _results import Run, append_run, label, read_runs, table

RUNS = ROOT / ".moerec" / "quality" / "runs.jsonl"


def train(options: argparse.Namespace, seed: int, bundle: Path) -> float | None:
    """Minutes; None for a training that went on from a checkpoint, whose beginning nobody timed."""
    command = ["train", options.log, "--out", str(bundle), "--seed", str(seed), "--replace"]
    command += [f"--preset={options.preset}", *(f"--set={one}" for one in options.settings)]
    command += [f"--twin={options.twin}"] if options.twin else []
    command += [f"--processes={options.processes}"] if options.processes else []
    command += [f"--items={options.items}"] if options.items else []
    resumes = bundle.with_name(bundle.name + ".checkpoint").exists()
    start = time.perf_counter()
    command += ["--resume"] if resumes else []
    moerec(*command, *options.train_options, threads=options.threads)
    return None if resumes else round((time.perf_counter() - start) / 60, 1)


def evaluate(options: argparse.Namespace, bundle: Path, part: str, *more: str) -> dict[str, Any]:
    """The document of `moerec evaluate --json`."""
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        figures = Path(folder) / "figures.json"
        command = ["evaluate", str(bundle), options.log, "--split", part, "--json", str(figures)]
        moerec(*command, *more, threads=options.threads)
        found: dict[str, Any] = json.loads(figures.read_text())
    return found


def measure(options: argparse.Namespace, model: str, seed: int, earlier: Run | None) -> Run:
    """Train and evaluate once; what an `earlier` run has trained is evaluated alone."""
    folder: Path = options.json.parent
    name = re.sub(r"[^\w.=+-]+", "_", f"{options.data}-{model}-{seed}")
    bundle, ranks = folder / "bundles" / name, folder / "ranks" / f"{name}.csv"
    ranks.parent.mkdir(parents=True, exist_ok=True)
    facts = about()
    if earlier and bundle.exists():
        minutes, facts["commit"] = earlier["train_minutes"], earlier["commit"]
    else:
        minutes = train(options, seed, bundle)
    validation = evaluate(options, bundle, "validation", "--baselines=none", "--experts")
    sys.path.insert(0, str(ROOT))
    from moerec.models.config import ModelConfig
    from moerec.models.flops import describe_encoder

    results: dict[str, Any] = {}
    if not options.validation_only:
        results = evaluate(
            options, bundle, "test", "--baselines", options.baselines, f"--ranks={ranks}"
        )["results"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    config = ModelConfig.from_dict(json.loads((bundle / "config.json").read_text()))
    experts = validation["experts"]
    return {
        "data": options.data,
        "model": model,
        "seed": seed,
        "log": Path(options.log).name,
        "items": Path(options.items).name if options.items else None,
        "variant": manifest["training"]["variant"],
        "train_options": options.train_options,
        "threads": options.threads,
        "processes": manifest["training"].get("processes", 1),
        "train_minutes": minutes,
        "epochs": manifest["metrics"]["epochs"],
        "best_epoch": manifest["training"]["best_epoch"],
        "transition_share": manifest["metrics"]["transition_share"],
        "validation": validation["results"]["moerec"],
        "test": results.pop("moerec", None),
        "baselines": results,
        "users": validation["users"],
        "encoder": describe_encoder(config, experts["mean_experts"]),
        "largest_share": experts["largest_share"],
        "dead_experts": len(experts["dead_experts"]),
        "bundle": str(bundle.relative_to(folder)),
        "ranks": str(ranks.relative_to(folder)),
    } | facts


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; what comes after "--" is for `moerec train`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("--items", metavar="FILE")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    parser.add_argument("--twin", metavar="total|active|WIDTH")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data", help="what the table calls the log (default: its file's name)")
    parser.add_argument("--threads", type=int, help="of each command (OMP_NUM_THREADS)")
    parser.add_argument("--processes", type=int, help="of each training (default: as many as pay)")
    parser.add_argument("--baselines", choices=("all", "fast", "none"), default="fast")
    parser.add_argument("--json", type=Path, default=RUNS, metavar="FILE", help=f"default: {RUNS}")
    parser.add_argument("--validation-only", action="store_true")
    parser.add_argument("--again", action="store_true", help="also what FILE has already")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    options.train_options = arguments[cut + 1 :]
    options.data = options.data or Path(options.log).name.partition(".")[0]
    return options


def main() -> int:
    """0 when every run went through."""
    options = parse(sys.argv[1:])
    extra = [*(["with items"] if options.items else []), *options.train_options]
    settings = dict(one.partition("=")[::2] for one in options.settings)
    model = label(options.preset, settings, options.twin, extra)
    known = read_runs(options.json) if options.json.exists() else []
    mine = (
        []
        if options.again
        else [run for run in known if (run["data"], run["model"]) == (options.data, model)]
    )
    earlier = {run["seed"]: run for run in mine}
    for seed in options.seeds:
        run = earlier.get(seed)
        if run and (run["test"] or options.validation_only):
            print(
                f"{options.data}, {model}, seed {seed} is in {options.json} already; --again repeats it"
            )
            continue
        try:
            append_run(options.json, measure(options, model, seed, run))
        except subprocess.CalledProcessError as error:
            return int(error.returncode)
    print("\n".join(table(read_runs(options.json))))
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
