"""How long 10 million rows take from a CSV file to histories and a split, and how much memory.

    python bench/prepare.py [--rows 10000000] [--users 200000] [--items 100000] [--seed 0] [--json]

Makes a synthetic log with string ids in a temporary folder (the same bytes for the same seed),
then prepares it in a fresh process and prints seconds per stage and that process's peak memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from _machine import ROOT, about

LIMIT_SECONDS = 60.0
LIMIT_GIB = 4.0


def write_log(path: Path, rows: int, users: int, items: int, seed: int) -> None:
    """A CSV of `rows` events in time order: popularity falls off, activity differs between users."""
    rng = np.random.default_rng(seed)
    start = 1_600_000_000
    times = start + np.sort(rng.integers(0, 100_000_000, rows))
    user = (users * rng.random(rows) ** 1.5).astype(np.int64)
    item = (items * rng.random(rows) ** 2.5).astype(np.int64)
    for first in range(0, rows, 1_000_000):
        part = slice(first, first + 1_000_000)
        table = pl.DataFrame({"user": user[part], "item": item[part], "timestamp": times[part]})
        lines = table.select(
            user_id=pl.format("user-{}", pl.col("user").cast(pl.String).str.zfill(7)),
            item_id=pl.format("item-{}", pl.col("item").cast(pl.String).str.zfill(7)),
            timestamp="timestamp",
        )
        with path.open("ab") as file:
            lines.write_csv(file, include_header=first == 0)


def prepare(path: Path) -> dict[str, object]:
    """Run in the fresh process: file -> Interactions -> IdMap -> Histories -> HoldOut."""
    clock = time.perf_counter
    marks = [clock()]
    from moerec.data.door import check_file
    from moerec.data.id_map import build_id_map
    from moerec.data.interactions import read_interactions
    from moerec.data.sequences import build_histories
    from moerec.data.split import hold_out

    marks.append(clock())
    check_file(path)  # read_interactions does this too: timed alone here, and counted twice
    marks.append(clock())
    interactions = read_interactions(path)
    marks.append(clock())
    id_map = build_id_map(interactions)
    marks.append(clock())
    histories = build_histories(interactions, id_map)
    marks.append(clock())
    hold_out("leave-one-out", histories, interactions.has_time)
    marks.append(clock())
    stages = ("import", "door (alone)", "read and check", "id map", "histories", "hold out")
    seconds = {name: marks[place + 1] - marks[place] for place, name in enumerate(stages)}
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "total_seconds": round(marks[-1] - marks[0], 2),
        "peak_gib": round(peak_kib / 2**20, 2),
        "report": str(interactions.report),
    }


def measure(rows: int, users: int, items: int, seed: int) -> dict[str, object]:
    """Make the log, prepare it in a fresh process, and describe the run."""
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        log = Path(folder) / "log.csv"
        write_log(log, rows, users, items, seed)
        size = log.stat().st_size
        command = [sys.executable, str(Path(__file__).resolve()), "--prepare", str(log)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
    facts = {
        "rows": rows,
        "users": users,
        "items": items,
        "seed": seed,
        "file_mb": round(size / 1e6),
        "polars": pl.__version__,
    }
    return facts | about() | json.loads(result.stdout)


def show(run: dict[str, object]) -> None:
    """Print the run as text."""
    seconds = run.pop("seconds")
    for name, value in run.items():
        print(f"{name:>14}  {value}")
    for name, value in seconds.items():  # type: ignore[attr-defined]
        print(f"{name:>14}  {value:6.2f} s")


def main() -> int:
    """0 if the run kept the limits (60 s and 4 GiB, meant for 10 million rows), else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare is not None:
        print(json.dumps(prepare(options.prepare)))
        return 0
    run = measure(options.rows, options.users, options.items, options.seed)
    kept = (
        float(str(run["total_seconds"])) < LIMIT_SECONDS and float(str(run["peak_gib"])) < LIMIT_GIB
    )
    if options.json:
        print(json.dumps(run, indent=2))
    else:
        show(run)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
