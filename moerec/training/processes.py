"""How many processes and threads a training takes by itself.

The matrices of a step are small: threads inside them wait for each other longer than they work, spinning (a
disaster beside other work) or asleep. Processes meet once a step. So cores are used by processes of one
thread each. A large catalogue turns that round: each process would update all of its weights, and threads
share that. The measurements are in docs/decisions/2026-11-25-several-processes.md.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

import torch

from moerec.errors import UsageError
from moerec.models.config import ModelConfig
from moerec.training.config import TrainConfig
from moerec.training.distributed import launched

SHARE_EVENTS: Final = 512
"""Events of a batch that keep a process busy: with fewer each, another one saves less than it costs."""

MOST: Final = 4
"""Processes, or threads: more were not measured. Each process holds the model and its optimiser."""

LEAST_EVENTS: Final = 200_000
"""Events that a training reads in all its epochs, from which on it is worth the start of a process."""

LARGE: Final = 2_000
"""Numbers in the items' vectors for each event of a batch, from which on updating them is the work."""

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
OWN_CONTROL_GROUP: Final = Path("/proc/self/cgroup")


def check_processes(wanted: int | None, device: torch.device) -> None:
    """`UsageError` for a number of processes, None for automatic, that cannot be had."""
    if wanted is None:
        return
    if launched():
        raise UsageError(
            f"--processes {wanted} under torchrun, which has started the processes already",
            "Leave one of the two away.",
        )
    if wanted > 1 and device.type != "cpu":
        raise UsageError(
            f"--processes {wanted} shares the processor's cores, and this training is on a GPU",
            f"Several GPUs: torchrun --nproc-per-node {wanted} -m moerec train ...; no GPU: --device cpu.",
        )


def automatic_processes(
    model: ModelConfig, config: TrainConfig, events: int, device: torch.device, cores: int
) -> int:
    """As many processes as pay for a training on `events` events an epoch, on so many usable `cores`.

    1 on a GPU, or under torchrun.
    """
    short = config.epochs * events < LEAST_EVENTS
    if device.type != "cpu" or launched() or short or _is_large(model, config):
        return 1
    cores //= torch.get_num_threads() if _threads_are_given() else 1
    return max(1, min(cores, MOST, config.batch_events // SHARE_EVENTS))


@contextmanager
def training_threads(
    model: ModelConfig, config: TrainConfig, device: torch.device, processes: int, cores: int
) -> Iterator[None]:
    """While it lasts, as many threads as pay in each of so many `processes` on so many `cores`.

    What OMP_NUM_THREADS says is left alone.
    """
    if device.type != "cpu" or _threads_are_given():
        yield
        return
    before = torch.get_num_threads()
    several = processes == 1 and _is_large(model, config)
    torch.set_num_threads(min(cores, MOST) if several else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores(groups: Path = CONTROL_GROUPS, own: Path = OWN_CONTROL_GROUP) -> int:
    """Cores that this process may run on, by its affinity and its container's quota; at least 1.

    `groups` is where control groups are mounted (version 2), `own` names this process's.
    """
    known = hasattr(os, "sched_getaffinity")  # not everywhere
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(groups, own)])))


def _is_large(model: ModelConfig, config: TrainConfig) -> bool:
    return model.items * model.dim > LARGE * config.batch_events


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Cores' worth of time that this process's control group and those above it may use."""
    place = "/"
    with suppress(OSError):
        lines = own.read_text().splitlines()
        place = next((line[3:] for line in lines if line.startswith("0::/")), place)
    path = PurePosixPath(place)
    for group in (path, *path.parents):
        with suppress(OSError, ValueError):
            quota, period = (groups / str(group)[1:] / "cpu.max").read_text().split()
            yield float(quota) / float(period)


def _threads_are_given() -> bool:
    return bool(os.environ.get("OMP_NUM_THREADS"))
