"""An evaluation of a bundle on a log: the model beside its baselines, as a table, JSON and lists."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from moerec.artifacts.bundle import Bundle
from moerec.artifacts.files import write_file
from moerec.data.interactions import Interactions
from moerec.data.sequences import Histories, build_histories
from moerec.data.split import HoldOut, hold_out
from moerec.errors import UsageError
from moerec.evaluation.baselines import item_counts
from moerec.evaluation.calibration import Predictions
from moerec.evaluation.evaluate import Cases, Evaluation, Scorer, cases, evaluate
from moerec.evaluation.factorisation import ItemLiking, MatrixFactorisation, rated_events
from moerec.evaluation.lineup import Lineup, OnProgress, learn_baselines
from moerec.evaluation.metrics import MISS
from moerec.evaluation.model_scorer import ModelScorer
from moerec.evaluation.relevance import LikedScorer, Relevance, rated_cases, relevance
from moerec.evaluation.relevance_table import relevance_figures
from moerec.evaluation.routing import RoutingReport, measure_routing
from moerec.models.loading import load_model

Part = Literal["validation", "test"]

CPU: Final = torch.device("cpu")

COLUMNS: Final = (
    ("HR@1", "hr@1"),
    ("HR@10", "hr@10"),
    ("NDCG@10", "ndcg@10"),
    ("MRR@10", "mrr@10"),
    ("cover@10", "coverage@10"),
    ("mean pct", "percentile_mean"),
    ("median pct", "percentile_median"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was evaluated, and the results, best known first: the model, then the baselines.

    `train_counts` int64 [V + 1] are the training events of each item; `relevance` is what the head for
    "liked" is worth on held-out values, where the bundle has one and there are some.
    """

    bundle: Bundle
    part: Part
    keep_seen: bool
    histories: Histories
    questions: Cases
    results: list[Evaluation]
    short_users: int
    baseline_notes: list[str]
    train_counts: NDArray[np.int64]
    relevance: Relevance | None = None

    @property
    def liked(self) -> Predictions | None:
        """The predictions of the head for "liked", if there are any."""
        return None if self.relevance is None else self.relevance.predictions

    @property
    def unknown_targets(self) -> int:
        """Held-out events whose item the bundle does not know: each is a miss."""
        return int(np.count_nonzero(self.questions.targets == 0))

    def table(self) -> Table:
        """For a terminal."""
        seen = "seen items kept" if self.keep_seen else "seen items removed"
        title = f"{self.part}: {len(self.questions):,} users, full ranking, {seen}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        for heading, _ in COLUMNS:
            table.add_column(heading, justify="right", no_wrap=True)
        for result in self.results:
            table.add_row(result.name, *(f"{result.summary[key]:.4f}" for _, key in COLUMNS))
        return table

    def notes(self) -> list[str]:
        """What was counted out of the ordinary."""
        notes = []
        if self.short_users:
            notes.append(f"users without a {self.part} event, not evaluated: {self.short_users:,}")
        if self.unknown_targets:
            notes.append(
                "held-out events of items the bundle does not know, counted as misses: "
                f"{self.unknown_targets:,}"
            )
        return [*notes, *self.baseline_notes]

    def write_json(self, path: Path, routing: RoutingReport | None = None) -> None:
        """All figures, with what they are figures of; those of the experts if they were measured."""
        document: dict[str, Any] = {
            "bundle": self.bundle.version,
            "split": self.part,
            "rule": self.bundle.manifest.held_out,
            "protocol": {
                "ranking": "full catalogue",
                "seen_items": "kept" if self.keep_seen else "removed, the target never",
                "ties": "against the model",
            },
            "users": len(self.questions),
            "users_without_target": self.short_users,
            "unknown_targets": self.unknown_targets,
            "baselines": self.baseline_notes,
            "results": {result.name: result.summary for result in self.results},
        }
        if self.relevance is not None:
            document["relevance"] = relevance_figures(self.relevance)
        if routing is not None:
            document["experts"] = routing.to_dict()
        write_file(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")

    def write_ranks(self, path: Path) -> None:
        """CSV of `user_id` and the held-out item's rank from 1, a column for each scorer.

        Empty where the catalogue lacks the item. Figures of a part of the users, and whether two
        models differ by more than chance, follow from it.
        """
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("user_id", *(result.name for result in self.results)))
        ranks_US = np.stack([result.ranks for result in self.results], axis=1).tolist()
        for user, ranks in zip(self.questions.users, ranks_US, strict=True):
            shown = ("" if rank == MISS else rank for rank in ranks)
            writer.writerow((self.histories.users[user], *shown))
        write_file(path, file.getvalue().encode())

    def write_recommendations(self, path: Path) -> None:
        """CSV of `user_id,item_id,rank`: the model's top 50 for every evaluated user."""
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("user_id", "item_id", "rank"))
        for user, items in zip(self.questions.users, self.results[0].lists, strict=True):
            listed = self.bundle.id_map.ids_of(items[items > 0].tolist())
            name = self.histories.users[user]
            writer.writerows((name, item, rank) for rank, item in enumerate(listed, start=1))
        write_file(path, file.getvalue().encode())


def evaluate_bundle(
    bundle: Bundle,
    interactions: Interactions,
    part: Part,
    *,
    keep_seen: bool = False,
    baselines: Lineup = "fast",
    device: torch.device = CPU,
    ranker: Scorer | None = None,
    on_progress: OnProgress = lambda _name, _done, _total: None,
) -> Report:
    """Rank the held-out events of `part` with the model and the baselines.

    The split is the one the bundle was trained with. Baselines learn from the log's training part. A
    `ranker` ranks in the model's place: the engine that serves it; relevance stays the model's own.
    `on_progress` gets (what is at work, steps done, steps in all). Raises LeakError if an event to be scored
    may have been trained on, UsageError if nothing is held out.
    """
    histories = build_histories(interactions, bundle.id_map)
    # A bundle made with --fit-all names no split; its record of events then refuses the usual one.
    rule = bundle.manifest.held_out
    held = hold_out("leave-one-out" if rule == "none" else rule, histories, interactions.has_time)
    users, places = held.targets(part)
    if len(users) == 0:
        raise UsageError(
            f"{interactions.source} has no {part} event to score",
            "Leave-one-out needs users with at least three events.",
        )
    questions = cases(histories, users, places.astype(np.int64))
    bundle.trained_on().check(histories, users, places.astype(np.int64), bundle.id_map)
    model = ModelScorer(load_model(bundle.config, bundle.weights(), device))
    learned = learn_baselines(
        baselines, histories, held, len(bundle.id_map), on_progress=on_progress
    )
    results = [
        _ranked(scorer, questions, len(bundle.id_map), keep_seen, on_progress)
        for scorer in (ranker or model, *learned.scorers)
    ]
    short = len(histories.users) - len(users)
    return Report(
        bundle,
        part,
        keep_seen,
        histories,
        questions,
        results,
        short,
        learned.notes,
        train_counts=_train_counts(histories, held, len(bundle.id_map)),
        relevance=_relevance(model, histories, held, part, baselines),
    )


def _ranked(
    scorer: Scorer, questions: Cases, catalogue: int, keep_seen: bool, on_progress: OnProgress
) -> Evaluation:
    done = 0

    def count(users_done: int) -> None:
        nonlocal done
        done += users_done
        on_progress(scorer.name, done, len(questions))

    return evaluate(scorer, questions, catalogue, keep_seen=keep_seen, on_progress=count)


def _relevance(
    model: ModelScorer, histories: Histories, held: HoldOut, part: Part, baselines: Lineup
) -> Relevance | None:
    """On every held-out event of `part` that has a value."""
    if model.liked_from is None:
        return None
    users, places = held.targets(part)
    ends = histories.lengths[users]
    if part == "validation":
        ends = np.where(held.test_at[users] >= 0, held.test_at[users], ends)
    questions = rated_cases(histories, users, places.astype(np.int64), ends, model.liked_from)
    if not len(questions):
        return None
    scorers: list[LikedScorer] = []
    rated = rated_events(histories, held.train_lengths)
    # A log with fewer values than the one trained on may leave nothing to learn from.
    if baselines != "none" and len(np.unique(rated.values)) > 1:
        scorers.append(MatrixFactorisation(rated, model.catalogue))
        scorers.append(ItemLiking(rated, model.catalogue, model.liked_from))
    return relevance(model, scorers, questions, model.liked_from)


def routing_of(
    report: Report,
    *,
    device: torch.device = CPU,
    on_progress: OnProgress = lambda _name, _done, _total: None,
) -> RoutingReport | None:
    """How the report's bundle used its experts on the report's users; None if no history has an item
    that the bundle knows. `on_progress` as in `evaluate_bundle`."""
    done = 0

    def count(users_done: int) -> None:
        nonlocal done
        done += users_done
        on_progress("experts", done, len(report.questions))

    bundle = report.bundle
    model = load_model(bundle.config, bundle.weights(), device)
    return measure_routing(
        model, report.questions, bundle.categories, report.train_counts, on_progress=count
    )


def _train_counts(histories: Histories, held: HoldOut, catalogue: int) -> NDArray[np.int64]:
    place = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.lengths)
    trained = place < np.repeat(held.train_lengths, histories.lengths)
    return item_counts(histories.items[trained], catalogue)
