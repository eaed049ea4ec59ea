"""The peers' benchmark: its own parts, and a run at a tiny size with the plain peer and our own service.

RecTools and implicit are no dependencies of ours, so those peers are not run here.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from moerec.loadtest.checks import Content, Listed
from moerec.loadtest.plan import Plan
from moerec.loadtest.users import prepared_store, user_id
from moerec.store.sql import open_event_store
from tests.bench.script import BENCH, run_script
from tests.serving import command_line
from tests.tiny import tiny_bundle

sys.path.insert(0, str(BENCH))

from _peer_app import Batcher, Lists, Question
from _peer_checks import Checked, Exchange, compare
from _peer_process import Peer, in_words, plain, write_world
from _peer_sasrec import SASRec, Service

ITEMS = 300


def listed(*items: str) -> list[Listed]:
    return [Listed(item, 1.0 - place / 10) for place, item in enumerate(items)]


def arguments(tmp_path: Path, *more: str) -> list[str]:
    bundle = tiny_bundle(tmp_path / "bundle", items=ITEMS).path
    return [
        *("--plain-only", "--bundle", str(bundle), "--users", "100", "--connections", "4"),
        *("--checked", "8", "--repeats", "1", "--threads", "1", "--generator", "own"),
        *("--dir", str(tmp_path / "kept"), *more),
    ]


@pytest.fixture
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script sets for those it starts is gone after the test."""
    for name, value in (
        ("PYTHONPATH", str(BENCH.parent)),
        ("OMP_WAIT_POLICY", "PASSIVE"),
        ("OPENBLAS_NUM_THREADS", "1"),
    ):
        monkeypatch.setenv(name, value)


class Counting:
    """The first item of a list is the number of questions of the batch; k counts the rest down."""

    def __init__(self) -> None:
        self.broken = False

    def best(self, questions: Sequence[Question], k: int) -> Lists:
        if self.broken:
            raise ValueError("broken")
        time.sleep(0.01)
        items = np.tile(np.arange(len(questions), len(questions) - k, -1), (len(questions), 1))
        return items, items.astype(np.float32)


async def test_questions_of_the_meantime_make_a_batch() -> None:
    batcher = Batcher(Counting(), most=4)
    question = Question(0, [1])
    found = await asyncio.gather(*(batcher.ask(question, k) for k in (1, 2, 1, 3, 1, 1)))
    assert [items for items, _ in found] == [[4], [4, 3], [4], [4, 3, 2], [2], [2]]
    assert (await batcher.ask(question, 1))[0] == [1]


async def test_an_error_reaches_everyone_of_its_batch_and_nobody_else() -> None:
    counting = Counting()
    batcher = Batcher(counting, most=4)
    counting.broken = True
    found = await asyncio.gather(
        *(batcher.ask(Question(0, []), 1) for _ in range(3)), return_exceptions=True
    )
    assert [str(error) for error in found] == ["broken"] * 3
    counting.broken = False
    assert (await batcher.ask(Question(0, []), 1))[0] == [1]


def test_a_batch_of_the_plain_peer_has_the_lists_of_each_alone() -> None:
    """Padding, a history longer than the model reads, and an item that was seen twice."""
    model = SASRec(items=50, dim=8, layers=2, heads=2, length=6).eval()
    service = Service(model)
    histories = [[3], [4, 5, 6], list(range(20)), [7, 8, 7, 7]]
    questions = [Question(user, history) for user, history in enumerate(histories)]
    items, scores = service.best(questions, 5)
    for row, question in enumerate(questions):
        alone, _ = service.best([question], 5)
        assert items[row].tolist() == alone[0].tolist()
        assert not set(items[row].tolist()) & set(question.history)
        wanted = best_scores(model, question.history, 5)
        np.testing.assert_allclose(scores[row], wanted, rtol=1e-5)


def best_scores(model: SASRec, history: list[int], k: int) -> np.ndarray:
    """By the definition: products with the vectors of all items, without those of the history."""
    with torch.inference_mode():
        vector = model(torch.tensor([history[-model.length :]]))[0, -1]
        scores = (model.items.weight @ vector).numpy()
    return np.sort(np.delete(scores, history))[::-1][:k]


def test_the_world_is_what_the_store_holds(tmp_path: Path) -> None:
    plan = Plan(items=200, users=30, events_a_user=(3, 8), folder=tmp_path)
    catalogue = [f"x{number:03}" for number in reversed(range(200))]
    found = write_world(plan, catalogue, tmp_path)
    loaded = prepared_store(plan, catalogue, lambda *_: None)
    names = sorted(catalogue)
    with closing(open_event_store(f"sqlite:///{loaded.path}")) as store:
        for user, history in enumerate(found):
            stored = [each.event.item_id for each in store.history(user_id(user), 100)]
            assert [names[place] for place in history] == stored
    with np.load(tmp_path / "world.npz") as world:
        assert world["item_ids"].tolist() == names
        assert world["offsets"][-1] == len(world["items"]) == sum(map(len, found))


def test_an_event_that_only_leaves_the_list_does_not_count_as_taken_in() -> None:
    before = listed("a", "b", "c")
    assert not Exchange(0, before, listed("b", "c", "d")).moved
    assert Exchange(0, before, listed("c", "b", "d")).moved
    right, wrong = Content(4, 4, 0, 0), Content(4, 3, 0, 1)
    assert Checked(2, 2, right).knows_last_click
    assert not Checked(2, 2, wrong).knows_last_click
    assert not Checked(2, 0, right).knows_last_click


def test_lists_beside_the_offline_ones() -> None:
    scores = [1.0, 0.9]
    assert compare(listed("a", "b"), ["a", "b"], scores) == "equal"
    assert compare(listed("b", "a"), ["a", "b"], scores) == "close"
    assert compare(listed("a", "b"), ["a", "b"], [1.0, 0.8]) == "different"
    assert compare(listed("a"), ["a", "b"], scores) == "different"
    assert compare(listed("a", "a"), ["a", "b"], scores) == "different"


def test_every_combination_of_settings_is_tried() -> None:
    peer = Peer("x", "_x", "python", (("ranker", ("one", "other")),))
    found = peer.candidates([1, 2], [1, 64])
    assert len(found) == 8
    assert in_words(found[-1]) == (
        "2 threads, micro-batches of at most 64, ranker: other, 1 worker"
    )
    assert in_words(plain().candidates([1], [1])[0]) == "1 thread, one question at a time, 1 worker"


@pytest.mark.slow
@pytest.mark.usefixtures("_own_environment")
def test_the_plain_peer_beside_our_service(tmp_path: Path) -> None:
    figures = tmp_path / "out.json"
    more = ("--seconds", "1", "--batches", "64", "--json", str(figures))
    done = run_script("peers.py", *arguments(tmp_path, *more))
    assert done.returncode == 0, done.stderr
    assert "RecTools SASRec, implicit ALS: left out" in done.stderr
    assert "moerec against FastAPI + PyTorch SASRec" in done.stdout
    found = json.loads(figures.read_text())
    peer, ours = found["rows"]
    for row in (peer, ours):
        assert row["checked"]["knows_last_click"]
        assert row["checked"]["content"]["different"] == 0
        (load,) = row["runs"]
        assert (load["errors"], load["mix"]) == ({}, [9, 1])
        assert load["requests"] > 0
        assert row["cpu_us"] > 0
    assert set(ours["runs"][0]["cpu_us"]) == {"gateway", "engine", "generator"}
    assert peer["checked"]["content"]["lists"] == 2 * peer["checked"]["clicks"]
    assert found["facts"]["items"] == ITEMS


@pytest.mark.usefixtures("_own_environment")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--plain-only", "--items", "10"], "200 items or more"),
        (["--plain-only", "--bundle", "nowhere"], "nowhere"),
        (["--rectools-python", "nowhere/python"], "rectools[torch]"),
    ],
)
def test_bad_input_is_refused_in_words(tmp_path: Path, given: list[str], said: str) -> None:
    done = run_script("peers.py", *given, "--dir", tmp_path / "kept")
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen(
[sys.executable, str(BENCH / "peers.py"), *arguments(tmp_path, "--seconds", "60")],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        parent = psutil.Process(process.pid)
        deadline = time.monotonic() + 200
        while not any(
            "moerec.loadtest.generator" in command_line(each) for each in parent.children()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = parent.children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("stopped\n")
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
