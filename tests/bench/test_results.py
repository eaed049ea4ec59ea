"""The tables and comparisons of `bench/`: known answers."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench._results import (
    append_run,
    gains,
    label,
    mean_gains,
    paired_bootstrap,
    read_ranks,
    read_runs,
    spread,
    table,
)


def run(model: str, seed: int, ndcg: float | None, **others: object) -> dict[str, Any]:
    test = None if ndcg is None else dict.fromkeys(
        ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "percentile_mean"), ndcg
    )  # fmt: skip
    encoder = {"macs_a_token": 1e6, "mean_experts": 2.25, "parameters": 2e6, "item_parameters": 3e5}
    common = {"data": "toy", "model": model, "seed": seed, "test": test, "baselines": {}}
    return (
        common | {"encoder": encoder, "validation": {"ndcg@10": 0.5}, "train_minutes": 1.0} | others
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_mean_and_deviation_over_seeds() -> None:
    runs = [run("auto", 0, 0.1), run("auto", 1, 0.2), run("auto", 2, None), run("twin", 0, 0.4)]
    heading, _, auto, twin = table(runs)
    assert all(len(cells(line)) == len(cells(heading)) for line in (auto, twin))
    assert cells(auto)[:5] == ["toy", "auto", "2", "0.1500 ± 0.0707", "0.1500 ± 0.0707"]
    assert cells(twin)[:5] == ["toy", "twin", "1", "0.4000", "0.4000"]
    assert "2.000" in cells(auto), "a multiplication and an addition are two operations"
    assert "2.00 M, 0.30 M" in cells(auto)


def test_baselines_have_one_row_a_data_set() -> None:
    found = {"popularity": run("", 0, 0.05)["test"]}
    lines = table([run("auto", 0, 0.1, baselines=found), run("twin", 0, 0.1, baselines=found)])
    assert [cells(line)[1] for line in lines[2:]] == ["auto", "twin", "popularity"]
    assert cells(lines[-1])[2:4] == ["-", "0.0500"]


def test_runs_without_a_time_or_a_test_have_dashes() -> None:
    (line,) = table([run("auto", 0, None, train_minutes=None)])[2:]
    assert cells(line)[3] == cells(line)[-1] == "-"
    assert spread([], 3) == "-"


def test_the_last_run_of_a_seed_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.jsonl"
    for ndcg in (0.1, 0.3):
        append_run(path, run("auto", 0, ndcg))
    append_run(path, run("auto", 1, 0.2))
    assert [found["test"]["ndcg@10"] for found in read_runs(path)] == [0.3, 0.2]


def test_a_label_is_the_command_line_in_one_order() -> None:
    settings = {"temperature": "0.1", "dropout": "0.3"}
    assert label("auto", {}, None, []) == "auto"
    assert label("auto", settings, "total", ["with items"]) == (
        "auto dropout=0.3 temperature=0.1 twin=total with items"
    )


def test_gains_are_those_of_the_metrics() -> None:
    assert gains([1, 10, 11, math.inf], "hr@10").tolist() == [1, 1, 0, 0]
    assert gains([1, 3, 11, math.inf], "ndcg@10").tolist() == [1, 0.5, 0, 0]
    with pytest.raises(ValueError, match="mrr@10"):
        gains([1], "mrr@10")


def test_seeds_are_averaged_user_by_user() -> None:
    found = mean_gains([{"ann": 1, "bob": 20}, {"ann": 3, "bob": 20}], ["bob", "ann"], "ndcg@10")
    assert found.tolist() == [0, 0.75]


def test_ranks_are_read_as_they_were_written(tmp_path: Path) -> None:
    with (tmp_path / "ranks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["user_id", "moerec", "chain"], ["a,b", 3, 1], ["c", "", ""]])
    assert read_ranks(tmp_path / "ranks.csv") == {"a,b": 3, "c": math.inf}


def test_the_bootstrap_has_the_interval_that_theory_gives() -> None:
    """The mean of n differences of standard deviation s: 1.96 s / sqrt(n) on each side."""
    rng = np.random.default_rng(0)
    b = rng.random(2_000)
    a = b + rng.normal(0.02, 0.1, 2_000)
    found = paired_bootstrap(a, b, seed=1)
    half = 1.96 * float((a - b).std()) / math.sqrt(2_000)
    assert found.absolute == pytest.approx((a - b).mean())
    assert found.interval == pytest.approx((found.absolute - half, found.absolute + half), abs=2e-4)
    assert found.relative == pytest.approx(a.mean() / b.mean() - 1)
    low, high = found.relative_interval
    assert low < found.relative < high
    # Unpaired, the spread of the users themselves (0.29) would drown the difference.
    assert high - low < 2.5 * half / b.mean()


def test_the_bootstrap_of_equal_models_is_a_point() -> None:
    same = np.array([0.0, 1.0, 0.5])
    found = paired_bootstrap(same, same, resamples=100)
    assert found.interval == (0, 0)
    assert paired_bootstrap(same, same * 0, resamples=10).relative_interval == pytest.approx(
        (math.nan, math.nan), nan_ok=True
    )
