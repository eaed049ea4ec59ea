"""One training step: loss, gradients, update, and the router's controllers.

Letters: B segments, L positions, N valid events (each has a target), E experts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.moe import MoELayer
from moerec.models.recommender import MoERecommender
from moerec.training.config import TrainConfig
from moerec.training.liked import liked_loss, without_some_values
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
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._config = config
        self._sampler = sampler
        self._head = [*model.liked.parameters()] if model.liked is not None else []
        of_head = {id(parameter) for parameter in self._head}
        self._network = [one for one in model.parameters() if id(one) not in of_head]
        self._layers = [layer for layer in model.modules() if isinstance(layer, MoELayer)]

    def step(self, batch: Batch, rate: float, seed: int) -> StepResult:
        """One update with learning rate `rate`."""
        torch.manual_seed(seed)  # dropout; together with the seed below it makes a step repeatable
        generator = torch.Generator().manual_seed(seed)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        asked = batch.targets > 0
        if self._model.liked is not None:
            batch = without_some_values(batch, generator)
        masked = self._masked(asked, generator)
        with reduced_precision(asked.device):
            hidden, routings = self._model(batch.inputs, batch.prefix, masked)
            rows = functional.normalize(hidden[asked].float(), dim=1)
            loss = self._loss(rows, batch.targets[asked], generator)
        liked = None
        if self._model.liked is not None:
            liked = liked_loss(self._model, batch, hidden, generator)
        self._optimizer.zero_grad(set_to_none=True)
        (loss if liked is None else loss + liked).backward()  # type: ignore[no-untyped-call]
        # The head's own gradients do not shorten the network's steps.
        nn.utils.clip_grad_norm_(self._network, MAX_GRADIENT_NORM)
        nn.utils.clip_grad_norm_(self._head, MAX_GRADIENT_NORM)
        self._optimizer.step()
        experts = self._model.config.experts
        loads = torch.stack([routing.load(experts) for routing in routings])
        targets = int(asked.sum())
        for layer, load in zip(self._layers, loads, strict=True):
            layer.steer(load, targets, self._config.balance_rate)
        return StepResult(float(loss.detach()), targets, loads)

    def _masked(self, valid_BL: Tensor, generator: torch.Generator) -> list[Tensor] | None:
        """In a share of the steps one expert a layer does not run for half of the histories.

        At serving an expert may be busy or away; re-routing around it is then nothing new.
        """
        experts = self._model.config.experts
        if experts == 1 or torch.rand((), generator=generator) >= self._config.mask_rate:
            return None
        masked = []
        for _ in self._layers:
            expert = int(torch.randint(experts, (), generator=generator))
            chosen_B = torch.rand(len(valid_BL), generator=generator) < 0.5
            masked_BE = torch.zeros(len(valid_BL), experts, dtype=torch.bool)
            masked_BE[:, expert] = chosen_B
            owner_N = valid_BL.nonzero()[:, 0]
            masked.append(masked_BE.to(valid_BL.device)[owner_N])
        return masked

    def _loss(self, rows: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        vectors = self._model.item_vectors()
        temperature = self._model.config.temperature
        if not self._config.negatives:
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
