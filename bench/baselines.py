"""How good the baselines are by themselves, without a model: `--baselines all` on the logs you name.

    python bench/baselines.py LOG [LOG ...] [--split leave-one-out] [--json FILE]

The protocol is that of `moerec evaluate --split test`: full ranking, seen items removed, ties against the
scorer, knobs chosen on validation. Nothing is drawn at random but the validation users who choose the
knobs, always the same. Prints a Markdown row a scorer, the knobs, and the seconds of learning and choosing.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from _machine import ROOT, about

sys.path.insert(0, str(ROOT))

from moerec.data.id_map import build_id_map
from moerec.data.interactions import read_interactions
from moerec.data.sequences import build_histories
from moerec.data.split import hold_out
from moerec.evaluation.evaluate import cases, evaluate
from moerec.evaluation.lineup import learn_baselines

COLUMNS = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "percentile_mean")


def measure(log: str, rule: str) -> dict[str, object]:
    """Learn and rank once."""
    interactions = read_interactions(log)
    id_map = build_id_map(interactions)
    histories = build_histories(interactions, id_map)
    held = hold_out(rule, histories, interactions.has_time)
    start = time.perf_counter()
    learned = learn_baselines("all", histories, held, len(id_map))
    seconds = time.perf_counter() - start
    users, places = held.targets("test")
    questions = cases(histories, users, places.astype(np.int64))
    results = {
        scorer.name: evaluate(scorer, questions, len(id_map)).summary for scorer in learned.scorers
    }
    return {
        "log": Path(log).name,
        "users": len(questions),
        "items": len(id_map),
        "learning_seconds": round(seconds, 1),
        "notes": learned.notes,
        "results": results,
    }


def main() -> int:
    """0 when every log went through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="LOG")
    parser.add_argument("--split", default="leave-one-out", metavar="RULE")
    parser.add_argument("--json", type=Path, help="write all figures")
    options = parser.parse_args()
    runs = [measure(log, options.split) for log in options.logs]
    print("| log | scorer | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for run in runs:
        for name, summary in run["results"].items():  # type: ignore[attr-defined]
            cells = " | ".join(f"{summary[column]:.4f}" for column in COLUMNS)
            print(f"| {run['log']} | {name} | {cells} |")
    for run in runs:
        print(f"{run['log']}: {run['users']:,} users, {run['items']:,} items, ", end="")
        print(f"{run['learning_seconds']} s; ", "; ".join(run["notes"]))  # type: ignore[arg-type]
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    if options.json:
        options.json.write_text(json.dumps([run | about() for run in runs], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
