"""Runs of `quality.py` side by side: the table of all, or model A against model B, user by user.

    python bench/compare.py RUNS.jsonl
    python bench/compare.py RUNS.jsonl A B [--data NAME] [--metric ndcg@10 ...]

A and B are names of the table's second column, like "auto" and "auto twin=total". For each data set that has
both: mean and deviation over seeds, the difference, and its 95 % interval by a paired bootstrap over users
(10,000 resamples). A user counts with the mean over the seeds of a model, so the interval says how much the
choice of users matters, and the deviation how much the seeds do.
"""

import argparse
import sys
from pathlib import Path

from _results import Run, mean_gains, paired_bootstrap, read_ranks, read_runs, spread, table

METRICS = ("ndcg@10", "hr@10")


def compare(folder: Path, a: list[Run], b: list[Run], metric: str) -> str:
    """One line of Markdown."""
    ranks = [[read_ranks(folder / run["ranks"]) for run in runs] for runs in (a, b)]
    users = sorted(set.intersection(*(set(found) for side in ranks for found in side)))
    found = paired_bootstrap(*(mean_gains(side, users, metric) for side in ranks))
    seeds = [spread([run["test"][metric] for run in runs], 4) for runs in (a, b)]
    low, high = found.relative_interval
    return (
        f"| {a[0]['data']} | {metric} | {a[0]['model']}: {seeds[0]} ({len(a)}) "
        f"| {b[0]['model']}: {seeds[1]} ({len(b)}) "
        f"| {found.absolute:+.4f} [{found.interval[0]:+.4f}, {found.interval[1]:+.4f}] "
        f"| {found.relative:+.1%} [{low:+.1%}, {high:+.1%}] | {len(users):,} |"
    )


def main() -> int:
    """0 if there was something to show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, metavar="RUNS.jsonl")
    parser.add_argument("models", nargs="*", metavar="A B")
    parser.add_argument("--data", help="this data set alone")
    parser.add_argument("--metric", nargs="+", default=METRICS)
    options = parser.parse_args()
    if len(options.models) not in (0, 2):
        parser.error("give two models, or none for the table of all")
    runs = [run for run in read_runs(options.runs) if options.data in (None, run["data"])]
    if not options.models:
        print("\n".join(table(runs)))
        return 0
    sides = [
        {data: [run for run in runs if (run["data"], run["model"]) == (data, model) and run["test"]]
         for data in {run["data"] for run in runs}}
        for model in options.models
    ]  # fmt: skip
    shared = sorted(data for data in sides[0] if sides[0][data] and sides[1][data])
    if not shared:
        known = sorted({run["model"] for run in runs})
        print(f"no data set has both; the models are: {', '.join(known)}", file=sys.stderr)
        return 1
    print("| data | | A (seeds) | B (seeds) | A - B [95 %] | A / B - 1 [95 %] | users |")
    print("|---" * 7 + "|")
    for data in shared:
        for metric in options.metric:
            print(compare(options.runs.parent, sides[0][data], sides[1][data], metric))
    return 0


if __name__ == "__main__":
    sys.exit(main())
