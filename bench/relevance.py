"""Relevance on MovieLens-1M: of the held-out films a user rated, are those liked that are ranked first?

    python bench/relevance.py RATINGS [--seeds 0 1 2] [--out FOLDER] [--json FILE] [-- TRAIN OPTIONS]

RATINGS is `interactions_ordered.csv.gz` (columns user,movie,rating,pos). Rows with pos -1, films of under
five ratings, are dropped, the others sorted by user and pos. Then, as a user would: `moerec train --split
user-ratio:0.2 --liked 3` and `moerec evaluate`. P@k is the share of the first k of a user's held-out films
that are rated 3 or more, the mean over users with k held-out films or more. Each run's figures are one line
that is added to the JSON-lines FILE.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from _command import moerec
from _machine import ROOT, about

RUNS = ROOT / ".moerec" / "relevance" / "runs.jsonl"


def write_log(ratings: Path, log: Path) -> None:
    """The ratings in the order of each user's events, without times (pos is a place, not a time)."""
    kept = pl.read_csv(ratings).filter(pl.col("pos") >= 0).sort("user", "pos")
    kept.select(user_id="user", item_id="movie", rating="rating").write_csv(log)


def measure(log: Path, folder: Path, seed: int, train_options: list[str]) -> dict[str, Any]:
    """Train and evaluate once."""
    bundle, figures = folder / f"relevance-{seed}", folder / f"relevance-{seed}.json"
    columns = ["--timestamp", "none", "--value", "rating"]
    command = ["train", str(log), *columns, "--split", "user-ratio:0.2", "--liked", "3"]
    start = time.perf_counter()
    moerec(*command, "--out", str(bundle), "--seed", str(seed), "--replace", *train_options)
    minutes = (time.perf_counter() - start) / 60
    moerec("evaluate", str(bundle), str(log), *columns, "--json", str(figures))
    found = json.loads(figures.read_text())
    manifest = json.loads((bundle / "manifest.json").read_text())
    return {
        "data": "ml-1m",
        "seed": seed,
        "train_options": train_options,
        "train_minutes": round(minutes, 1),
        "epochs": manifest["metrics"]["epochs"],
        "liked_weight": manifest["metrics"]["liked_weight"],
        "relevance": found["relevance"],
        "next_item": found["results"]["moerec"],
    } | about()


def main() -> None:
    """One line a seed."""
    arguments = sys.argv[1:]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="keep log, bundles and figures here")
    parser.add_argument("--json", type=Path, default=RUNS)
    options = parser.parse_args(arguments[:place])
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "ratings.csv"
        write_log(options.ratings, log)
        for seed in options.seeds:
            line = json.dumps(measure(log, folder, seed, arguments[place + 1 :]))
            print(line)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            with options.json.open("a") as runs:
                runs.write(line + "\n")


if __name__ == "__main__":
    main()
