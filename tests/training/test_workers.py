"""A training starts processes of its own, and none of them outlives it: real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed import TCPStore

from moerec.artifacts.bundle import Bundle
from moerec.artifacts.checkpoint import checkpoint_path
from moerec.errors import DistributedError
from moerec.training.fit import FitOptions, fit_log, prepare_log
from moerec.training.interrupt import TrainingInterrupted
from moerec.training.loop import Progress
from moerec.training.workers import with_workers
from tests.logs import walking_interactions, walking_log

LOG = walking_interactions()
QUICK = FitOptions(epochs=3)
RESUMED = FitOptions(epochs=3, unfinished="resume")
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def children(parent: int) -> list[int]:
    """The processes that `parent` has started and that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, its_parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(its_parent) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return found


def until(done: Callable[[], object]) -> None:
    """Waits until something has come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fit(
    out: Path, options: FitOptions = QUICK, watch: Callable[[Progress], None] = lambda _: None
) -> Bundle:
    """A training by this process and another one."""
    log = prepare_log(LOG, None, options)
    with with_workers(2, out, options) as group:
        assert group.size == 2
        return fit_log(log, out, options=options, watch=watch, group=group)


def in_the_second_epoch(number: signal.Signals, process: Callable[[], int]) -> Callable[..., None]:
    """Sends a signal to a process, once."""
    sent = []

    def watch(progress: Progress) -> None:
        if progress.epoch == 1 and progress.step_in_epoch and not sent:
            sent.append(number)
            os.kill(process(), number)

    return watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What two processes train if nobody stops them."""
    torch.set_num_threads(1)
    return fit(tmp_path_factory.mktemp("whole") / "bundle")


def test_the_manifest_tells_how_many_they_were(whole: Bundle) -> None:
    assert whole.manifest.training["processes"] == 2
    assert children(os.getpid()) == []
    assert [path.name for path in whole.path.parent.iterdir()] == ["bundle"]


def test_stopped_and_resumed_equals_never_stopped(whole: Bundle, tmp_path: Path) -> None:
    """The signal comes to this process alone; the other one is told, and leaves."""
    out = tmp_path / "bundle"
    with pytest.raises(TrainingInterrupted):
        fit(out, watch=in_the_second_epoch(signal.SIGINT, os.getpid))
    assert children(os.getpid()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.checkpoint"]
    resumed = fit(out, RESUMED)
    expected, found = whole.weights(), resumed.weights()
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_process_that_is_killed_ends_the_training(tmp_path: Path) -> None:
    """With a message that says which, not with a wait, and without half a bundle."""
    out = tmp_path / "bundle"
    with pytest.raises(DistributedError) as lost:
        fit(out, watch=in_the_second_epoch(signal.SIGKILL, lambda: children(os.getpid())[0]))
    assert "process 1 of this training was killed by signal 9" in lost.value.message
    assert lost.value.remedy.startswith("Go on with --resume")
    assert lost.value.exit_code == 2
    assert children(os.getpid()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.checkpoint"]


def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    with pytest.raises(DistributedError) as lost:
        fit(tmp_path / "bundle")
    assert "process 1 of this training ended with code 1" in lost.value.message
    assert "encodings" in lost.value.message
    assert lost.value.remedy.startswith("Train again")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_first_process_ends_the_others(tmp_path: Path) -> None:
    """Whatever it is."""
    with pytest.raises(ZeroDivisionError), with_workers(2, tmp_path / "bundle", QUICK):
        1 / len(children(2**31))
    assert children(os.getpid()) == []


def test_the_others_leave_quietly_when_the_first_is_gone() -> None:
    """By kill -9 too: their standard input then ends, whatever they are waiting for."""
    store = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "moerec.training.workers", str(store.port), "1", "2"],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(lambda: store.check(["here/1"]) or process.poll() is not None)
    assert process.poll() is None
    assert process.communicate(timeout=PATIENCE_S)[0] == b""
    assert process.returncode == 1


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_nobody_behind(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    walking_log().write_csv(tmp_path / "log.csv")
    train = ["-m", "moerec", "train", str(tmp_path / "log.csv"), "--out", str(out)]
    command = subprocess.Popen(
        [sys.executable, *train, "--processes", "2", "--epochs", "40", "--set", "patience=40"],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: checkpoint_path(out).exists() or command.poll() is not None)
    (worker,) = children(command.pid)
    command.send_signal(signal.SIGINT)
    printed = command.communicate(timeout=PATIENCE_S)[0]
    assert command.returncode == 130, printed
    assert printed.splitlines()[-2:] == [
        "error: training stopped before its end",
        f"       Go on with --resume (checkpoint: {checkpoint_path(out)}).",
    ]
    assert "Traceback" not in printed
    assert not Path(f"/proc/{worker}").exists()
