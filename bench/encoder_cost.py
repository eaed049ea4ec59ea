"""What the encoder costs beside its dense twins: multiplications and time of one thread, in turns.

    python bench/encoder_cost.py LOG BUNDLE [TWIN_BUNDLE ...] [--tokens 1600 6400] [--repeats 30]

Encoder: attention, gates, router with the summary of a user's past, and experts, in evaluation mode and
float32, as it serves; no item is scored. The batches are test histories of LOG, neighbours in length together
as when users are scored, the same ones for every model. Routing depends on what was learned, so BUNDLE is a
trained one. The time of a dense model does not depend on its weights: without TWIN_BUNDLE the twins of equal
total parameters and of equal active work are made on the spot.

FLOPs are counted by torch while the batches run, two for a multiplication and addition; k is measured there
too. "wall" is what a clock shows, "processor" what the thread itself used, which other work on the machine
disturbs less; both are medians over the batches. Exit code 1 if two models read different events.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import ROOT, about
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(ROOT))

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.data.interactions import read_interactions
from moerec.data.sequences import History, build_histories
from moerec.data.split import hold_out
from moerec.evaluation.evaluate import cases
from moerec.evaluation.model_scorer import flat_events
from moerec.models.config import ModelConfig
from moerec.models.flops import encoder_cost, equal_active, equal_total
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender

WARMUP = 2
HEADINGS = (
    "events a batch", "model", "hidden width, all experts", "k", "MFLOPs an event", "of a full history",
    "wall ms", "processor ms", "FLOPs of the first against it", "wall", "processor",
)  # fmt: skip


@dataclass(slots=True)
class Measured:
    """One model; seconds of each batch, and sums over the batches."""

    name: str
    model: MoERecommender
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    tokens: int = 0
    flops: int = 0
    awake: float = 0.0

    def row(self, first: "Measured") -> dict[str, Any]:
        """Plain figures; differences are those of `first` against this model."""
        config = self.model.config
        k = self.awake / self.tokens
        reached = 2 * encoder_cost(config, mean_experts=k).total
        figures = {
            "flops_an_event": self.flops / self.tokens,
            "wall_ms": statistics.median(self.wall) * 1e3,
            "processor_ms": statistics.median(self.processor) * 1e3,
        }
        row: dict[str, Any] = {
            "model": self.name,
            "hidden": config.experts * config.expert_dim,
            "mean_experts": k,
            "flops_an_event_of_a_full_history": reached,
            **figures,
        }
        if first is not self:
            other = first.row(first)
            row |= {f"{name}_saved": 1 - other[name] / figures[name] for name in figures}
        return row


def take_batches(
    lengths: NDArray[np.int64], tokens: int, count: int, seed: int
) -> list[NDArray[np.int64]]:
    """Rows of `count` batches of at least `tokens` events (or all): neighbours in length, random places."""
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        # A place by events, not by histories: an event is as likely as any other to be in a batch.
        start = int(
            np.searchsorted(ends, rng.integers(max(int(ends[-1]) - tokens, 0) + 1), "right")
        )
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + tokens)) + 1
        found.append(order[start:end])
    return found


def run(measured: Measured, histories: list[History], *, count: bool) -> None:
    """One batch through one encoder; timed, or with `count` counted."""
    model = measured.model
    windows, prefixes, lengths = model.cut(*flat_events(model, histories))
    vectors = model.item_vectors()
    if count:
        with FlopCounterMode(display=False) as counter:
            _, routings = model(windows, prefixes, vectors_VD=vectors)
        measured.tokens += int(lengths.sum())
        measured.flops += counter.get_total_flops()
        awake = [float(routing.active_NK.sum()) for routing in routings]
        measured.awake += statistics.fmean(awake)
        return
    wall, processor = time.perf_counter(), time.thread_time()
    model(windows, prefixes, vectors_VD=vectors)
    measured.wall.append(time.perf_counter() - wall)
    measured.processor.append(time.thread_time() - processor)


@torch.inference_mode()
def measure(models: list[Measured], batches: list[list[History]]) -> None:
    """All batches through all models, taking turns; who begins changes from batch to batch."""
    for number, histories in enumerate([*batches[:WARMUP], *batches]):
        turn = number % len(models)
        for measured in models[turn:] + models[:turn]:
            run(measured, histories, count=False)
            if number >= WARMUP:
                run(measured, histories, count=True)
    for measured in models:
        del measured.wall[:WARMUP], measured.processor[:WARMUP]


def line_up(bundles: list[Bundle]) -> list[Measured]:
    """The bundle's model and its twins, bundles themselves or made here."""
    found = [
        Measured(bundle.path.name, load_model(bundle.config, bundle.weights()))
        for bundle in bundles
    ]
    if len(bundles) == 1:
        config = ModelConfig.from_dict(bundles[0].config)
        for name, twin in (
            ("equal total", equal_total(config)),
            ("equal active", equal_active(config)),
        ):
            model = MoERecommender(twin).eval()
            model.embedding.load_state_dict(found[0].model.embedding.state_dict())
            found.append(Measured(f"{name}, untrained", model))
    return found


def test_histories(bundle: Bundle, log: str) -> list[History]:
    """The histories that the test asks after, those without a known item left out."""
    interactions = read_interactions(log)
    histories = build_histories(interactions, bundle.id_map)
    held = hold_out(bundle.manifest.held_out, histories, interactions.has_time)
    users, places = held.targets("test")
    return [one for one in cases(histories, users, places.astype(np.int64)).histories if len(one)]


def show(tokens: int, rows: list[dict[str, Any]]) -> None:
    """Markdown rows."""
    for row in rows:
        cells = [
            f"{row['mean_experts']:.3f}",
            f"{row['flops_an_event'] / 1e6:.3f}",
            f"{row['flops_an_event_of_a_full_history'] / 1e6:.3f}",
            f"{row['wall_ms']:.1f}",
            f"{row['processor_ms']:.1f}",
        ]
        for saved in ("flops_an_event_saved", "wall_ms_saved", "processor_ms_saved"):
            cells.append(f"{-row[saved]:+.1%}" if saved in row else "-")
        print(f"| {tokens:,} | {row['model']} | {row['hidden']} | {' | '.join(cells)} |")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--tokens", nargs="+", type=int, default=[1_600, 6_400])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def compare(
    bundles: list[Bundle], histories: list[History], tokens: int, options: argparse.Namespace
) -> list[Measured]:
    """The bundles, and the twins of a single one, on the same batches of so many `tokens`."""
    models = line_up(bundles)
    reach = models[0].model.config.receptive_field
    lengths = np.array([min(len(history), reach) for history in histories], dtype=np.int64)
    chosen = take_batches(lengths, tokens, options.repeats, options.seed)
    measure(models, [[histories[row] for row in rows.tolist()] for rows in chosen])
    return models


def main() -> int:
    """0 when every model has read the same events."""
    options = parse()
    torch.set_num_threads(1)
    bundles = [read_bundle(path) for path in options.bundles]
    histories = test_histories(bundles[0], options.log)
    print(f"| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    found: dict[str, list[dict[str, Any]]] = {}
    differ = False
    for tokens in options.tokens:
        models = compare(bundles, histories, tokens, options)
        found[str(tokens)] = [measured.row(models[0]) for measured in models]
        show(tokens, found[str(tokens)])
        differ |= len({measured.tokens for measured in models}) > 1
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    if options.json:
        options.json.write_text(json.dumps({"batches": found} | about(), indent=2) + "\n")
    if differ:
        print("the models read different events: their receptive fields differ", file=sys.stderr)
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
