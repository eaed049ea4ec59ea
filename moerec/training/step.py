"""One training step: loss, gradients, update, and the router's controllers.

Letters: B segments, L positions, N valid events (each has a target), E experts.
Where several processes share a batch, each sees its own segments; loss, gradients and load are the
whole batch's in all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.moe import MoELayer
from moerec.models.recommender import MoERecommender
from moerec.training.config import TrainConfig
from moerec.training.distributed import ALONE, Group
from moerec.training.losses import full_softmax, shared_softmax
from moerec.training.negatives import NegativeSampler
from moerec.training.precision import reduced_precision
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
        *,
        candidates: Tensor | None = None,
        group: Group = ALONE,
    ) -> None:
        """`candidates` bool [V + 1]: the items that the full softmax is over, by default all."""
        self._model = model
        self._parameters = list(model.parameters())
        self._optimizer = optimizer
        self._config = config
        self._sampler = sampler
        self._candidates = candidates
        self._group = group
        self._layers = [layer for layer in model.modules() if isinstance(layer, MoELayer)]

    def step(self, batch: Batch, rate: float, seed: int) -> StepResult:
        """One update with learning rate `rate`."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss, loads = self._backward(batch, seed)
        counts = torch.cat([loss[None], loads.reshape(-1).to(torch.float32)])
        counts = self._group.add_up(self._parameters, counts)
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        # float32 counts exactly up to 2^24 tokens of a batch.
        loads = counts[1:].view(loads.shape).to(torch.int64)
        for layer, load in zip(self._layers, loads, strict=True):
            layer.steer(load, batch.all_targets, self._config.balance_rate)
        return StepResult(float(counts[0]), batch.all_targets, loads)

    def _backward(self, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
        """Gradients of this share; its part of the mean loss, and the load [layers, E]."""
        device, experts = batch.targets.device, self._model.config.experts
        if not len(batch.targets):
            loads = torch.zeros(len(self._layers), experts, dtype=torch.int64, device=device)
            return torch.zeros((), device=device), loads
        # Dropout differs by process. Masks and negatives follow from the seed alone, alike in all.
        torch.manual_seed(self._group.own_seed(seed))
        generator = torch.Generator().manual_seed(seed)
        asked = batch.targets > 0
        masked = self._masked(batch, generator)
        with reduced_precision(device, self._config.precision):
            vectors = self._model.item_vectors()
            hidden, routings = self._model(batch.inputs, batch.prefix, masked, vectors)
            rows = functional.normalize(hidden[asked].float(), dim=1)
            loss = self._loss(rows, vectors, batch.targets[asked], generator)
        # The mean over the targets of all shares is the sum of their means by their weights.
        loss = loss * (len(rows) / batch.all_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), torch.stack([routing.load(experts) for routing in routings])

    def _masked(self, batch: Batch, generator: torch.Generator) -> list[Tensor] | None:
        """In a share of the steps one expert a layer does not run for half of the histories.

        At serving an expert may be busy or away; re-routing around it is then nothing new.
        """
        experts = self._model.config.experts
        if experts == 1 or torch.rand((), generator=generator) >= self._config.mask_rate:
            return None
        owner_N = (batch.targets > 0).nonzero()[:, 0]
        masked = []
        for _ in self._layers:
            expert = int(torch.randint(experts, (), generator=generator))
            chosen = torch.rand(batch.all_segments, generator=generator) < 0.5
            masked_BE = torch.zeros(len(batch.targets), experts, dtype=torch.bool)
            masked_BE[:, expert] = chosen[batch.share]
            masked.append(masked_BE.to(owner_N.device)[owner_N])
        return masked

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
