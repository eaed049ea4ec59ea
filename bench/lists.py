"""What a list costs, and whether the index finds what a full search finds.

    python bench/lists.py LOG BUNDLE [--k 10] [--users 2000] [--batch 20] [--repeats 5] [--json FILE]

Users are drawn from LOG; their whole histories lead to their vectors, and are left out of their lists. For a
bundle of `moerec bench serving`, LOG is the word `synthetic`: users of the same world, with 5 to 50 events.
Lists of `--k`, made by reading all items and through the index that an engine would make of the bundle, batch
by batch in turns; one thread, processor time (median over the batches, and the batch that nine of ten are
faster than), and the share of the exact lists that the index finds. Where the engine would have no index,
that is said.
"""

import argparse
import json
import statistics
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _machine import ROOT, about
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.data.interactions import read_interactions
from moerec.data.sequences import build_histories
from moerec.engine.encoders import StreamedEncoder
from moerec.engine.index import make_index
from moerec.engine.retrieval import CompiledRetrieval, List, Retrieval
from moerec.engine.state import Past, PastEvent, Taste, UserState
from moerec.loadtest.synthetic import World, lengths, times
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender

FEWEST_EVENTS, MOST_EVENTS = 5, 50
"""Of a synthetic user."""


class Drawn(NamedTuple):
    """The history of a user: item indexes and UTC ms, oldest first."""

    items: NDArray[np.int64]
    times: NDArray[np.int64]


def from_log(log: Path, bundle: Bundle, users: int, seed: int) -> list[Drawn]:
    """Users of a log who know an item of the bundle."""
    known = build_histories(read_interactions(log), bundle.id_map)
    order = np.random.default_rng(seed).permutation(len(known.users))
    some = order[known.lengths[order] > 0][:users]
    spans = [slice(known.offsets[user], known.offsets[user + 1]) for user in some]
    return [Drawn(known.items[span].astype(np.int64), known.timestamps[span]) for span in spans]


def synthetic(bundle: Bundle, users: int, seed: int) -> list[Drawn]:
    """Users of the world of `moerec bench serving` with this seed, over the bundle's items."""
    draw = np.random.default_rng([seed, 3])
    ids = sorted(bundle.id_map.ids)
    index = {item_id: place + 1 for place, item_id in enumerate(bundle.id_map.ids)}
    index_of = np.array([index[item_id] for item_id in ids])
    items = index_of[World(ids, seed).histories(draw, users, MOST_EVENTS)]
    ends, at = lengths(draw, users, FEWEST_EVENTS, MOST_EVENTS), times(draw, users, MOST_EVENTS)
    return [Drawn(items[user, :end], at[user, :end]) for user, end in enumerate(ends)]


def tastes_of(model: MoERecommender, users: Sequence[Drawn], batch: int) -> list[Taste]:
    """The tastes after the whole histories."""
    encoder, tastes = StreamedEncoder(model, model.item_vectors(), batch), list[Taste]()
    for first in range(0, len(users), batch):
        states = []
        for items, at in users[first : first + batch]:
            past = map(PastEvent, items.tolist(), at.tolist())
            states.append(UserState(Past.of(past, model.config.reach)))
        tastes += encoder.encode(states)
        for state in states:
            encoder.release(state)
    return tastes


def timed(
    retrieval: Retrieval, tastes: list[Taste], seen: list["array[int]"], k: int
) -> tuple[list[List], float]:
    """Lists, and the processor time of one in microseconds."""
    start = time.thread_time()
    found = retrieval.lists(tastes, seen, [k] * len(tastes))
    return found, 1e6 * (time.thread_time() - start) / len(tastes)


@torch.inference_mode()
def measure(bundle: Bundle, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one bundle."""
    model = load_model(bundle.config, bundle.weights())
    drawn = (
        synthetic(bundle, options.users, options.seed)
        if str(options.log) == "synthetic"
        else from_log(options.log, bundle, options.users, options.seed)
    )
    seen = [array("i", user.items.tolist()) for user in drawn]
    tastes, sample = tastes_of(model, drawn, options.batch), bundle.user_sample()
    begun, items = time.perf_counter(), model.item_vectors()
    index = None
    if sample is not None:
        index = make_index(items, sample, model.transitions, model.config.temperature)
    made_s = time.perf_counter() - begun
    ways = {"exact": CompiledRetrieval(model, items)}
    if index is not None and len(index.centroids_CD):
        ways["index"] = CompiledRetrieval(model, items, index)
    spent_us: dict[str, list[float]] = {name: [] for name in ways}
    shares: list[float] = []
    for turn in range(options.repeats):
        for first in range(0, len(tastes), options.batch):
            span, found = slice(first, first + options.batch), {}
            for name, retrieval in ways.items():
                found[name], spent = timed(retrieval, tastes[span], seen[span], options.k)
                spent_us[name].append(spent)
            if not turn and "index" in found:
                pairs = zip(found["index"], found["exact"], strict=True)
                shares += [
                    len({*ours} & {*theirs}) / len(theirs) for (ours, _), (theirs, _) in pairs
                ]
    figures: dict[str, Any] = {"items": model.config.items, "dim": model.config.dim}
    for name, each in spent_us.items():
        figures |= {f"{name}_us": statistics.median(each)}
        figures |= {f"{name}_p90_us": statistics.quantiles(each, n=10)[-1]}
    if index is not None and "index" in ways:
        figures |= {f"recall@{options.k}": statistics.mean(shares), "made_s": made_s}
        figures |= {"cells": len(index.centroids_CD)}
        figures |= {"index_mib": sum(each.nbytes for each in index) / 2**20}
    return figures


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", metavar="LOG", type=Path, help="or the word synthetic")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(read_bundle(options.bundle), options)
    for name, value in figures.items():
        print(f"{name:12} {value:,.4g}" if isinstance(value, float) else f"{name:12} {value:,}")
    if "index_us" not in figures:
        print("An engine reads all items of this bundle: no index would be cheaper.")
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    if options.json:
        options.json.write_text(json.dumps(figures | about(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
