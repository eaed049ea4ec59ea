"""How many processes and threads a training takes by itself.

Matrices of a step are small: threads inside them spend their time on waiting for each other, spinning (a
disaster beside other work) or asleep. Processes meet once a step. So cores are used by processes
of one thread each; the figures are in docs/decisions/2026-11-25-several-processes.md.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

import torch

from moerec.errors import UsageError
from moerec.training.config import TrainConfig
from moerec.training.distributed import launched

SHARE_EVENTS: Final = 512
"""Events of a batch that keep a process busy: with fewer each, another one saves less than it costs."""

MOST_PROCESSES: Final = 4
"""Each holds the model and its optimiser, and adds to the sum that all wait for."""

LEAST_EVENTS: Final = 200_000
"""Events that a training reads in all its epochs, from which on it is worth the start of a process."""

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


def automatic_processes(config: TrainConfig, events: int, device: torch.device) -> int:
    """As many processes as pay for a training on `events` events an epoch; 1 on a GPU, or under torchrun."""
    if device.type != "cpu" or launched() or config.epochs * events < LEAST_EVENTS:
        return 1
    cores = usable_cores() // (torch.get_num_threads() if _threads_are_given() else 1)
    return max(1, min(cores, MOST_PROCESSES, config.batch_events // SHARE_EVENTS))


@contextmanager
def training_threads(device: torch.device) -> Iterator[None]:
    """One thread, while it lasts; what OMP_NUM_THREADS says is left alone."""
    if device.type != "cpu" or _threads_are_given():
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
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
