"""The page's sections about what lists show, and about the probabilities of "liked"."""

from typing import Final

import numpy as np

from moerec.evaluation.calibration import Predictions, calibration
from moerec.evaluation.evaluate import Items
from moerec.evaluation.exposure import Exposure, exposure
from moerec.evaluation.page import plots
from moerec.evaluation.page.parts import Cell, Section, Table, cells
from moerec.evaluation.report import Report

LIST: Final = 10
MOST_SHOWN: Final = 10
CHOSEN: Final = "what users chose"


def popularity(report: Report) -> Section:
    """Coverage and popularity bias of the first ten places of all lists."""
    counts = report.train_counts
    shown = [
        exposure(result.name, result.lists[:, :LIST].ravel(), counts) for result in report.results
    ]
    chosen = exposure(CHOSEN, report.questions.targets, counts)
    own = shown[0]
    return Section(
        key="popularity",
        title="What do the lists show?",
        shows="From which tenth of the catalogue, by popularity in the training events, the first ten places "
        "of all lists come, and where the users' own choices lie.",
        good=f"The model's line is near the thick one, {CHOSEN}: neither hits alone nor rarities.",
        finding=f"The lists show {own.coverage:.1%} of the catalogue; an item in them is more popular than "
        f"{own.mean_percentile:.0%} of all items, one that users chose than {chosen.mean_percentile:.0%}.",
        figures=[
            plots.decile_lines(
                {each.name: each.share_by_decile for each in shown}, chosen.share_by_decile, CHOSEN
            )
        ],
        tables=[
            _figures_table(shown, chosen),
            _decile_table([*shown, chosen]),
            _most_shown(report, report.results[0].lists[:, :LIST]),
        ],
    )


def _figures_table(shown: list[Exposure], chosen: Exposure) -> Table:
    rows = [cells(each.name, each.coverage, each.gini, each.mean_percentile) for each in shown]
    # One choice a user is no list: its coverage and concentration would compare with nothing.
    rows.append(cells(CHOSEN, "", "", chosen.mean_percentile))
    head = ["", "coverage@10", "Gini (0: all alike)", "mean popularity percentile"]
    return Table("Coverage and concentration of the first ten places", head, rows, folded=False)


def _decile_table(shown: list[Exposure]) -> Table:
    rows = [
        cells(str(decile + 1), *(float(each.share_by_decile[decile]) for each in shown))
        for decile in range(10)
    ]
    caption = "Share of places by tenth of the catalogue (1: the most popular)"
    return Table(caption, ["tenth", *(each.name for each in shown)], rows)


def _most_shown(report: Report, lists: Items) -> Table:
    times_V = np.bincount(lists[lists != 0], minlength=len(report.train_counts))
    rank_V = np.empty(len(times_V), dtype=np.int64)
    rank_V[np.argsort(-report.train_counts, kind="stable")] = np.arange(1, len(times_V) + 1)
    rows = []
    for item in np.argsort(-times_V, kind="stable")[:MOST_SHOWN].tolist():
        if times_V[item]:
            item_id = report.bundle.id_map.ids_of([item])[0]
            title = report.bundle.titles[item - 1]
            share = f"{times_V[item] / len(lists):.1%}"
            name = f"{title} ({item_id})" if title else item_id
            rows.append([Cell(name), Cell(share), *cells(int(rank_V[item]))])
    head = ["item", "share of users", "rank by popularity"]
    return Table("The items that the model shows to most users", head, rows)


def liked(predictions: Predictions) -> Section:
    """Calibration of "liked"."""
    found = calibration(predictions)
    return Section(
        key="calibration",
        title="Are the probabilities of liking true?",
        shows="Held-out values grouped by the predicted probability of being liked: the share of each group "
        "that really was; a larger dot stands for more of them.",
        good="Every dot lies on the dotted line: of what is called 70% likely, 70% is liked.",
        finding=f"The expected calibration error is {found.error:.3f}, the Brier score {found.brier:.3f} "
        f"(always predicting the base rate of {found.base_rate:.1%}: "
        f"{found.base_rate * (1 - found.base_rate):.3f}).",
        well=found.brier < found.base_rate * (1 - found.base_rate),
        figures=[plots.reliability(found.predicted_B, found.observed_B, found.count_B)],
        tables=[
            Table(
                "Calibration of liked",
                ["mean predicted", "share liked", "events"],
                [
                    cells(float(predicted), float(observed), int(count))
                    for predicted, observed, count in zip(
                        found.predicted_B, found.observed_B, found.count_B, strict=True
                    )
                ],
            )
        ],
    )
