"""What `quality.py` wrote, as tables and comparisons. Pure: numbers in, text and numbers out."""

import csv
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Run = dict[str, Any]
Gains = NDArray[np.float64]

RESAMPLES: Final = 10_000
SAMPLED_AT_ONCE: Final = 1 << 22

TEST: Final = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "percentile_mean")
HEADINGS: Final = (
    "data", "model", "seeds", "HR@10", "NDCG@10", "MRR@10", "coverage@10", "mean percentile",
    "validation NDCG@10", "mean k", "encoder MFLOPs an event", "parameters of encoder, of items",
    "minutes of training",
)  # fmt: skip


def label(preset: str, settings: Mapping[str, object], twin: object, extra: Sequence[str]) -> str:
    """What a table calls a model: the words of the command line that made it, in one order."""
    words = [preset, *(f"{name}={value}" for name, value in sorted(settings.items()))]
    return " ".join([*words, *([f"twin={twin}"] if twin else []), *extra])


def read_runs(path: Path) -> list[Run]:
    """The runs of a JSON-lines file; of those with the same data, model and seed the last."""
    newest: dict[tuple[object, ...], Run] = {}
    for line in path.read_text().splitlines():
        run = json.loads(line)
        newest[run["data"], run["model"], run["seed"]] = run
    return list(newest.values())


def append_run(path: Path, run: Run) -> None:
    """One more line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


def table(runs: Iterable[Run]) -> list[str]:
    """Markdown: a row for each data set and model, mean and deviation over its seeds; then the baselines."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["data"], run["model"]), []).append(run)
    for name, found in groups.items():
        # A row speaks of the same seeds in every column.
        groups[name] = [run for run in found if run["test"]] or found
    lines = [_row(HEADINGS), "|---" * len(HEADINGS) + "|"]
    named: set[tuple[str, str]] = set()
    for (data, model), found in sorted(groups.items(), key=lambda group: group[0][0]):
        lines.append(_row([data, model, str(len(found)), *_cells(found)]))
    for (data, _), found in groups.items():
        for name, summary in found[-1]["baselines"].items():
            if (data, name) not in named:
                cells = [f"{summary[column]:.4f}" for column in TEST]
                lines.append(_row([data, name, "-", *cells, *"-----"]))
            named.add((data, name))
    return lines


def _cells(runs: Sequence[Run]) -> list[str]:
    test = [spread([run["test"][column] for run in runs if run["test"]], 4) for column in TEST]
    costs = [run["encoder"] for run in runs]
    flops = [2 * cost["macs_a_token"] / 1e6 for cost in costs]
    first = costs[0]
    sizes = f"{first['parameters'] / 1e6:.2f} M, {first['item_parameters'] / 1e6:.2f} M"
    minutes = [run["train_minutes"] for run in runs if run["train_minutes"] is not None]
    return [
        *test,
        spread([run["validation"]["ndcg@10"] for run in runs], 4),
        spread([cost["mean_experts"] for cost in costs], 3),
        f"{statistics.fmean(flops):.3f}",
        sizes,
        spread(minutes, 1),
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and, of two and more, standard deviation.

    >>> spread([0.1, 0.2], 2), spread([0.1], 2), spread([], 2)
    ('0.15 ± 0.07', '0.10', '-')
    """
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def read_ranks(path: Path, column: str = "moerec") -> dict[str, float]:
    """What `moerec evaluate --ranks` wrote: user -> rank, infinite where there is none."""
    with path.open(newline="") as file:
        return {row["user_id"]: float(row[column] or math.inf) for row in csv.DictReader(file)}


def gains(ranks: Sequence[float], metric: str) -> Gains:
    """What each user adds to `hr@K` or `ndcg@K`, float64.

    >>> gains([1, 3, 11], "ndcg@10").tolist()
    [1.0, 0.5, 0.0]
    """
    name, cutoff = metric.split("@")
    ranks_U = np.array(ranks, dtype=np.float64)
    hits_U = ranks_U <= int(cutoff)
    if name == "hr":
        return hits_U.astype(np.float64)
    if name == "ndcg":
        return np.where(hits_U, 1.0 / np.log2(ranks_U + 1.0), 0.0)
    raise ValueError(f"{metric} is not hr@K or ndcg@K")


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B, and divided by B, each with the 95 % interval of a bootstrap over users."""

    a: float
    b: float
    interval: tuple[float, float]
    relative_interval: tuple[float, float]

    @property
    def absolute(self) -> float:
        return self.a - self.b

    @property
    def relative(self) -> float:
        return self.a / self.b - 1 if self.b else math.nan


def paired_bootstrap(
    a_U: Gains, b_U: Gains, *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """The same users are drawn with replacement for both (Efron & Tibshirani 1993, percentile interval)."""
    rng = np.random.default_rng(seed)
    users = len(a_U)
    both_UX = np.stack([a_U, b_U], axis=1)
    means = []
    step = max(SAMPLED_AT_ONCE // users, 1)
    for start in range(0, resamples, step):
        drawn = rng.integers(users, size=(min(step, resamples - start), users), dtype=np.int32)
        means.append(both_UX[drawn].mean(axis=1))
    a_R, b_R = np.concatenate(means).T
    relative_R = a_R[b_R > 0] / b_R[b_R > 0] - 1
    return Difference(float(a_U.mean()), float(b_U.mean()), _middle(a_R - b_R), _middle(relative_R))


def _middle(values_R: Gains) -> tuple[float, float]:
    if not len(values_R):
        return math.nan, math.nan
    low, high = np.quantile(values_R, [0.025, 0.975])
    return float(low), float(high)


def mean_gains(runs: Sequence[Mapping[str, float]], users: Sequence[str], metric: str) -> Gains:
    """Each user's gain, averaged over the runs (seeds) of one model."""
    return np.mean([gains([ranks[user] for user in users], metric) for ranks in runs], axis=0)
