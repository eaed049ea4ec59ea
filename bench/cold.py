"""Can items be recommended that nobody has seen? Trained without a tenth of the items, asked for them.

    python bench/cold.py LOG ITEMS [--seeds 0] [--epochs N] [--json FILE] [--skip-warm]

A tenth of the items, chosen by a hash of their ids, is cold: all their events leave the log before
training. Asked is, for every event on a cold item of a user with known items before it, at which rank
it stands in the whole catalogue: after the known items of the history, all seen items removed, ties
against the scorer. Beside the model stand content-kNN and popularity. Then the usual leave-one-out
evaluation of the whole log, trained with the item file and without: what content costs the known items.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl
from _machine import about
from numpy.typing import NDArray

from moerec.artifacts.bundle import Bundle
from moerec.data.id_map import IdMap
from moerec.data.interactions import Interactions, read_interactions
from moerec.data.item_features import item_features
from moerec.data.items import ItemTable, read_items
from moerec.data.sequences import Histories, History, build_histories
from moerec.evaluation.baselines import ContentNeighbours, Popularity, item_counts
from moerec.evaluation.evaluate import Cases, Scorer, cases, evaluate
from moerec.evaluation.model_scorer import ModelScorer
from moerec.evaluation.report import evaluate_bundle
from moerec.models.loading import load_model
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.loop import Progress

COLUMNS = ("hr@10", "ndcg@10", "hr@50")


def is_cold(item_id: str) -> bool:
    """One id in ten, the same ones everywhere."""
    digest = blake2b(f"cold:{item_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10 == 0


def without_cold(log: Interactions) -> Interactions:
    """The log without its events on cold items."""
    items = log.frame.get_column("item_id")
    ids = [item for item in items.unique().to_list() if is_cold(item)]
    return replace(log, frame=log.frame.filter(~pl.col("item_id").is_in(ids)))


def cold_rows(id_map: IdMap) -> NDArray[np.bool_]:
    """Which rows 0..V of the catalogue are cold."""
    return np.array([False, *(is_cold(item) for item in id_map.ids)])


class AfterKnown:
    """Scores after the known items of a history; the cold ones in it are left out of sight."""

    def __init__(self, scorer: Scorer, cold: NDArray[np.bool_]) -> None:
        self._scorer = scorer
        self._cold = cold
        self.name = scorer.name

    def scores(
        self, histories: Sequence[History], leaving: Sequence[NDArray[np.int32]] = ()
    ) -> NDArray[np.float32]:
        """float32 [B, V + 1]."""
        known = [history[~self._cold[history.items]] for history in histories]
        return self._scorer.scores(known, leaving)


def questions(histories: Histories, cold: NDArray[np.bool_]) -> Cases:
    """Every event on a cold item that a known item comes before."""
    users, places = [], []
    for user in range(len(histories.users)):
        is_cold_here = cold[histories.items_of(user)]
        known_before = np.cumsum(~is_cold_here) > 0
        found = np.flatnonzero(is_cold_here & known_before)
        users += [user] * len(found)
        places += found.tolist()
    return cases(histories, np.array(users, np.int64), np.array(places, np.int64))


def rank_cold(bundle: Bundle, log: Interactions, items: ItemTable) -> dict[str, dict[str, float]]:
    """What each scorer makes of the cold items, and how often it shows one at all."""
    id_map = bundle.id_map
    cold = cold_rows(id_map)
    histories = build_histories(log, id_map)
    asked = questions(histories, cold)
    scorers: list[Scorer] = [ModelScorer(load_model(bundle.config, bundle.weights()))]
    if bundle.content is not None:
        rows = id_map.indexes(items.frame.get_column("item_id"))
        scorers.append(ContentNeighbours(item_features(bundle.content, items, rows, len(id_map))))
    warm_items = histories.items[~cold[histories.items]]
    scorers.append(Popularity(item_counts(warm_items, len(id_map))))
    results = {}
    for scorer in scorers:
        found = evaluate(AfterKnown(scorer, cold), asked, len(id_map))
        shown = cold[found.lists[:, :10]]
        results[scorer.name] = {column: found.summary[column] for column in COLUMNS} | {
            "cold share of the top 10": float(shown.mean()),
            "lists with a cold item": float(shown.any(axis=1).mean()),
            "events": float(len(asked)),
            "cold items": float(cold.sum()),
        }
    return results


def train(
    log: Interactions, items: ItemTable | None, folder: Path, seed: int, epochs: int | None
) -> Bundle:
    """A bundle with the presets, one line an epoch on stderr."""

    def watch(progress: Progress) -> None:
        if progress.step_in_epoch == 0 and progress.records:
            last = progress.records[-1]
            line = f"{folder.name} epoch {len(progress.records)} loss {last.loss:.3f}"
            print(f"{line} validation NDCG@10 {last.ndcg}", file=sys.stderr)

    options = FitOptions(seed=seed, epochs=epochs)
    return fit_bundle(log, folder, items=items, options=options, watch=watch)


def measure(options: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    """All figures of a seed: scorer or arm -> figures."""
    log, items = read_interactions(options.log), read_items(options.items)
    with tempfile.TemporaryDirectory(prefix="moerec-cold-") as scratch:
        folder = Path(scratch)
        bundle = train(without_cold(log), items, folder / "cold", seed, options.epochs)
        results = {f"cold: {k}": v for k, v in rank_cold(bundle, log, items).items()}
        if options.skip_warm:
            return results
        for name, table in (("with content", items), ("without content", None)):
            bundle = train(log, table, folder / name.replace(" ", "-"), seed, options.epochs)
            summary = evaluate_bundle(bundle, log, "test").results[0].summary
            results[f"warm: {name}"] = {column: summary[column] for column in COLUMNS}
    return results


def main() -> int:
    """0 when every run went through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("items", metavar="ITEMS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="at most so many (default: by the log's size)")
    parser.add_argument("--skip-warm", action="store_true", help="the cold items alone")
    parser.add_argument("--json", type=Path, help="write all figures")
    options = parser.parse_args()
    runs = [measure(options, seed) for seed in options.seeds]
    print("| what | seed | " + " | ".join(COLUMNS) + " | lists with a cold item |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for seed, run in zip(options.seeds, runs, strict=True):
        for name, figures in run.items():
            cells = [f"{figures[column]:.4f}" for column in COLUMNS]
            shown = figures.get("lists with a cold item")
            cells.append("-" if shown is None else f"{shown:.3f}")
            print(f"| {name} | {seed} | " + " | ".join(cells) + " |")
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    if options.json:
        document = {"log": Path(options.log).name, "seeds": options.seeds, "runs": runs} | about()
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
