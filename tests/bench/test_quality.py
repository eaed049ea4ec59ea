"""A row of the quality table, small: trained, ranked, kept, compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.script import run_script
from tests.logs import walking_log

BENCH = Path(__file__).parents[2] / "bench"
SMALL = ["--set", "dim=16", "--set", "expert_dim=8", "--threads", "1"]


def python(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.slow
def test_a_row_is_chosen_on_validation_then_told_and_compared(tmp_path: Path) -> None:
    """The test figures come later from the same bundle; ranks and figures say the same."""
    walking_log().write_csv(tmp_path / "log.csv")
    runs = tmp_path / "out" / "runs.jsonl"
    row = [str(tmp_path / "log.csv"), "--data", "walk", "--json", str(runs), *SMALL]
    epochs = ["--", "--epochs", "1"]
    chosen = python("quality.py", *row, "--twin", "total", "--validation-only", *epochs)
    assert chosen.returncode == 0, chosen.stderr
    told = python("quality.py", *row, "--twin", "total", *epochs)
    assert told.returncode == 0, told.stderr
    assert "epoch 1/1" in chosen.stdout
    assert "epoch 1/1" not in told.stdout, "nothing is trained twice"
    first, second = (json.loads(line) for line in runs.read_text().splitlines())
    assert (first["test"], first["validation"]) == (None, second["validation"])
    name = "auto dim=16 expert_dim=8 twin=total --epochs 1"
    assert (second["data"], second["model"], second["seed"]) == ("walk", name, 0)
    assert second["variant"]["twin"] == "total"
    assert second["encoder"]["mean_experts"] == 1
    assert second["train_minutes"] == first["train_minutes"]
    assert {"Markov chain", "popularity"} == set(second["baselines"])
    assert (runs.parent / second["bundle"] / "manifest.json").exists()
    for fact in ("hardware", "date", "commit"):
        assert second[fact]
    again = python("quality.py", *row, "--twin", "total", *epochs)
    assert "already; --again repeats it" in again.stdout
    assert len(runs.read_text().splitlines()) == 2
    compared = python("compare.py", str(runs), name, name)
    assert f"{second['test']['ndcg@10']:.4f} (1)" in compared.stdout
    assert "+0.0% [+0.0%, +0.0%] | 60 |" in compared.stdout
    assert f"| walk | {name} | 1 |" in python("compare.py", str(runs)).stdout


@pytest.mark.parametrize("models", [["none", "neither"], ["one"]])
def test_models_that_are_not_there(tmp_path: Path, models: list[str]) -> None:
    (tmp_path / "runs.jsonl").write_text("")
    done = run_script("compare.py", tmp_path / "runs.jsonl", *models)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_a_training_that_is_refused_ends_the_row(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = run_script("quality.py", "no.csv", "--json", tmp_path / "runs.jsonl")
    assert done.returncode == 2
    said_by_the_command = capfd.readouterr().err
    assert "no.csv: no such file" in said_by_the_command
    assert "Traceback" not in done.stderr + said_by_the_command
