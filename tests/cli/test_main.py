"""The command line as a user meets it: real processes where output matters, exit codes everywhere."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moerec import __version__
from moerec.cli.main import main
from tests.logs import rated_log, walking_log
from tests.tiny import SMALL_OPTIONS

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.csv"
    walking_log().write_csv(path)
    return path


@pytest.fixture(scope="module")
def bundle(log: Path) -> Path:
    out = log.parent / "bundle"
    assert main(["train", str(log), "--out", str(out), "--epochs", "2", *SMALL_OPTIONS]) == 0
    return out


def moerec(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "moerec", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        check=False,
    )


def test_version_and_help() -> None:
    assert moerec("--version").stdout.strip() == f"moerec {__version__}"
    text = moerec("--help").stdout
    for verb in ("demo", "train", "evaluate", "recommend", "import", "serve", "data"):
        assert verb in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["train"],
        ["train", "x", "--epochs", "0"],
        ["train", "x", "--seed", "-1"],
        ["train", "x", "--set", "dropout"],
        ["train", "x", "--twin", "half"],
        ["train", "x", "--twin", "0"],
        ["data", "demo", "--seed", "-1"],
        ["demo", "--seed", str(2**32)],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_train_names_the_bundle_after_the_log(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(tmp_path / "views.csv.gz", "wb") as file:
        file.write(log.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["train", "views.csv.gz", "--epochs", "1", *SMALL_OPTIONS]) == 0
    printed = capsys.readouterr().out
    assert "840 rows read" in printed
    assert "epoch 1/1" in printed
    assert (tmp_path / "bundles/views/manifest.json").is_file()
    assert "moerec evaluate bundles/views views.csv.gz" in printed


def test_train_another_model(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "twin"
    command = ["train", str(log), "--out", str(out), "--epochs", "1", "--preset", "compare"]
    assert main([*command, "--set", "dim=16", "--set", "negatives=8", "--twin", "total"]) == 0
    training = json.loads((out / "manifest.json").read_text())["training"]
    assert training["variant"] == {
        "preset": "compare",
        "settings": {"dim": 16, "negatives": 8},
        "twin": "total",
    }
    assert (training["model"]["experts"], training["training"]["negatives"]) == (1, 8)
    capsys.readouterr()
    for wrong in (["--set", "drop=1"], ["--set", "layers=few"], ["--preset", "huge"]):
        assert main(["train", "no such log", "--out", str(tmp_path / "none"), *wrong]) == 2
        assert wrong[1].partition("=")[0] in capsys.readouterr().err


def test_evaluate_prints_the_table_and_writes_files(
    bundle: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, lists = tmp_path / "out.json", tmp_path / "recs.csv"
    arguments = ["evaluate", str(bundle), str(log), "--json", str(figures), "--recs", str(lists)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for name in ("moerec", "Markov chain", "popularity", "60 users"):
        assert name in printed
    found = json.loads(figures.read_text())
    assert found["users"] == 60
    assert set(found["results"]) == {"moerec", "Markov chain", "popularity"}
    with lists.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user_id", "item_id", "rank"]
    mine = [row for row in rows if row["user_id"] == "user0"]
    assert [int(row["rank"]) for row in mine] == list(range(1, len(mine) + 1))
    # What the lists say is what the figures say: the target is the last event of the log.
    last = walking_log().group_by("user_id", maintain_order=True).last()
    targets = dict(zip(last["user_id"], last["item_id"], strict=True))
    hits = sum(targets[row["user_id"]] == row["item_id"] for row in rows if int(row["rank"]) <= 10)
    history = walking_log().group_by("user_id", maintain_order=True).head(13)
    repeated = sum(
        targets[user] in items
        for user, items in history.group_by("user_id").agg("item_id").iter_rows()
    )
    assert hits / 60 == pytest.approx(found["results"]["moerec"]["hr@10"], abs=repeated / 60)


def test_evaluate_through_the_engine(
    bundle: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOEREC_STATE_TYPE", "float32")
    command = ["evaluate", str(bundle), str(log), "--baselines", "none"]
    summaries = []
    for through, name in (("model", "moerec"), ("engine", "engine")):
        figures = tmp_path / f"{through}.json"
        assert main([*command, "--through", through, "--json", str(figures)]) == 0
        summaries.append(json.loads(figures.read_text())["results"][name])
    assert summaries[0] == summaries[1]


def test_evaluate_shows_the_experts_and_writes_the_page(
    bundle: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "report.html"
    command = ["evaluate", str(bundle), str(log)]
    assert main([*command, "--json", str(figures)]) == 0
    assert "experts" not in json.loads(figures.read_text())
    capsys.readouterr()
    assert main([*command, "--experts", "--json", str(figures), "--report", str(page)]) == 0
    said = capsys.readouterr().out
    found = json.loads(figures.read_text())["experts"]
    # Histories of 13 events, all of which are routed.
    assert f"experts: {60 * 13} events routed" in said
    assert sum(map(sum, found["tokens_by_experts_awake"])) == 2 * 60 * 13
    for layer in (1, 2):
        share = max(found["share"][layer - 1])
        busiest = found["share"][layer - 1].index(share) + 1
        assert f"E{busiest} {share:.1%}" in said
    assert "most special by position in history: layer 1 E" in said
    assert "report written to" in said
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("lineup", "ease"), [("all", True), ("none", False)])
def test_evaluate_beside_the_baselines_one_asks_for(
    bundle: Path, log: Path, lineup: str, ease: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(bundle), str(log), "--baselines", lineup]) == 0
    printed = capsys.readouterr().out
    assert ("EASE: penalty" in printed) is ease
    assert ("item-kNN: " in printed) is ease
    assert ("Markov chain" in printed) is ease


def test_a_fit_all_bundle_is_not_scored(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "all")
    assert (
        main(["train", str(log), "--out", out, "--epochs", "1", "--fit-all", *SMALL_OPTIONS]) == 0
    )
    assert main(["evaluate", out, str(log)]) == 2
    assert "were trained on" in capsys.readouterr().err


def test_recommend_by_history_and_by_log(
    bundle: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(bundle), "--history", "item1,item2", "-k", "3"]) == 0
    assert capsys.readouterr().out.count("item") == 1 + 3  # heading and rows
    assert main(["recommend", str(bundle), "--user", "user0", "--data", str(log)]) == 0
    assert "item" in capsys.readouterr().out
    assert main(["recommend", str(bundle), "--user", "nobody", "--data", str(log)]) == 2
    assert "no event of user 'nobody'" in capsys.readouterr().err
    assert main(["recommend", str(bundle)]) == 2


def test_import_then_recommend_from_the_store(
    bundle: Path,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", "events", str(log), "--split", "test"]) == 0
    assert "780 events added, 0 were there already, 60 held out" in capsys.readouterr().out
    assert main(["import", "events", str(log)]) == 0
    assert "60 events added, 780 were there already, 0 held out" in capsys.readouterr().out
    shown = moerec("recommend", str(bundle), "--user", "user0", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert main(["recommend", str(bundle), "--user", "user0", "--data", str(log)]) == 0
    assert shown.stdout == capsys.readouterr().out


def test_errors_name_place_and_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("user_id,item_id,timestamp\nann,a,1600000000\nbob,b,yesterday\n")
    assert main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "line 3" in message
    assert "timestamp" in message
    assert "yesterday" in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.csv"]


def test_ctrl_c_leaves_a_checkpoint_that_resumes(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "moerec",
        "train",
        str(log),
        "--out",
        str(out),
        "--epochs",
        "25",
        *SMALL_OPTIONS,
    ]
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpoint = tmp_path / "bundle.checkpoint"
    while not checkpoint.exists() and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == 130
    assert b"--resume" in said
    assert not out.exists()
    assert main([*command[3:], "--resume"]) == 0
    assert out.exists()
    assert not checkpoint.exists()


def test_the_parser_needs_no_torch() -> None:
    program = (
        "import sys, moerec.cli.main; sys.exit('torch' in sys.modules or 'polars' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_relevance_is_printed_where_the_log_has_values(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a sentence says why not where it has none."""
    assert main(["evaluate", str(bundle), str(log)]) == 0
    assert "relevance is not measured" in capsys.readouterr().out
    rated, out, figures = tmp_path / "rated.csv", tmp_path / "rated", tmp_path / "figures.json"
    rated_log(users=40).write_csv(rated)
    command = ["train", str(rated), "--out", str(out), "--epochs", "1", "--liked", "4"]
    assert main([*command, "--split", "user-ratio:0.4"]) == 0
    assert main(["evaluate", str(out), str(rated), "--json", str(figures)]) == 0
    text = capsys.readouterr().out
    for part in ("liked is 4 or more", "matrix factorisation", "chance", "base rate", "log loss"):
        assert part in text
    found = json.loads(figures.read_text())["relevance"]
    assert found["liked_from"] == 4
    assert 0 < found["results"]["moerec"]["p@5"] <= 1


def test_a_threshold_without_values_is_refused(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(log), "--out", str(tmp_path / "b"), "--liked", "3"]) != 0
    assert "no different values" in capsys.readouterr().err
