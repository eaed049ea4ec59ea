"""Relevance as a table for a terminal, and as plain figures."""

import math
from typing import Any

from rich.table import Table

from moerec.evaluation.calibration import calibration
from moerec.evaluation.relevance import CUTOFFS, Relevance


def relevance_table(found: Relevance) -> Table | None:
    """Model, baselines, chance: P@k with its 95 % interval, and the area under the curve.

    None where every user has one held-out item: whatever is ranked first then is that one.
    """
    if _has_no_choice(found):
        return None
    title = f"relevance: {found.users:,} users, liked is {found.liked_from:g} or more"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for k in CUTOFFS:
        table.add_column(f"P@{k}", justify="right", no_wrap=True)
    table.add_column("AUC", justify="right", no_wrap=True)
    for result in found.results:
        cells = [
            f"{one.mean:.4f} ±{one.margin:.4f}" if one.users else "-" for one in result.precisions
        ]
        area = "-" if math.isnan(result.auc) else f"{result.auc:.4f}"
        table.add_row(result.name, *cells, area)
    return table


def relevance_notes(found: Relevance) -> list[str]:
    """Base rate, how true the probabilities are, and why nothing is ranked where it is not."""
    truth = calibration(found.predictions)
    probabilities = (
        f"probability of liked ({found.liked_from:g} or more): log loss {found.log_loss:.4f}, "
        f"Brier score {truth.brier:.4f}, calibration error {truth.error:.4f}"
    )
    if _has_no_choice(found):
        return [
            probabilities,
            "relevance is not measured where each user has one held-out rated item: "
            "train with --split user-ratio:0.2",
        ]
    return [
        "ranked are the held-out items that a user rated; of all of them "
        f"{found.base_rate:.1%} are liked (base rate); users with "
        + ", ".join(f"{one.k} or more: {one.users:,}" for one in found.results[0].precisions),
        probabilities,
    ]


def _has_no_choice(found: Relevance) -> bool:
    return len(found.predictions.outcome_N) == found.users


def relevance_figures(found: Relevance) -> dict[str, Any]:
    """All of it for a JSON file; None where nobody could be asked."""
    truth = calibration(found.predictions)
    return {
        "liked_from": found.liked_from,
        "users": found.users,
        "candidates": len(found.predictions.outcome_N),
        "base_rate": found.base_rate,
        "log_loss": found.log_loss,
        "brier": truth.brier,
        "calibration_error": truth.error,
        "results": {
            result.name: {"auc": result.auc}
            | {f"p@{one.k}": one.mean for one in result.precisions}
            | {f"p@{one.k} margin": one.margin for one in result.precisions}
            | {f"p@{one.k} users": one.users for one in result.precisions}
            for result in found.results
        },
    }


NO_RELEVANCE = (
    "relevance is not measured: it takes a log with values (ratings, --value COLUMN) in training "
    "and among the held-out events"
)
