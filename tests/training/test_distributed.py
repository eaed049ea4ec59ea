"""Several processes train what one would: real processes, that talk through gloo."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from moerec.artifacts.bundle import read_bundle
from moerec.artifacts.checkpoint import checkpoint_path
from moerec.training.distributed import ALONE, PROBES, Group
from moerec.training.shared import FORGOTTEN_S
from tests.logs import walking_log
from tests.training.distributed_worker import (
    CONTENT,
    Arrays,
    ranked,
    steps_task,
    train,
    training_data,
)

Processes = list[subprocess.Popen[str]]
PATIENCE = 120
EPOCHS = "8"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def start(number: int, *command: str) -> Processes:
    """What torchrun does, without its watching over them: they must notice each other's end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.getcwd(),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(number)
    ]


def outputs(processes: Processes) -> list[str]:
    """What they printed, when all have ended."""
    try:
        return [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def run(number: int, folder: Path, *tasks: str) -> list[Arrays]:
    """The arrays that each of `number` processes found."""
    processes = start(number, "tests.training.distributed_worker", str(folder), *tasks)
    printed = outputs(processes)
    assert [process.returncode for process in processes] == [0] * number, printed
    found = []
    for rank in range(number):
        with np.load(folder / f"{rank}.npz") as arrays:
            found.append(dict(arrays))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the three processes train."""
    return tmp_path_factory.mktemp("three")


@pytest.fixture(scope="module")
def three(folder: Path) -> list[Arrays]:
    """What each of three processes found: started once for all tests, since that takes longest.

    Another training shares its log at the same time, and one was killed when it did, long ago.
    """
    for name, age in (("another", 0), ("killed", 2 * FORGOTTEN_S)):
        events = folder / f".shared.events.{name}"
        events.mkdir()
        (events / "items.npy").write_bytes(b"of another log")
        os.utime(events, (time.time() - age,) * 2)
    return run(3, folder, "steps", "train")


def part(arrays: Arrays, name: str) -> Arrays:
    """The arrays whose names begin with `name.`."""
    return {
        key.removeprefix(f"{name}."): array
        for key, array in arrays.items()
        if key.startswith(f"{name}.")
    }


def assert_close(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-3, atol=2e-5, err_msg=name)


def assert_equal(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)


def test_ten_steps_of_several_processes_are_those_of_one(three: list[Arrays]) -> None:
    """Losses, gradients, loads and weights, where each process sees a part of every batch, or none."""
    alone = steps_task(ALONE)
    for name in ("full", "shared", "lonely"):
        expected = part(alone, name)
        for arrays in three:
            shared = part(arrays, name)
            assert_close(expected, shared)
            np.testing.assert_array_equal(expected["loads"], shared["loads"])
    for arrays in three[1:]:
        assert_equal(three[0], arrays)


def test_dropout_is_not_the_same_in_every_share() -> None:
    """Torch's generator on the processor reads 32 bits of a seed: a rank in the higher ones was lost."""
    seeds = [Group(rank, 8).own_seed(5) for rank in range(8)]
    draws = {
        tuple(torch.rand(3, generator=torch.Generator().manual_seed(s)).tolist()) for s in seeds
    }
    assert len(draws) == 8
    assert seeds[0] == 5


def test_whole_trainings_agree(three: list[Arrays], folder: Path) -> None:
    """Stopped by a signal to one process and resumed equals never stopped, to the last bit; resumed by
    one process, and never stopped by one, within rounding."""
    first = three[0]
    assert_equal(part(first, "whole"), part(first, "resumed"))
    alone = train(ALONE)
    assert_close(alone, part(first, "plain"))
    assert_close(alone, train(ALONE, folder / "left"))
    assert not np.allclose(alone["embedding.weight"], part(first, "whole")["embedding.weight"])


def test_processes_share_one_log(three: list[Arrays], folder: Path) -> None:
    """A second training with the same --out, started a moment later, deleted the files of the first and
    wrote its own under the same name: the first one failed, or trained on the other's log."""
    first = three[0]
    left = [path.name for path in folder.glob(".shared*")]
    assert left == [".shared.events.another"], "a day's old ones go, and those of this training"
    here = training_data()
    np.testing.assert_array_equal(first["log.items"], here.histories.items)
    np.testing.assert_array_equal(first["log.timestamps"], here.histories.timestamps)
    np.testing.assert_array_equal(first["log.features"], CONTENT.features)


def test_what_processes_validate_together_are_the_figures_of_one(three: list[Arrays]) -> None:
    """To the last bit: the epoch that is kept must not depend on how many looked."""
    first = three[0]
    assert_equal(ranked(ALONE), part(first, "ranked"))


def test_a_machine_that_is_lost_is_noticed(three: list[Arrays]) -> None:
    """Without power, or a network, it closes no connection: who waited for it while it validated did so for
    four hours. Now the system asks after it on every connection."""
    for arrays in three:
        assert arrays["connections.probes"].tolist() == [PROBES["TCP_KEEPIDLE"]] * 4


@pytest.fixture
def log(tmp_path: Path) -> Path:
    walking_log().write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def remains(out: Path) -> list[str]:
    """What lies beside the log, hidden files too."""
    return sorted(path.name for path in out.parent.iterdir() if path.name != "log.csv")


def torchrun(log: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node 2 -m moerec train LOG --out OUT`, as the documentation has it."""
    command = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    train_it = ["moerec", "train", str(log), "--out", str(out), "--epochs", EPOCHS, *options]
    return subprocess.Popen(
        [sys.executable, "-m", *command, *train_it],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_torchrun_stopped_and_resumed_equals_never_stopped(tmp_path: Path, log: Path) -> None:
    """Ctrl-C reaches all processes; the bundle is, to the last bit, that of one that nobody stopped."""
    whole, out = tmp_path / "whole", tmp_path / "bundle"
    never = start(2, "moerec", "train", str(log), "--out", str(whole), "--epochs", EPOCHS)
    printed = outputs(never)
    assert [process.returncode for process in never] == [0, 0], printed
    stopped = torchrun(log, out)
    while not checkpoint_path(out).exists() and stopped.poll() is None:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    printed = outputs([stopped])[0]
    assert stopped.returncode != 0
    assert "training stopped before its end" in printed
    assert "Go on with --resume" in printed
    assert remains(out) == ["bundle.checkpoint", "whole"]
    printed = outputs([running := torchrun(log, out, "--resume")])[0]
    assert running.returncode == 0, printed
    assert printed.count("written to") == 1
    assert remains(out) == ["bundle", "whole"]
    assert_equal(read_bundle(whole).weights(), read_bundle(out).weights())


@pytest.mark.slow
def test_what_the_first_process_refuses_ends_all(tmp_path: Path, log: Path) -> None:
    """One that exists already, here; and one that was given another seed is told that it differs."""
    (tmp_path / "bundle").mkdir()
    processes = start(2, "moerec", "train", str(log), "--out", str(tmp_path / "bundle"))
    printed = outputs(processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert "exists already" in printed[0]
