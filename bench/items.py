"""What items that come and go cost: lists, the engine that takes them in, and the service.

    python bench/items.py LOG BUNDLE [--parts lists insert live] [--users 20000] [--json FILE]

* lists: processor time of a list with new items that the index has not met, after the index was made anew of
  all, and without an index, in turns (median over the batches; LOG, `--asked` users as in `bench/lists.py`);
  and the share of the exact lists that they find: below .99 the exit code is 1. New items are some of the
  bundle's with a little noise.
* insert: how long an engine with `--users` users at hand takes changes in, which holds its lock, and how long
  frames wait while an index is made. A bundle without content gives new items no place: their vectors are 0.
* live: over HTTP, from a PUT until its answer, and lists a second with and without `--rate` PUTs a second.

The users of the last two are synthetic ones over the bundle's items; their store is made anew each time.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _items_engine
import _items_lists
import _items_live
import torch
from _machine import about

from moerec.artifacts.bundle import Bundle, read_bundle

PARTS = ("lists", "insert", "live")
LEAST_RECALL = 0.99

LISTS = {
    "items": "",
    "us": "us a list",
    "ratio": "times the first",
    "recall": "recall",
    "new_share": "new items",
}
CHANGES = {"change": "", "cpu_ms": "processor ms", "ms": "ms", "longest_ms": "longest"}
FRAMES = {
    "meanwhile": "meanwhile",
    "seconds": "s",
    "frames": "frames",
    "median_ms": "median ms",
    "p99_ms": "p99",
    "longest_ms": "longest",
}
PUTS = {
    "meanwhile": "meanwhile",
    "count": "PUTs",
    "median_ms": "median ms",
    "p99_ms": "p99",
    "live": "live",
}
UNDER_LOAD = {
    "meanwhile": "meanwhile",
    "a_second": "lists a second",
    "p50": "p50 ms",
    "p99": "p99",
    "max": "longest",
    "errors": "errors",
}


def table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown."""
    lines = [
        f"\n**{title}**\n",
        "| " + " | ".join(columns.values()) + " |",
        "|---" * len(columns) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(shown(row[name]) for name in columns) + " |")
    return "\n".join(lines)


def shown(value: object) -> str:
    """Numbers with three digits or four."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", metavar="LOG", type=Path, help="or the word synthetic")
    parser.add_argument("bundle", metavar="BUNDLE", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--new", nargs="+", type=int, default=[0, 100, 1_000, 4_000])
    parser.add_argument("--asked", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--pages", type=int, default=100, help="of one change")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle, found = read_bundle(options.bundle), dict[str, Any]()
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    print(f"\n{len(bundle.id_map):,} items", "" if bundle.content else "without content")
    if "lists" in options.parts:
        found["lists"] = of_lists(bundle, options)
    with tempfile.TemporaryDirectory() as folder:
        if "insert" in options.parts:
            found["insert"] = of_engine(bundle, options, Path(folder))
        if "live" in options.parts:
            found["live"] = of_service(bundle, options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(found | about(), indent=1) + "\n")
    poor = [row for row in found.get("lists", ()) if row["recall"] < LEAST_RECALL]
    return int(bool(poor))


def of_lists(bundle: Bundle, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The first part."""
    rows = _items_lists.measure(bundle, options)
    if rows:
        print(table(f"Lists of {options.k}", LISTS, rows))
    else:
        print("\nAn engine reads all items of this bundle: no index would be cheaper.")
    return rows


def of_engine(bundle: Bundle, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The second part."""
    changes = _items_engine.Changes()
    with _items_engine.engine_with_users(bundle, options.users, folder) as engine:
        taken_in = _items_engine.measure(engine, changes, options)
        print(table(f"An engine with {options.users:,} users at hand", CHANGES, taken_in))
        frames = _items_engine.index_anew(engine, changes, options)
        print(table(f"Frames of {_items_engine.FRAME} lists", FRAMES, frames))
    return {"changes": taken_in, "frames": frames}


def of_service(bundle: Bundle, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The third part."""
    found = _items_live.measure(bundle, options, folder)
    print(table("From a PUT until its answer", PUTS, found["puts"]))
    print(table(f"Lists, {options.connections} connections", UNDER_LOAD, found["lists"]))
    return found


if __name__ == "__main__":
    sys.exit(main())
