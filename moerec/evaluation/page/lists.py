"""The page's sections about the lists' quality: main figures, ranks, length of the history."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from moerec.evaluation import metrics
from moerec.evaluation.page import plots
from moerec.evaluation.page.parts import Cell, Section, Table, cells
from moerec.evaluation.report import COLUMNS, Report
from moerec.evaluation.slices import RANKS, Slice, by_history_length, hit_rate_curve, rank_shares

POINTS: Final = 160
"""Of a curve over ranks; a catalogue may have millions."""


def summary(report: Report) -> Section:
    """All metrics of the model and its baselines."""
    finding, well = _lead(report)
    names = [result.name for result in report.results]
    main = _figures(report, [key for _, key in COLUMNS])
    every = list(report.results[0].summary)
    return Section(
        key="summary",
        title="How good are the lists?",
        shows="How often, and how high, the item that a user really chose next stands in the list, beside "
        "baselines that learned from the same events.",
        good="The model leads in every column. On sparse logs a Markov chain is the one to beat.",
        finding=finding,
        well=well,
        tables=[
            Table(
                "The best of each column is bold.",
                ["", *(heading for heading, _ in COLUMNS)],
                [
                    [Cell(name), *row]
                    for name, row in zip(names, zip(*main, strict=True), strict=True)
                ],
                folded=False,
            ),
            Table(
                "All figures",
                ["metric", *names],
                [
                    [Cell(key), *row]
                    for key, row in zip(every, _figures(report, every), strict=True)
                ],
            ),
        ],
    )


def _figures(report: Report, keys: Sequence[str]) -> list[list[Cell]]:
    """For each metric a cell for each recommender."""
    rows = []
    for key in keys:
        values = [result.summary[key] for result in report.results]
        rows.append([Cell(f"{value:.4f}", best=value == max(values)) for value in values])
    return rows


def _lead(report: Report) -> tuple[str, bool | None]:
    """The model's NDCG@10 against its best baseline's, over the same users."""
    own, *others = report.results
    if not others:
        return f"NDCG@10 is {own.summary['ndcg@10']:.4f}; there is no baseline beside it.", None
    best = max(others, key=lambda result: result.summary["ndcg@10"])
    difference_U = metrics.gains(own.ranks, 10) - metrics.gains(best.ranks, 10)
    mean = float(difference_U.mean())
    margin = 1.96 * float(difference_U.std()) / len(difference_U) ** 0.5
    sure = "" if abs(mean) > margin else " That is within chance."
    return (
        f"NDCG@10 is {own.summary['ndcg@10']:.4f}, against {best.summary['ndcg@10']:.4f} of the best "
        f"baseline ({best.name}): {mean:+.4f} ± {margin:.4f} (95%, paired by user).{sure}"
    ), mean > margin


def ranks(report: Report) -> Section:
    """Where the targets rank."""
    catalogue = report.results[0].catalogue
    k = np.unique(np.geomspace(1, catalogue, POINTS).round().astype(np.int64))
    curves = {
        result.name: hit_rate_curve(result.ranks, catalogue)[k - 1] for result in report.results
    }
    shares = np.stack([rank_shares(result.ranks) for result in report.results], axis=1)
    median = min(float(np.median(report.results[0].ranks)), catalogue)
    return Section(
        key="ranks",
        title="Where does the true item rank?",
        shows="The share of users whose next item is within the first k places of the whole catalogue "
        f"({catalogue:,} items), for every k.",
        good="The model's line is above the others, most of all at the left, where lists end.",
        finding=f"Half of the model's targets rank {median:,.0f} or better.",
        figures=[plots.hit_rate_curves(curves, k)],
        tables=[
            Table(
                "Share of users by rank of the target",
                ["rank", *curves],
                [
                    cells(label, *row)
                    for label, row in zip(RANKS.labels, shares.tolist(), strict=True)
                ],
            )
        ],
    )


def lengths(report: Report) -> Section:
    """Quality by length of the history."""
    known_U = np.array([len(history) for history in report.questions.histories], dtype=np.int64)
    slices = {result.name: by_history_length(known_U, result.ranks) for result in report.results}
    groups = [part.label for part in next(iter(slices.values()))]
    finding, well = _weak_groups(slices)
    return Section(
        key="lengths",
        title="For whom does it work?",
        shows="NDCG@10 of users grouped by how many events they have before the target.",
        good="The model is above every baseline in every group that has more than a few users.",
        finding=finding,
        well=well,
        figures=[
            plots.grouped_bars(
                groups,
                {name: np.array([part.ndcg for part in parts]) for name, parts in slices.items()},
                "events in the history",
                "NDCG@10",
            )
        ],
        tables=[_length_table(name, slices) for name in ("HR@10", "NDCG@10")],
    )


def _length_table(metric: str, slices: dict[str, list[Slice]]) -> Table:
    rows = []
    for parts in zip(*slices.values(), strict=True):
        values = [part.hit_rate if metric == "HR@10" else part.ndcg for part in parts]
        rows.append(cells(parts[0].label, parts[0].users, *values))
    return Table(f"{metric} by length of the history", ["events", "users", *slices], rows)


def _weak_groups(slices: dict[str, list[Slice]]) -> tuple[str, bool | None]:
    """The groups in which a baseline has the higher NDCG@10."""
    own, *others = slices.values()
    if not others:
        return "", None
    behind = [
        part.label
        for place, part in enumerate(own)
        if part.ndcg < max(parts[place].ndcg for parts in others)
    ]
    if not behind:
        return "The model leads in every group.", True
    return f"A baseline leads among users with {', '.join(behind)} events.", None
