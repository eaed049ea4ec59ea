"""How good the lists are: `moerec train` and `moerec evaluate --split test` on the logs you name.

    python bench/quality.py LOG [LOG ...] [--seeds 0 1 2] [--json FILE] [-- TRAIN OPTIONS]

Runs the two commands as a user would, with the presets, one seed after the other, and prints a Markdown
row a scorer and seed: HR@10, NDCG@10, MRR@10, coverage, mean percentile, minutes of training.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import ROOT, about

COLUMNS = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "percentile_mean")


def moerec(*arguments: str) -> None:
    """Run one command of the package in this tree; its output stays visible."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "moerec", *arguments]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})


def measure(log: str, seed: int, train_options: list[str]) -> dict[str, object]:
    """Train and evaluate once."""
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        bundle, figures = str(Path(folder) / "bundle"), str(Path(folder) / "figures.json")
        start = time.perf_counter()
        moerec("train", log, "--out", bundle, "--seed", str(seed), *train_options)
        minutes = (time.perf_counter() - start) / 60
        moerec("evaluate", bundle, log, "--split", "test", "--json", figures)
        found = json.loads(Path(figures).read_text())
        manifest = json.loads((Path(bundle) / "manifest.json").read_text())
    return {
        "log": Path(log).name,
        "seed": seed,
        "train_minutes": round(minutes, 1),
        "epochs": manifest["metrics"]["epochs"],
        "users": found["users"],
        "results": found["results"],
    } | about()


def rows(run: dict[str, object]) -> list[str]:
    """Markdown rows of a run."""
    lines = []
    for name, summary in run["results"].items():  # type: ignore[attr-defined]
        cells = " | ".join(f"{summary[column]:.4f}" for column in COLUMNS)
        minutes = f"{run['train_minutes']}" if name == "moerec" else "-"
        lines.append(f"| {run['log']} | {name} | {run['seed']} | {cells} | {minutes} |")
    return lines


def main() -> int:
    """0 when every run went through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="LOG")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path, help="write all figures")
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    runs = [
        measure(log, seed, arguments[cut + 1 :]) for log in options.logs for seed in options.seeds
    ]
    print("| log | scorer | seed | " + " | ".join(COLUMNS) + " | minutes |")
    print("|---" * (len(COLUMNS) + 4) + "|")
    for run in runs:
        print("\n".join(rows(run)))
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
