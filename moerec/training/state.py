"""Where a training stands, and how that becomes a checkpoint and comes back.

Letters: E experts.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moerec.artifacts.checkpoint import Checkpoint, write_checkpoint
from moerec.errors import UsageError

Weights = dict[str, Tensor]


@dataclass(slots=True)
class EpochSums:
    """What the steps of an unfinished epoch add up to. `load` [layers][E] counts tokens."""

    loss: float = 0.0
    targets: int = 0
    load: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A finished epoch: mean loss a target, validation NDCG@10 and HR@10 (None without validation),
    the largest share of an expert in any layer, and the mean number of experts a token woke."""

    loss: float
    ndcg: float | None
    hit_rate: float | None
    largest_share: float
    mean_experts: float


@dataclass(slots=True)
class Position:
    """Steps done in all and in the current epoch, finished epochs, and the best of them."""

    step: int = 0
    step_in_epoch: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = -1

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 0."""
        return len(self.epochs)

    @property
    def best_ndcg(self) -> float | None:
        """Validation NDCG@10 of the best epoch so far."""
        return self.epochs[self.best_epoch].ndcg if self.best_epoch >= 0 else None


def save(
    path: Path,
    settings: dict[str, Any],
    position: Position,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Weights | None,
) -> None:
    """Write everything that the rest of the training depends on."""
    arrays = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    arrays |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    arrays |= {f"best.{name}": tensor for name, tensor in (best or {}).items()}
    for number, moments in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    plain = {name: _array(tensor) for name, tensor in arrays.items()}
    write_checkpoint(path, Checkpoint({"settings": settings, "position": asdict(position)}, plain))


def load(
    checkpoint: Checkpoint,
    settings: dict[str, Any],
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Position, Weights | None]:
    """Put a checkpoint back into `model`, its `average` and `optimizer`.

    UsageError unless it is of the same log and settings.
    """
    written = checkpoint.state["settings"]
    if differing := sorted(name for name in settings if written.get(name) != settings[name]):
        raise UsageError(
            f"the checkpoint is of another training: {', '.join(differing)} differ",
            "Give the same log and options as before, or start over with --restart.",
        )
    groups = _groups(checkpoint.arrays)
    model.load_state_dict(groups["model"])
    average.load_state_dict(groups["average"])
    state = optimizer.state_dict()
    for name, tensor in groups.get("optimizer", {}).items():
        number, moment = name.split(".", 1)
        state["state"].setdefault(int(number), {})[moment] = tensor
    optimizer.load_state_dict(state)
    return _position(checkpoint.state["position"]), groups.get("best")


def _array(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().contiguous().numpy()
    return array


def _groups(arrays: dict[str, NDArray[np.generic]]) -> dict[str, Weights]:
    groups: dict[str, Weights] = {}
    for name, array in arrays.items():
        group, rest = name.split(".", 1)
        groups.setdefault(group, {})[rest] = torch.from_numpy(np.array(array))
    return groups


def _position(values: dict[str, Any]) -> Position:
    return Position(
        step=values["step"],
        step_in_epoch=values["step_in_epoch"],
        sums=EpochSums(**values["sums"]),
        epochs=[EpochRecord(**record) for record in values["epochs"]],
        best_epoch=values["best_epoch"],
    )
