"""What a new event costs where the user's state is kept, beside reading the history again.

    python bench/streaming.py LOG BUNDLE [TWIN_BUNDLE ...] [--batch 64] [--history 200 ...] [--window W ...]
        [--state int8] [--repeats 100]

Users are those of LOG with enough events, or the longest histories there are, repeated up to `--history`
events; for a bundle of `moerec bench serving`, LOG is the word `synthetic`. For each bundle, each length of
history and each window, in turns, one thread, processor time (median over the repeats, best, worst):

* streamed: one new event of `--batch` users, of `--users` whose states are kept, to their new vectors;
* rebuilt: the state of `--batch` users from their last `--history` events, by the same kernels;
* replayed: the same by `MoERecommender.user_vectors`, the reference.

The vectors of the three are compared. The first bundle's figures are set against those of each other one.
With `--window` a bundle's model looks that far, with the weights that it has: nobody trained it so, and its
cost is all that is told of it.
Exit code 1 if a streamed vector is not the replayed one, up to the rounding of the kept state.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import ROOT, about
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.data.interactions import read_interactions
from moerec.data.sequences import build_histories
from moerec.engine.encoders import Encoder, ReplayEncoder, StreamedEncoder
from moerec.engine.kernels.rows import bytes_a_user
from moerec.engine.state import Past, PastEvent, UserState
from moerec.loadtest.synthetic import World
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender

WAYS = ("streamed", "rebuilt", "replayed")
TOLERANCE = {"float32": 1e-4, "int8": 0.1}
"""Of a coordinate of a vector of length 1."""

SYNTHETIC_EVENTS = 50
"""Of a user of `moerec bench serving`, at most."""


@dataclass(slots=True)
class Measured:
    """One bundle's encoders and users; processor microseconds a user, by way."""

    name: str
    history: int
    window: int
    streamed: StreamedEncoder
    replay: ReplayEncoder
    reach: int
    bytes_a_user: int
    states: list[UserState]
    pasts: list[list[PastEvent]]
    times: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    worst: float = 0.0


def looking(bundle: Bundle, window: int | None) -> MoERecommender:
    """The bundle's model, with another window if one is given: of what is farther off it knows nothing."""
    config, weights = dict(bundle.config), dict(bundle.weights())
    if window is not None:
        config["window"] = window
        for name, bias in weights.items():
            if name.endswith("distance_bias"):
                weights[name] = np.zeros((len(bias), window), np.float32)
                weights[name][:, : bias.shape[1]] = bias[:, :window]
    return load_model(config, weights)


def load(
    bundle: Bundle,
    pasts: list[list[PastEvent]],
    window: int | None,
    options: argparse.Namespace,
) -> Measured:
    """The bundle's encoders, with the state of every user kept."""
    model, spare = looking(bundle, window), options.batch
    items, reach = model.item_vectors(), model.config.reach
    stored = np.dtype(options.state).type
    streamed = StreamedEncoder(model, items, len(pasts) + spare, stored)
    states = [UserState(Past.of(past, reach)) for past in pasts]
    for first in range(0, len(states), spare):
        streamed.encode(states[first : first + spare])
    return Measured(
        bundle.path.name,
        len(pasts[0]),
        model.config.window,
        streamed,
        ReplayEncoder(model, items),
        reach,
        bytes_a_user(model.config, stored),
        states,
        [list(past) for past in pasts],
    )


def timed(encode: Callable[[], Any], users: int) -> tuple[Any, float]:
    """What it gives, and its processor time in microseconds a user."""
    start = time.thread_time()
    result = encode()
    return result, 1e6 * (time.thread_time() - start) / users


def turn(measured: Measured, chosen: list[int], places: list[int]) -> None:
    """One new event for each of the chosen users, in all three ways: an item of their own history again."""
    states = [measured.states[user] for user in chosen]
    pasts, history = [measured.pasts[user] for user in chosen], measured.history
    for state, past, place in zip(states, pasts, places, strict=True):
        event = PastEvent(past[place].item, 1_700_000_000_000)
        state.append(event)
        past.append(event)

    def fresh() -> list[UserState]:
        return [UserState(Past.of(past[-history:], history)) for past in pasts]

    def run(way: str, encoder: Encoder, asked: list[UserState]) -> NDArray[np.float32]:
        tastes, spent = timed(lambda: encoder.encode(asked), len(asked))
        measured.times[way].append(spent)
        return np.stack([taste.vector for taste in tastes])

    streamed = run("streamed", measured.streamed, states)
    again = fresh()
    run("rebuilt", measured.streamed, again)
    for state in again:
        measured.streamed.release(state)
    run("replayed", measured.replay, fresh())
    # The state has read more than `history` events, and says what all of them say.
    whole = measured.replay.encode([UserState(Past.of(past, measured.reach)) for past in pasts])
    gap = np.abs(streamed - np.stack([taste.vector for taste in whole])).max()
    measured.worst = max(measured.worst, float(gap))


def row(measured: Measured, first: Measured) -> dict[str, Any]:
    """Plain figures; `saved` is what `first` saves of this one's streamed event."""
    figures: dict[str, Any] = {
        "model": measured.name,
        "history": measured.history,
        "window": measured.window,
    }
    for way in WAYS:
        times = measured.times[way]
        figures[way] = {
            "median_us": statistics.median(times),
            "best_us": min(times),
            "worst_us": max(times),
        }
    streamed = figures["streamed"]["median_us"]
    figures["replayed_over_streamed"] = figures["replayed"]["median_us"] / streamed
    figures["bytes_a_user"] = measured.bytes_a_user
    figures["largest_difference"] = measured.worst
    if first is not measured:
        figures["saved"] = 1 - statistics.median(first.times["streamed"]) / streamed
    return figures


def show(rows: list[dict[str, Any]]) -> None:
    """A Markdown table."""
    print(
        "| model | history | window | streamed, us an event (best to worst) | rebuilt, us a user "
        "| replayed, us a user | replayed / streamed | arena bytes a user | first against it "
        "| largest difference |"
    )
    print("|---" * 10 + "|")
    for each in rows:
        streamed = each["streamed"]
        saved = f"{-each['saved']:+.1%}" if "saved" in each else "-"
        print(
            f"| {each['model']} | {each['history']:,} | {each['window']} "
            f"| {streamed['median_us']:.1f} ({streamed['best_us']:.1f} to "
            f"{streamed['worst_us']:.1f}) | {each['rebuilt']['median_us']:.0f} "
            f"| {each['replayed']['median_us']:.0f} | {each['replayed_over_streamed']:.0f}x "
            f"| {each['bytes_a_user']:,} | {saved} | {each['largest_difference']:.1e} |"
        )


def pasts_of(log: str, bundle: Bundle, users: int, length: int) -> list[list[PastEvent]]:
    """The longest histories of the log, repeated up to `length` events and cut to it; times go on."""
    if log == "synthetic":
        ids = sorted(bundle.id_map.ids)
        drawn = World(ids, 0).histories(np.random.default_rng([0, 3]), users, SYNTHETIC_EVENTS)
        index_of = bundle.id_map.indexes(ids)
        return [repeated(index_of[items], length) for items in drawn]
    histories = build_histories(read_interactions(log), bundle.id_map)
    counts = np.diff(histories.offsets)
    found = []
    for user in np.argsort(-counts, kind="stable")[:users].tolist():
        events = slice(int(histories.offsets[user]), int(histories.offsets[user + 1]))
        items = histories.items[events]
        found.append(repeated(items[items > 0], length))
    return found


def repeated(items: NDArray[np.int32], length: int) -> list[PastEvent]:
    """So many events of these items, again and again, an hour apart."""
    times = 1_600_000_000_000 + 3_600_000 * np.arange(length)
    return [
        PastEvent(*each)
        for each in zip(np.resize(items, length).tolist(), times.tolist(), strict=True)
    ]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--history", type=int, nargs="+", default=[200])
    parser.add_argument("--window", type=int, nargs="+", help="(default: the bundle's own)")
    parser.add_argument("--state", choices=tuple(TOLERANCE), default="int8")
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@torch.inference_mode()
def main() -> int:
    """0 when streamed and replayed vectors are the same."""
    options = parse()
    torch.set_num_threads(1)
    bundles = [read_bundle(path) for path in options.bundles]
    models = []
    for history in options.history:
        pasts = pasts_of(options.log, bundles[0], options.users, history)
        for window, bundle in product(options.window or [None], bundles):
            models.append(load(bundle, pasts, window, options))
    draw = np.random.default_rng(options.seed)
    for number in range(options.repeats + 2):
        chosen = draw.permutation(len(pasts))[: options.batch].tolist()
        places = draw.integers(min(options.history), size=len(chosen)).tolist()
        start = number % len(models)
        for measured in models[start:] + models[:start]:
            turn(measured, chosen, places)
            if number < 2:  # the first ones warm up
                measured.times = {way: [] for way in WAYS}
    # A bundle's figures stand beside those of the first bundle at the same history and window.
    rows = [
        row(measured, models[number - number % len(bundles)])
        for number, measured in enumerate(models)
    ]
    show(rows)
    facts = {"batch": options.batch, "users": len(pasts), "state": options.state} | about()
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"models": rows} | facts, indent=2) + "\n")
    if any(measured.worst > TOLERANCE[options.state] for measured in models):
        print("a streamed vector is not what the history says", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
