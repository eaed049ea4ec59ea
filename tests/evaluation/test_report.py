"""An evaluation of a bundle as a document: what is in the table, the JSON and the lists."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from moerec.artifacts.bundle import Bundle
from moerec.data.interactions import from_frame
from moerec.errors import LeakError, StorageError, UsageError
from moerec.evaluation.metrics import MISS
from moerec.evaluation.report import Report, evaluate_bundle, routing_of
from moerec.training.fit import FitOptions, fit_bundle
from tests.logs import walking_log
from tests.tiny import SMALL

LOG = walking_log()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("report")
    return fit_bundle(
        from_frame(LOG), folder / "bundle", options=FitOptions(epochs=1, variant=SMALL)
    )


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> Report:
    return evaluate_bundle(bundle, from_frame(LOG), "test")


def printed(report: Report, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(report.table())
    return captured.get()


def test_the_table_fits_a_plain_terminal(report: Report) -> None:
    """At 80 columns the baselines' names and the last figures used to be cut off."""
    text = printed(report)
    assert "Markov chain" in text
    assert "…" not in text
    assert f"{report.results[0].summary['ndcg@10']:.4f}" in text
    assert f"{report.results[2].summary['percentile_median']:.4f}" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_document_says_how_it_was_measured(report: Report, tmp_path: Path) -> None:
    report.write_json(tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["protocol"] == {
        "ranking": "full catalogue",
        "seen_items": "removed, the target never",
        "ties": "against the model",
    }
    assert found["bundle"] == report.bundle.version
    assert found["results"]["moerec"] == report.results[0].summary


def test_lists_hold_no_seen_item(report: Report, tmp_path: Path) -> None:
    report.write_recommendations(tmp_path / "recs.csv")
    with (tmp_path / "recs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen = LOG.group_by("user_id", maintain_order=True).head(13)
    pairs = set(seen.select("user_id", "item_id").iter_rows())
    assert not pairs & {(row["user_id"], row["item_id"]) for row in rows}
    assert {row["user_id"] for row in rows} == set(LOG["user_id"])


def test_the_whole_line_of_baselines(bundle: Bundle, tmp_path: Path) -> None:
    """The table stays within 80 columns, and the document says which knobs were chosen."""
    found = evaluate_bundle(bundle, from_frame(LOG), "test", baselines="all")
    names = ["moerec", "Markov chain", "EASE", "item-kNN", "popularity"]
    assert [result.name for result in found.results] == names
    assert max(len(line) for line in printed(found).splitlines()) <= 80
    found.write_json(tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert list(document["results"]) == names
    assert [note.partition(":")[0] for note in document["baselines"]] == ["EASE", "item-kNN"]
    assert found.notes()[-2:] == document["baselines"]


def test_without_baselines(bundle: Bundle) -> None:
    found = evaluate_bundle(bundle, from_frame(LOG), "test", baselines="none")
    assert [result.name for result in found.results] == ["moerec"]


def test_seen_items_may_stay(bundle: Bundle) -> None:
    kept = evaluate_bundle(bundle, from_frame(LOG), "test", keep_seen=True)
    assert "seen items kept" in printed(kept)
    assert (kept.results[0].candidates == 30).all()


def test_unknown_targets_and_short_users_are_counted(bundle: Bundle) -> None:
    """A log that goes on with an item the bundle has never heard of, and with a newcomer."""
    later = pl.DataFrame(
        {
            "user_id": ["user0", "newcomer"],
            "item_id": ["unheard of", "item1"],
            "timestamp": [1_700_000_000_000] * 2,
        }
    )
    found = evaluate_bundle(bundle, from_frame(pl.concat([LOG, later])), "test")
    notes = "\n".join(found.notes())
    assert "users without a test event, not evaluated: 1" in notes
    assert "held-out events of items the bundle does not know, counted as misses: 1" in notes
    row = found.histories.users.index("user0")  # type: ignore[arg-type]
    place = found.questions.users.tolist().index(row)
    assert found.results[0].summary["hr@200"] < 1
    assert found.results[0].ranks[place] > 200


def test_progress_reaches_the_end_of_each_scorer(bundle: Bundle) -> None:
    steps: list[tuple[str, int, int]] = []
    evaluate_bundle(
        bundle, from_frame(LOG), "validation", on_progress=lambda *step: steps.append(step)
    )
    assert steps == [("moerec", 60, 60), ("Markov chain", 60, 60), ("popularity", 60, 60)]


def test_popularity_counts_training_events_alone(report: Report) -> None:
    """Not the held-out ones, or a report would call popular what was only tested."""
    trained = LOG.group_by("user_id", maintain_order=True).head(12)
    expected = dict(trained["item_id"].value_counts().iter_rows())
    counts = dict(zip(report.bundle.id_map.ids, report.train_counts[1:].tolist(), strict=True))
    assert counts == {item: expected.get(item, 0) for item in counts}
    assert report.train_counts[0] == 0


def test_experts_are_measured_on_the_same_users(report: Report) -> None:
    steps: list[tuple[str, int, int]] = []
    routing = routing_of(report, on_progress=lambda *step: steps.append(step))
    assert routing is not None
    assert routing.tokens == 60 * 13
    assert routing.held_out.tokens == 60
    assert steps == [("experts", 60, 60)]


def test_a_shortened_log_is_refused(bundle: Bundle) -> None:
    shorter = LOG.group_by("user_id", maintain_order=True).head(9)
    with pytest.raises(LeakError, match="60 of the 60"):
        evaluate_bundle(bundle, from_frame(shorter), "test")


def test_a_log_without_held_out_events(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no test event"):
        evaluate_bundle(bundle, from_frame(LOG.head(2)), "test")


def test_a_folder_that_is_not_there(report: Report, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        report.write_json(tmp_path / "nowhere" / "out.json")


def test_the_ranks_are_those_of_the_figures(report: Report, tmp_path: Path) -> None:
    """A column a scorer; a held-out item that the catalogue lacks has no rank."""
    missing = replace(
        report,
        results=[
            replace(result, ranks=np.where(np.arange(60) == 3, MISS, result.ranks))
            for result in report.results
        ],
    )
    missing.write_ranks(tmp_path / "ranks.csv")
    with (tmp_path / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user_id", "moerec", "Markov chain", "popularity"]
    assert [row["user_id"] for row in rows] == [f"user{user}" for user in range(60)]
    assert rows[3]["moerec"] == rows[3]["popularity"] == ""
    hits = [row["moerec"] != "" and int(row["moerec"]) <= 10 for row in rows]
    assert np.mean(hits) == missing.results[0].summary["hr@10"]
