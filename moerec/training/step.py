"""One training step: loss, gradients, update, and the router's controllers.

Letters: N positions with a target, E experts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.moe import MoELayer
from moerec.models.recommender import MoERecommender
from moerec.training.config import TrainConfig
from moerec.training.losses import full_softmax, shared_softmax
from moerec.training.negatives import NegativeSampler
from moerec.training.segments import Batch

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class StepResult:
    """`loss` is the mean over `targets` positions; `load` [layers, E] counts the tokens of each expert."""

    loss: float
    targets: int
    load: Tensor


class Stepper:
    """Applies batches to a model. Everything random in a step follows from the step's own seed."""

    def __init__(
        self,
        model: MoERecommender,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        sampler: NegativeSampler,
        candidates: Tensor | None = None,
    ) -> None:
        """`candidates` bool [V + 1]: the items that the full softmax is over, by default all."""
        self._model = model
        self._optimizer = optimizer
        self._config = config
        self._sampler = sampler
        self._candidates = candidates
        self._layers = [layer for layer in model.modules() if isinstance(layer, MoELayer)]

    def step(self, batch: Batch, rate: float, seed: int) -> StepResult:
        """One update with learning rate `rate`."""
        torch.manual_seed(seed)  # dropout; together with the seed below it makes a step repeatable
        generator = torch.Generator().manual_seed(seed)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        vectors = self._model.item_vectors()
        hidden, routings = self._model(batch.inputs, batch.prefix, vectors)
        asked = batch.targets > 0
        loss = self._loss(
            functional.normalize(hidden[asked], dim=1), vectors, batch.targets[asked], generator
        )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        experts = self._model.config.experts
        loads = torch.stack([routing.load(experts) for routing in routings])
        targets = int(asked.sum())
        for layer, load in zip(self._layers, loads, strict=True):
            layer.steer(load, targets, self._config.balance_rate)
        return StepResult(float(loss.detach()), targets, loads)

    def _loss(
        self, rows: Tensor, vectors: Tensor, targets: Tensor, generator: torch.Generator
    ) -> Tensor:
        temperature = self._model.config.temperature
        if not self._config.negatives:
            if self._candidates is not None:
                padding = vectors[:1]
                targets = self._candidates.cumsum(0)[targets]
                vectors = torch.cat([padding, vectors[self._candidates]])
            return full_softmax(rows, vectors, targets, temperature)
        negatives, log_expected = self._sampler.draw(self._config.negatives, generator)
        return shared_softmax(
            rows,
            vectors,
            targets,
            temperature,
            negatives.to(rows.device),
            log_expected.to(rows.device),
        )
