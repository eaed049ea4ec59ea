"""One training on several processes: who they are, and what they tell each other.

`moerec train` (`workers.py`) or `torchrun` starts the processes. One of each machine reads the log; all
keep the same weights. Of each batch a process takes every n-th segment; the gradients are added up, and
everybody makes the same update. So the weights are those of one process, up to the rounding of sums in
another order, however many processes there are.

Torch's `DistributedDataParallel` is not used: it averages the processes' gradients, which is another
loss where they have different numbers of targets; it waits for every parameter's gradient in every
process, which a share without segments does not have; and it keeps the router's load at home. One sum
over one flat array after the backward pass carries all of it.
"""

import datetime
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from moerec.errors import DistributedError, UsageError

T = TypeVar("T")

STEP_TIMEOUT: Final = datetime.timedelta(minutes=5)
"""How long a process may be late for a step before the others give it up."""

WAIT_TIMEOUT: Final = datetime.timedelta(hours=4)
"""Likewise for what a process does alone: reading a log, ranking its part of the validation. Slow work
alone needs such patience: a process that has ended is noticed at once, since its connections close, and a
machine that has gone without closing them by `PROBES`."""

PROBES: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""After so many silent seconds the system asks whether the other machine is there, every so many seconds,
so many times: a minute in all. The other system answers, however busy its process is, or stopped. It does
not ask while something is on its way: in the middle of a step `STEP_TIMEOUT` has the last word."""

LAUNCHED: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` puts into the environment of a process."""

SEED_STEP: Final = 0x9E3779B1
"""Odd, and below 2^32 of which torch's generator on the processor takes note."""


class Group:
    """The processes of one training; this one is number `rank` of `size`. Alone, every call is free."""

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        control: distributed.ProcessGroup | None = None,
    ) -> None:
        """`local_rank` is this process's number on its machine; a machine's ranks follow each other.

        `control` carries what is not a tensor of the device, and has patience.
        """
        self.rank = rank
        self.size = size
        self._local_rank = local_rank
        self._control = control

    @property
    def is_first(self) -> bool:
        """Whether this process validates, prints and writes."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this process reads the log for those of its machine."""
        return self._local_rank == 0

    @property
    def share(self) -> slice:
        """Which rows of a batch are this process's."""
        return slice(self.rank, None, self.size)

    def own_seed(self, seed: int) -> int:
        """A seed of this process alone: dropout must not fall on the same places in every share."""
        return seed + self.rank * SEED_STEP

    def add_up(self, parameters: Sequence[Tensor], counts: Tensor) -> Tensor:
        """Add up the gradients of all processes, in place; returns the sum of `counts` (float32 [n]).

        A gradient that no process has stays None.
        """
        if self.size == 1:
            return counts
        there = [float(parameter.grad is not None) for parameter in parameters]
        parts = [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).reshape(-1)
            for parameter in parameters
        ]
        flat = torch.cat([*parts, counts, counts.new_tensor(there)])
        with _together():
            distributed.all_reduce(flat)
        sizes = [*(len(part) for part in parts), len(counts), len(there)]
        *sums, total, anywhere = torch.split_with_sizes(flat, sizes)
        for parameter, gradient, some in zip(parameters, sums, anywhere.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter) if some else None
        return total

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Make `tensors`, in place, those of the first process."""
        if self.size == 1:
            return
        with _together():
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)])
        with _together():
            distributed.all_reduce(flags, group=self._control)
        return bool(flags.item())

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, which alone calls it.

        Where it raises, the first process ends, and the others with it.
        """
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.is_first else None]
        with _together():
            distributed.broadcast_object_list(box, src=0, group=self._control)
        made: T = box[0]
        return made

    def from_all(self, mine: T) -> list[T]:
        """What each process gives, something small, in the order of their ranks."""
        boxes: list[Any] = [mine] * self.size
        if self.size > 1:
            with _together():
                distributed.all_gather_object(boxes, mine, group=self._control)
        return boxes

    def from_first_here(self, mine: T | None) -> T:
        """What the first process of this machine gives, something small; what others give is not asked."""
        boxes: list[Any] = self.from_all(mine)
        made: T = boxes[self.rank - self._local_rank]
        return made

    def wait(self) -> None:
        """Until every process has come here."""
        self.any(True)


ALONE: Final = Group()


def launched() -> bool:
    """Whether `torchrun`, or the like, has started this process."""
    return all(os.environ.get(name) for name in LAUNCHED)


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that `torchrun` started this process for, or `ALONE`.

    On GPUs each process of a machine takes one. Raises `UsageError` if there are too few, and
    `DistributedError` if the others cannot be met.
    """
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]), torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _together():
        distributed.init_process_group(backend, timeout=STEP_TIMEOUT)
    with _member(int(os.environ["LOCAL_RANK"])) as group:
        yield group


@contextmanager
def joined_here(store: TCPStore, rank: int, size: int) -> Iterator[Group]:
    """The group of `size` processes of this machine, on its processor, that meet in `store`.

    Raises `DistributedError` if the others cannot be met.
    """
    with _together():
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=STEP_TIMEOUT
        )
    with _member(rank) as group:
        yield group


@contextmanager
def _member(local_rank: int) -> Iterator[Group]:
    try:
        with _together():
            control = distributed.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
        _probe_connections()
        rank, size = distributed.get_rank(), distributed.get_world_size()
        yield Group(rank, size, local_rank, control)
    finally:
        # Where the others have gone already there is nothing left to say goodbye to.
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _probe_connections() -> None:
    """Set `PROBES` on all connections of this process: gloo opens its own without, and keeps them."""
    for number in map(int, os.listdir("/dev/fd")):
        # Files, pipes and other sockets refuse, and the listing itself is closed by now.
        with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as one:
            for name, value in PROBES.items():
                if hasattr(socket, name):  # not on every system
                    one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _take_gpu(number: int, gpus: int) -> None:
    if number >= gpus:
        raise UsageError(
            f"process {number + 1} of this machine has no GPU: there are {gpus}",
            f"Start torchrun with --nproc-per-node {gpus}.",
        )
    torch.cuda.set_device(number)


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise DistributedError(
            "another process of this training has ended, or does not answer",
            "Its own message says why. Go on with --resume from the last checkpoint.",
        ) from error
