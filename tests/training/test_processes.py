"""How many processes a training takes by itself: by cores, by the batch, by the work there is."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moerec.errors import UsageError
from moerec.models.config import ModelConfig
from moerec.training.config import TrainConfig
from moerec.training.processes import (
    MOST,
    SHARE_EVENTS,
    automatic_processes,
    check_processes,
    training_threads,
    usable_cores,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MODEL, CONFIG = ModelConfig(items=1_000), TrainConfig(epochs=10, batch_events=6_400)
EVENTS = 1_000_000
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def group_of(folder: Path, place: str, **quotas: str) -> Path:
    """Control groups with these quotas (name -> cpu.max), and the file that says we are in `place`."""
    for name, quota in quotas.items():
        group = folder / "groups" / name.replace("_", "/").removeprefix("root")
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.max").write_text(f"{quota} 100000\n")
    (folder / "own").write_text(f"1:cpu:/old\n0::{place}\n")
    return folder / "own"


def test_a_container_may_use_fewer_cores_than_there_are(tmp_path: Path) -> None:
    own = group_of(tmp_path, "/pod/app", root="max", pod="150000", pod_app="max")
    assert usable_cores(tmp_path / "groups", own) == 1
    own = group_of(tmp_path, "/pod/app", pod="100000000")
    assert usable_cores(tmp_path / "groups", own) == len(os.sched_getaffinity(0))


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "own") == len(os.sched_getaffinity(0))


def test_less_than_a_core_is_one(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "groups", group_of(tmp_path, "/", root="20000")) == 1


def test_as_many_processes_as_cores_up_to_a_limit() -> None:
    for cores, expected in ((1, 1), (2, 2), (3, 3), (64, MOST)):
        assert automatic_processes(MODEL, CONFIG, EVENTS, CPU, cores) == expected


def test_each_process_needs_a_share_of_a_batch() -> None:
    for batch, expected in ((SHARE_EVENTS, 1), (2 * SHARE_EVENTS, 2), (3 * SHARE_EVENTS, 3)):
        config = replace(CONFIG, batch_events=batch)
        assert automatic_processes(MODEL, config, EVENTS, CPU, 8) == expected


def test_a_short_training_is_not_worth_the_start() -> None:
    assert automatic_processes(MODEL, CONFIG, 1_000, CPU, 8) == 1


def test_a_large_catalogue_is_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The update of its weights is the work, and each process would do all of it."""
    large = replace(MODEL, items=1_000_000)
    assert automatic_processes(large, CONFIG, EVENTS, CPU, 8) == 1
    before = torch.get_num_threads()
    try:
        with training_threads(large, CONFIG, CPU, 1, cores=3):
            assert torch.get_num_threads() == 3
        with training_threads(large, CONFIG, CPU, 2, cores=3):
            assert torch.get_num_threads() == 1
        with training_threads(MODEL, CONFIG, CPU, 1, cores=3):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == before
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with training_threads(MODEL, CONFIG, CPU, 2, cores=3):
            assert torch.get_num_threads() == 2
        assert automatic_processes(MODEL, CONFIG, EVENTS, CPU, 8) == 4
    finally:
        torch.set_num_threads(before)


def test_a_gpu_and_torchrun_have_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert automatic_processes(MODEL, CONFIG, EVENTS, GPU, 8) == 1
    with pytest.raises(UsageError, match="on a GPU"):
        check_processes(2, GPU)
    check_processes(1, GPU)
    check_processes(2, CPU)
    for name in LAUNCHED:
        monkeypatch.setenv(name, "1")
    assert automatic_processes(MODEL, CONFIG, EVENTS, CPU, 8) == 1
    check_processes(None, CPU)
    with pytest.raises(UsageError, match="under torchrun"):
        check_processes(2, CPU)
