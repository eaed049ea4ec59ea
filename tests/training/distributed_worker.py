"""What each process of a test runs: `python -m tests.training.distributed_worker FOLDER TASK ...`.

It writes what it has computed into FOLDER, one file a process.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from moerec.data.item_features import ItemFeatures
from moerec.data.split import leave_one_out
from moerec.evaluation.evaluate import Cases, cases
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from moerec.training.config import TrainConfig
from moerec.training.distributed import Group, joined
from moerec.training.interrupt import TrainingInterrupted
from moerec.training.loop import Progress, Trainer, TrainingData
from moerec.training.negatives import NegativeSampler
from moerec.training.optim import make_optimizer
from moerec.training.segments import Segments
from moerec.training.shared import share
from moerec.training.step import Stepper
from tests.logs import walking_interactions, with_histories

Arrays = dict[str, NDArray[np.generic]]

STEPS = 10
CONTENT = ItemFeatures(
    3,
    np.repeat(np.arange(3, dtype=np.int32), [2, 1, 29]),
    np.array([1, 2], dtype=np.int32),
    np.ones(2, dtype=np.float32),
)
CONFIG = TrainConfig(
    epochs=3,
    length=8,
    batch_events=64,
    warmup_steps=4,
    mask_rate=0.5,
    average_steps=5,
    precision="float32",
)


def model_config(dropout: float = 0.0) -> ModelConfig:
    """Two small layers; every expert is busy, and the window is shorter than a segment."""
    return ModelConfig(
        items=30, dim=16, layers=2, heads=2, window=4, experts=4, expert_dim=8, dropout=dropout
    )


def training_data(users: int = 20) -> TrainingData:
    """A log of some users, the last of their events held out."""
    id_map, histories = with_histories(walking_interactions(users))
    held = leave_one_out(histories)
    rows, places = held.targets("validation")
    questions = cases(histories, rows, places.astype(np.int64))
    assert len(id_map) == 30
    return TrainingData(histories, held.train_lengths, questions, "log", "some", True)


def take_steps(group: Group, config: TrainConfig = CONFIG, dropout: float = 0.0) -> Arrays:
    """Ten steps: losses [10], gradients [10, P] and loads [10, layers, E]; then the weights [P]."""
    torch.manual_seed(0)
    data, model = training_data(), MoERecommender(model_config(dropout)).train()
    sampler = NegativeSampler(torch.as_tensor(data.item_counts(30)))
    stepper = Stepper(model, make_optimizer(model, config), config, sampler, group=group)
    segments = Segments(
        data.histories,
        data.train_lengths,
        length=config.length,
        batch_events=config.batch_events,
        seed=0,
    )
    losses, gradients, loads = [], [], []
    for batch in [*segments.epoch(0, share=group.share), *segments.epoch(1, share=group.share)][
        :STEPS
    ]:
        result = stepper.step(batch, 2e-3, len(losses))
        losses.append(result.loss)
        loads.append(result.load.numpy())
        gradients.append(nn.utils.parameters_to_vector(_gradients(model)).numpy().copy())
    assert len(losses) == STEPS
    weights = nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    return {
        "losses": np.array(losses),
        "gradients": np.stack(gradients),
        "loads": np.stack(loads),
        "weights": weights,
    }


def _gradients(model: nn.Module) -> list[torch.Tensor]:
    return [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for parameter in model.parameters()
    ]


def train(
    group: Group, checkpoint: Path | None = None, *, dropout: float = 0.0, stop_at: int = 0
) -> Arrays:
    """A whole training, from `checkpoint` on if it is there: its weights.

    At step `stop_at` of the last process, that one alone gets SIGTERM.
    """
    seen = 0

    def watch(_progress: Progress) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_at and group.rank == group.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer = Trainer(
        model_config(dropout),
        CONFIG,
        training_data(),
        device=torch.device("cpu"),
        checkpoint=checkpoint,
        watch=watch,
        group=group,
    )
    if checkpoint is not None and checkpoint.exists():
        trainer.resume()
    return dict(trainer.run().weights)


def stopped(group: Group, checkpoint: Path, **options: float) -> None:
    """A training that is stopped at its seventh step, in the middle of an epoch."""
    with suppress(TrainingInterrupted):
        train(group, checkpoint, stop_at=7, **options)
        raise AssertionError("it was not stopped")
    assert checkpoint.exists()


def shared_arrays(group: Group, folder: Path) -> Arrays:
    """What each process has of the log that the first has read."""
    data = None
    if group.is_first_here:
        data = replace(training_data(), content=CONTENT)
    found, catalogue = share(data, 30 if data else 0, folder / "shared", group)
    assert (found.fingerprint, found.split, found.has_time, catalogue) == (
        "log",
        "some",
        True,
        30,
    )
    assert found.content is not None
    assert found.content.size == CONTENT.size
    # Torch warned on the terminal of arrays that it could not write to, in a training with items.
    assert found.content.offsets.flags.writeable
    assert bool(found.histories.users) == group.is_first
    _assert_same_questions(found.validation)
    assert isinstance(found.histories.items.base, np.memmap)
    return {
        "offsets": found.histories.offsets,
        "items": found.histories.items,
        "timestamps": found.histories.timestamps,
        "values": found.histories.values,
        "lengths": found.train_lengths,
        "features": found.content.features,
        "weights": found.content.weights,
        "rows": found.content.offsets,
    }


def _assert_same_questions(found: Cases | None) -> None:
    expected = training_data().validation
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.users, expected.users)
    np.testing.assert_array_equal(found.targets, expected.targets)
    for mine, theirs in zip(found.histories, expected.histories, strict=True):
        np.testing.assert_array_equal(mine.items, theirs.items)
        np.testing.assert_array_equal(mine.timestamps, theirs.timestamps)


def ranked(group: Group) -> Arrays:
    """The figures of a validation of 600 targets, three chunks, that no process ranks alone."""
    data = training_data(users=600)
    trainer = Trainer(model_config(), CONFIG, data, device=torch.device("cpu"), group=group)
    found = trainer.validate()
    return {name: np.array(figure) for name, figure in found.items()}


def probes() -> list[int]:
    """Of each connection of this process: silent seconds until it is probed, 0 for never; ascending."""
    found = []
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as one:
            one.getpeername()
            idle = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            found.append(idle if one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) else 0)
    return sorted(found)


def prefixed(**parts: Arrays) -> Arrays:
    """All arrays in one, `part.name`."""
    return {
        f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()
    }


def steps_task(group: Group) -> Arrays:
    """Ten steps in every way that the processes could do differently."""
    return prefixed(
        full=take_steps(group),
        shared=take_steps(group, replace(CONFIG, negatives=16)),
        # One segment a batch: all processes but the first have nothing to do.
        lonely=take_steps(group, replace(CONFIG, batch_events=8)),
        dropout=take_steps(group, dropout=0.5),
    )


def train_task(group: Group, folder: Path) -> Arrays:
    """Trainings whole, and stopped and resumed; a stopped one is left in `folder` for the test."""
    whole = train(group, folder / "whole", dropout=0.2)
    stopped(group, folder / "stopped", dropout=0.2)
    resumed = train(group, folder / "stopped", dropout=0.2)
    stopped(group, folder / "left")
    shared = shared_arrays(group, folder)
    return prefixed(
        whole=whole,
        resumed=resumed,
        plain=train(group),
        log=shared,
        ranked=ranked(group),
        # gloo opens two with each of the other processes; torch's store has some of its own.
        connections={"probes": np.array(probes()[:4])},
    )


def main() -> None:
    """The tasks of one process."""
    folder, *tasks = sys.argv[1:]
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as group:
        arrays: dict[str, Any] = {}
        if "steps" in tasks:
            arrays |= steps_task(group)
        if "train" in tasks:
            arrays |= train_task(group, Path(folder))
        np.savez(Path(folder) / f"{group.rank}.npz", **arrays)


if __name__ == "__main__":
    main()
