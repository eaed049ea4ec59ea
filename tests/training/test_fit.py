"""Training as a whole: it learns, repeats itself, survives being stopped, leaves nothing half done."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from moerec.artifacts.bundle import Bundle, copy_bundle, read_bundle
from moerec.artifacts.checkpoint import checkpoint_path
from moerec.data.interactions import from_frame
from moerec.data.items import ItemTable
from moerec.errors import ArtifactError, DataError, StorageError, UsageError
from moerec.evaluation.report import evaluate_bundle
from moerec.models.config import LAST_ITEMS
from moerec.models.loading import load_model
from moerec.training.fit import FitOptions, Unfinished, fit_bundle
from moerec.training.interrupt import TrainingInterrupted
from moerec.training.loop import Progress
from moerec.training.presets import Variant
from tests.logs import walking_interactions, walking_log
from tests.tiny import SMALL, SMALL_OPTIONS

LOG = walking_interactions()
QUICK = FitOptions(epochs=3, variant=SMALL)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def weights(bundle: Bundle) -> dict[str, NDArray[np.generic]]:
    return bundle.weights()


def assert_same_weights(one: Bundle, other: Bundle) -> None:
    for name, array in weights(one).items():
        assert np.array_equal(array, weights(other)[name]), name


def stop_after(steps: int) -> Callable[[Progress], None]:
    """A watcher that presses Ctrl-C after so many steps."""
    seen = 0

    def watch(progress: Progress) -> None:
        nonlocal seen
        seen += progress.step_in_epoch > 0
        if seen == steps:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def test_it_learns_what_a_chain_of_counts_would(tmp_path: Path) -> None:
    """Users walk a circle; after training the next step is among the first guesses for most."""
    log = walking_interactions(300)
    bundle = fit_bundle(log, tmp_path / "bundle", options=FitOptions(epochs=20))
    model, _, popularity = evaluate_bundle(bundle, log, "test").results
    assert model.summary["hr@5"] > 0.7
    assert model.summary["hr@5"] > 2 * popularity.summary["hr@5"]


def test_same_seed_same_weights(tmp_path: Path) -> None:
    one = fit_bundle(LOG, tmp_path / "one", options=QUICK)
    two = fit_bundle(LOG, tmp_path / "two", options=QUICK)
    three = fit_bundle(LOG, tmp_path / "three", options=replace(QUICK, seed=1))
    assert_same_weights(one, two)
    assert not np.array_equal(weights(one)["embedding.weight"], weights(three)["embedding.weight"])


@pytest.mark.parametrize("fit_all", [False, True])
def test_the_bundle_shows_where_users_are(tmp_path: Path, fit_all: bool) -> None:
    """And is refused when that file is not the one that was written, or goes with a copy."""
    bundle = fit_bundle(LOG, tmp_path / "bundle", options=replace(QUICK, fit_all=fit_all))
    users = bundle.user_sample()
    assert users is not None
    assert users.vectors.shape[1] == bundle.config["dim"]
    assert np.linalg.norm(users.vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    assert users.recent.shape == (len(users.vectors), LAST_ITEMS)
    assert (users.recent[:, 0] > 0).all()
    assert users.recent.max() <= len(bundle.id_map)
    copied = copy_bundle(bundle, tmp_path / "copy").user_sample()
    assert copied is not None
    assert all(np.array_equal(one, other) for one, other in zip(copied, users, strict=True))
    (bundle.path / "users.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"users\.safetensors"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, steps: int) -> None:
    whole = fit_bundle(LOG, tmp_path / "whole", options=QUICK)
    out = tmp_path / "stopped"
    with pytest.raises(TrainingInterrupted) as stopped:
        fit_bundle(LOG, out, options=QUICK, watch=stop_after(steps))
    assert stopped.value.exit_code == 130
    assert not out.exists()
    resumed = fit_bundle(LOG, out, options=replace(QUICK, unfinished="resume"))
    assert_same_weights(whole, resumed)
    assert not checkpoint_path(out).exists()


def test_killed_and_resumed_equals_never_killed(tmp_path: Path) -> None:
    """kill -9 between two epochs' checkpoints: the rest is done again, to the same weights."""
    walking_log().write_csv(tmp_path / "log.csv")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "moerec", "train", str(tmp_path / "log.csv")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    child = subprocess.Popen(
        [*command, "--out", str(out), "--epochs", "40", *SMALL_OPTIONS],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not checkpoint_path(out).exists() and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert checkpoint_path(out).exists()
    assert not out.exists()
    options = FitOptions(epochs=40, variant=SMALL)
    few = walking_interactions()
    interrupted = fit_bundle(few, out, options=replace(options, unfinished="resume"))
    whole = fit_bundle(few, tmp_path / "whole", options=options)
    assert_same_weights(interrupted, whole)


def test_an_unfinished_training_is_not_lost_by_accident(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, options=QUICK, watch=stop_after(1))
    with pytest.raises(UsageError, match="unfinished training") as refused:
        fit_bundle(LOG, out, options=QUICK)
    assert "--resume" in refused.value.remedy
    assert fit_bundle(LOG, out, options=replace(QUICK, unfinished="restart")).path == out


def test_two_trainings_do_not_make_one_bundle_at_once(tmp_path: Path) -> None:
    """They shared the checkpoint: the second wrote over the first one's, either resumed from the other's."""
    out = tmp_path / "bundle"
    refused: list[str] = []
    choices: tuple[Unfinished, ...] = ("refuse", "resume", "restart")

    def begin_another(progress: Progress) -> None:
        if progress.step_in_epoch != 1:
            return
        for unfinished in choices:
            with pytest.raises(UsageError, match="another training of") as error:
                fit_bundle(LOG, out, options=replace(QUICK, unfinished=unfinished))
            refused.append(error.value.remedy)

    fit_bundle(LOG, out, options=QUICK, watch=begin_another)
    assert len(refused) == 9
    assert all("another folder" in remedy for remedy in refused)
    assert [each.name for each in tmp_path.iterdir()] == ["bundle"]


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, options=QUICK, watch=stop_after(1))
    with pytest.raises(UsageError, match="training differ"):
        fit_bundle(LOG, out, options=replace(QUICK, epochs=9, unfinished="resume"))
    other = Variant(settings={**SMALL.settings, "dropout": 0.1})
    with pytest.raises(UsageError, match="model differ"):
        fit_bundle(LOG, out, options=replace(QUICK, variant=other, unfinished="resume"))
    with pytest.raises(UsageError, match="log"):
        fit_bundle(walking_interactions(seed=4), out, options=replace(QUICK, unfinished="resume"))


def test_a_log_in_another_order_does_not_resume(tmp_path: Path) -> None:
    """The same events from a shuffled file number the items differently: the half-trained weights would
    have gone to other items."""
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, options=QUICK, watch=stop_after(1))
    turned = from_frame(walking_log().reverse())
    with pytest.raises(UsageError, match="log differ"):
        fit_bundle(turned, out, options=replace(QUICK, unfinished="resume"))


def test_another_split_does_not_resume(tmp_path: Path) -> None:
    """Begun with --fit-all and resumed without, a bundle would have claimed to hold out what it saw."""
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, options=replace(QUICK, split="none"), watch=stop_after(1))
    with pytest.raises(UsageError, match="split"):
        fit_bundle(LOG, out, options=replace(QUICK, unfinished="resume"))


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_path_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a bundle"):
        fit_bundle(LOG, Path(name), options=replace(QUICK, replace=True))


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    """It used to be found out after the first epoch."""
    (tmp_path / "file").touch()
    steps: list[Progress] = []
    for out in (tmp_path / "file" / "bundle", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match="cannot write"):
            fit_bundle(LOG, out, options=QUICK, watch=steps.append)
    assert steps == []


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        fit_bundle(LOG, tmp_path / "bundle", options=replace(QUICK, seed=seed))


def test_replace_takes_nothing_but_a_bundle(tmp_path: Path) -> None:
    """`--replace --out DIR` used to delete whatever DIR was."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one")
    with pytest.raises(UsageError, match="not a bundle"):
        fit_bundle(LOG, tmp_path / "thesis", options=replace(QUICK, replace=True))
    assert (tmp_path / "thesis" / "chapter").read_text() == "one"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, options=QUICK, watch=stop_after(1))
    whole = checkpoint_path(out).read_bytes()
    for broken in (whole[:-8] + b"\1" * 8, whole[:-8], b"", whole.replace(b'"1"', b'"9"', 1)):
        checkpoint_path(out).write_bytes(broken)
        with pytest.raises(ArtifactError, match="checkpoint"):
            fit_bundle(LOG, out, options=replace(QUICK, unfinished="resume"))


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no unfinished training"):
        fit_bundle(LOG, tmp_path / "bundle", options=replace(QUICK, unfinished="resume"))


def test_an_existing_bundle_is_refused_before_training(tmp_path: Path) -> None:
    steps: list[Progress] = []
    fit_bundle(LOG, tmp_path / "bundle", options=QUICK)
    with pytest.raises(UsageError, match="exists already"):
        fit_bundle(LOG, tmp_path / "bundle", options=QUICK, watch=steps.append)
    assert steps == []
    replaced = fit_bundle(LOG, tmp_path / "bundle", options=replace(QUICK, seed=2, replace=True))
    assert read_bundle(tmp_path / "bundle").version == replaced.version


def test_users_too_short_to_learn_from_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no user has two events"):
        fit_bundle(walking_interactions(events=3), tmp_path / "bundle", options=QUICK)


def test_the_manifest_records_what_was_held_out(tmp_path: Path) -> None:
    held = fit_bundle(LOG, tmp_path / "held", options=QUICK).manifest
    everything = fit_bundle(LOG, tmp_path / "all", options=replace(QUICK, fit_all=True)).manifest
    by_time = fit_bundle(LOG, tmp_path / "time", options=replace(QUICK, split="time:0.2")).manifest
    assert held.held_out == "leave-one-out"
    assert held.training["trained_events"] == 60 * 12
    assert "validation_ndcg@10" in held.metrics
    assert everything.held_out == "none"
    assert everything.training["trained_events"] == 60 * 14
    assert "validation_ndcg@10" not in everything.metrics
    assert by_time.held_out == "time:0.2"
    assert by_time.training["trained_events"] < 60 * 14 * 0.7


@pytest.mark.parametrize(
    "variant",
    [Variant("sasrec"), Variant(twin="active", settings={"neighbors": 5, "validation_users": 9})],
    ids=["sasrec", "twin"],
)
def test_another_variant_trains_is_measured_and_named(tmp_path: Path, variant: Variant) -> None:
    bundle = fit_bundle(LOG, tmp_path / "bundle", options=replace(QUICK, variant=variant))
    manifest = read_bundle(bundle.path).manifest
    assert manifest.training["variant"] == variant.to_dict()
    assert bundle.config["experts"] == 1
    assert bundle.config["neighbors"] == variant.settings.get("neighbors", 0)
    model = evaluate_bundle(bundle, LOG, "test").results[0]
    assert 0 < model.summary["hr@10"] <= 1


def test_the_manifest_keeps_the_record_of_each_epoch(tmp_path: Path) -> None:
    """The learning curves of the quality report; the figures are those that were shown while training."""
    seen: list[Progress] = []
    bundle = fit_bundle(
        LOG, tmp_path / "bundle", options=replace(QUICK, epochs=3), watch=seen.append
    )
    training = read_bundle(bundle.path).manifest.training
    assert training["epoch_records"] == [asdict(record) for record in seen[-1].records]
    assert len(training["epoch_records"]) == 3
    best = training["epoch_records"][training["best_epoch"] - 1]
    assert best["ndcg"] == max(record["ndcg"] for record in training["epoch_records"])
    everything = fit_bundle(
        LOG, tmp_path / "all", options=replace(QUICK, epochs=2, fit_all=True)
    ).manifest.training
    assert everything["best_epoch"] == 2
    assert everything["epoch_records"][1]["ndcg"] is None


def test_items_bring_titles_and_categories_and_new_items(tmp_path: Path) -> None:
    import polars as pl

    table = pl.DataFrame(
        {
            "item_id": ["item3", "unheard"],
            "title": ["Three", "New"],
            "categories": [["odd", "small"], []],
        }
    )
    bundle = fit_bundle(LOG, tmp_path / "bundle", items=ItemTable(table), options=QUICK)
    index = int(bundle.id_map.indexes(["item3"])[0])
    assert bundle.titles[index - 1] == "Three"
    assert bundle.categories[index - 1] == ["odd", "small"]
    assert bundle.id_map.ids[-1] == "unheard"
    assert all(item.item_id != "unheard" for item in bundle.popular)


def grouped_items() -> ItemTable:
    """Two items a group, thirty items of the walk, and one that nobody has met."""
    names = [*(f"item{number}" for number in range(30)), "new"]
    groups = [[f"group{number % 15}"] for number in range(30)] + [["group3"]]
    return ItemTable(pl.DataFrame({"item_id": names, "categories": groups}).sort("item_id"))


def test_an_item_without_events_stands_where_its_content_is(tmp_path: Path) -> None:
    items = grouped_items()
    bundle = fit_bundle(LOG, tmp_path / "bundle", items=items, options=QUICK)
    assert bundle.content is not None
    assert bundle.config["features"] == 15
    vectors = load_model(bundle.config, bundle.weights()).item_vectors().detach()
    new, first, last, other = (
        vectors[bundle.id_map.indexes(pl.Series([name]))[0]]
        for name in ("new", "item3", "item18", "item9")
    )
    assert float(new @ (first + last)) > float(2 * new @ other) + 0.1


def test_an_item_file_without_content_is_as_good_as_none(tmp_path: Path) -> None:
    names = pl.DataFrame({"item_id": [f"item{number}" for number in range(30)]})
    with_file = fit_bundle(LOG, tmp_path / "with", items=ItemTable(names), options=QUICK)
    without = fit_bundle(LOG, tmp_path / "without", options=QUICK)
    assert with_file.content is None
    assert_same_weights(with_file, without)


def test_a_checkpoint_of_other_content_is_not_continued(tmp_path: Path) -> None:
    out, items = tmp_path / "bundle", grouped_items()
    with pytest.raises(TrainingInterrupted):
        fit_bundle(LOG, out, items=items, options=QUICK, watch=stop_after(2))
    moved = items.frame.with_columns(categories=pl.col("categories").reverse())
    with pytest.raises(UsageError, match="items"):
        fit_bundle(LOG, out, items=ItemTable(moved), options=replace(QUICK, unfinished="resume"))
