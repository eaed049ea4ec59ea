"""The loop: epochs of steps, validation after each, early stopping, checkpoints.

Everything random in a step follows from (seed, step), and the batches of an epoch from (seed, epoch):
a training that was killed and resumed ends with the weights of one that never was. Where several
processes train together, all of them run this loop; the first alone writes.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.artifacts.checkpoint import read_checkpoint
from moerec.data.item_features import ItemFeatures
from moerec.data.sequences import Histories
from moerec.errors import DistributedError
from moerec.evaluation import metrics
from moerec.evaluation.baselines import item_counts
from moerec.evaluation.evaluate import CHUNK, Cases, evaluate
from moerec.evaluation.model_scorer import ModelScorer
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from moerec.training import state
from moerec.training.averaging import AveragedWeights
from moerec.training.config import TrainConfig
from moerec.training.distributed import ALONE, Group
from moerec.training.interrupt import TrainingInterrupted, stop_requested
from moerec.training.negatives import NegativeSampler
from moerec.training.optim import make_optimizer, rate_at
from moerec.training.segments import Segments
from moerec.training.state import EpochRecord, EpochSums, Position
from moerec.training.step import Stepper, StepResult

COUNTED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The first `train_lengths[u]` events of each user train; `validation` chooses the epoch.

    `has_time` says whether timestamps are times, not places. Without validation the last epoch's weights
    are kept. `fingerprint` names the log with the order of
    its users, items and events, `split` the rule of what is held out: a checkpoint of others is not
    continued. `content` are the features of the items, if there are any.
    """

    histories: Histories
    train_lengths: NDArray[np.int32]
    validation: Cases | None
    fingerprint: str
    split: str
    has_time: bool
    content: ItemFeatures | None = None

    def item_counts(self, catalogue: int) -> NDArray[np.int64]:
        """How many training events each item has, int64 [V + 1]; the padding has 0."""
        counts = np.zeros(catalogue + 1, dtype=np.int64)
        begins, lengths = self.histories.offsets[:-1], self.train_lengths.astype(np.int64)
        # Some users at a time: the places of all events would take more memory than the events.
        for rows in np.array_split(np.arange(len(lengths)), lengths.sum() // COUNTED_AT_ONCE + 1):
            nth = np.arange(lengths[rows].sum())
            ends = np.cumsum(lengths[rows])
            place = nth + np.repeat(begins[rows] - ends + lengths[rows], lengths[rows])
            counts += item_counts(self.histories.items[place], catalogue)
        return counts


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training is, after every step. `loss` is the mean over the `targets` of the epoch so far."""

    epoch: int
    epochs: int
    step_in_epoch: int
    steps_an_epoch: int
    loss: float
    targets: int
    records: list[EpochRecord]
    best_epoch: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The best epoch's weights, the settings that led there, and how it went."""

    config: ModelConfig
    settings: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    position: Position


class Trainer:
    """Trains one model. `checkpoint` is where it leaves its state; `watch` sees every step."""

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        data: TrainingData,
        *,
        device: torch.device,
        checkpoint: Path | None = None,
        watch: Callable[[Progress], None] = lambda _progress: None,
        group: Group = ALONE,
    ) -> None:
        torch.manual_seed(config.seed)
        self._model = MoERecommender(model_config).to(device)
        self._config = config
        self._data = data
        self._device = device
        self._checkpoint = checkpoint
        self._watch = watch
        self._group = group
        counts = torch.as_tensor(data.item_counts(model_config.items))
        candidates = self._place_content(counts > 0)
        # Negatives are drawn on the processor: the same for the same seed wherever the model is.
        sampler = NegativeSampler(counts, candidates)
        self._average = AveragedWeights(self._model, config.average_steps)
        self._optimizer = make_optimizer(self._model, config)
        self._stepper = Stepper(
            self._model,
            self._optimizer,
            config,
            sampler,
            candidates=None if candidates is None else candidates.to(device),
            group=group,
        )
        self._segments = Segments(
            data.histories,
            data.train_lengths,
            length=config.length,
            batch_events=config.batch_events,
            seed=config.seed,
        )
        self._steps_an_epoch = self._segments.count_batches()
        self._position = Position()
        self._best: dict[str, Tensor] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint must agree in to be continued."""
        return {
            "model": self._model.config.to_dict(),
            "training": self._config.to_dict(),
            "log": self._data.fingerprint,
            "split": self._data.split,
            "items": self._data.content.digest() if self._data.content else "",
        }

    def resume(self) -> Position:
        """Go back to where the checkpoint stands. `UsageError` if it is of another training."""
        if (path := self._checkpoint) is not None:
            # The other machines may have no such file.
            checkpoint = self._group.from_first(lambda: read_checkpoint(path))
            self._position, self._best = state.load(
                checkpoint,
                self.settings,
                self._model,
                self._average.model,
                self._optimizer,
            )
        return self._position

    def run(self) -> Trained:
        """Train to the end; `TrainingInterrupted` after Ctrl-C, with the checkpoint written."""
        self._check_alike()
        with stop_requested() as stop:
            while not self._finished():
                self._train_epoch(stop)
                self._end_epoch()
                self._save()
        weights = self._best or self._average.model.state_dict()
        arrays = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
        return Trained(self._model.config, self.settings, arrays, self._position)

    def validate(self) -> dict[str, float]:
        """NDCG@10 and hit rate of the averaged weights; nothing without validation.

        Each process ranks some of the targets and hears of all: the figures are those of one.
        """
        questions, group = self._data.validation, self._group
        if questions is None or len(questions) == 0:
            return {}
        # Whole chunks of `evaluate`: what is computed together decides on the last bit.
        owner = np.arange(len(questions)) // CHUNK % group.size
        mine = questions.some(np.flatnonzero(owner == group.rank))
        found = evaluate(ModelScorer(self._average.model), mine, self._model.config.items)
        ranks = np.zeros(len(questions), np.int64)
        for rank, part in enumerate(group.from_all(found.ranks)):
            ranks[owner == rank] = part
        return {"ndcg@10": metrics.ndcg(ranks, 10), "hr@10": metrics.hit_rate(ranks, 10)}

    def _check_alike(self) -> None:
        """`DistributedError` in a process that was given another log or other options than the first."""
        firsts = self._group.from_first(lambda: self.settings)
        if differing := sorted(name for name in firsts if firsts[name] != self.settings[name]):
            raise DistributedError(
                f"process {self._group.rank} trains something else than process 0: "
                f"{', '.join(differing)} differ",
                "Give every machine the same log, the same options and the same version of moerec.",
            )

    def _place_content(self, trained: Tensor) -> Tensor | None:
        """Fill the model's table of features; which items may be negatives, None for all.

        An item without a training event would be a negative at every step and a target at none: its
        features would be taught that nobody wants them. With content it is left out.
        """
        content, module = self._data.content, self._model.content
        if content is None or module is None:
            return None
        module.fill(
            torch.as_tensor(content.offsets),
            torch.as_tensor(content.features),
            torch.as_tensor(content.weights),
            trained,
        )
        return trained

    def _finished(self) -> bool:
        position = self._position
        waited = position.epoch - 1 - position.best_epoch
        impatient = position.best_epoch >= 0 and waited >= self._config.patience
        return impatient or position.epoch >= self._config.epochs

    def _train_epoch(self, stop: threading.Event) -> None:
        position = self._position
        self._model.train()
        # Processors of several kinds round differently; the weights must not drift apart by that.
        self._group.copy_from_first(self._model.state_dict().values())
        for batch in self._segments.epoch(
            position.epoch, skip=position.step_in_epoch, share=self._group.share
        ):
            rate = rate_at(position.step, self._steps_an_epoch * self._config.epochs, self._config)
            seed = self._config.seed * 1_000_003 + position.step
            _add(position.sums, self._stepper.step(batch.to(self._device), rate, seed))
            self._average.update(position.step)
            position.step += 1
            position.step_in_epoch += 1
            self._report()
            if self._group.any(stop.is_set()):
                self._save()
                # Who leaves first makes torchrun end the others: not before the checkpoint is there.
                self._group.wait()
                raise TrainingInterrupted(self._checkpoint)

    def _end_epoch(self) -> None:
        position = self._position
        sums = position.sums
        load = np.array(sums.load, dtype=np.float64)
        scores = self.validate()
        record = EpochRecord(
            loss=sums.loss / max(sums.targets, 1),
            ndcg=scores.get("ndcg@10"),
            hit_rate=scores.get("hr@10"),
            largest_share=float((load / load.sum(axis=1, keepdims=True)).max()),
            mean_experts=float(load.sum() / (len(load) * max(sums.targets, 1))),
        )
        position.epochs.append(record)
        position.step_in_epoch = 0
        position.sums = EpochSums()
        best = position.best_ndcg
        if record.ndcg is not None and (best is None or record.ndcg > best):
            position.best_epoch = position.epoch - 1
            averaged = self._average.model.state_dict()
            self._best = {name: tensor.clone() for name, tensor in averaged.items()}
        self._report()

    def _save(self) -> None:
        if self._checkpoint is not None and self._group.is_first:
            state.save(
                self._checkpoint,
                self.settings,
                self._position,
                self._model,
                self._average.model,
                self._optimizer,
                self._best,
            )

    def _report(self) -> None:
        position = self._position
        self._watch(
            Progress(
                position.epoch,
                self._config.epochs,
                position.step_in_epoch,
                self._steps_an_epoch,
                position.sums.loss / max(position.sums.targets, 1),
                position.sums.targets,
                position.epochs,
                position.best_epoch,
            )
        )


def _add(sums: EpochSums, result: StepResult) -> None:
    load = result.load.cpu().numpy()
    sums.loss += result.loss * result.targets
    sums.targets += result.targets
    sums.load = (load + np.array(sums.load or np.zeros_like(load))).tolist()
