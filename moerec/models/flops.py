"""What the encoder costs: multiply-accumulates of one token, and parameters, from a configuration alone.

The encoder is attention, gates, router and experts; item vectors and the scoring of items are not in it.
Counted are the products of matrices as they are carried out, blocks of the window and padding to whole
blocks included. Sums, norms, softmax, sorting and copying are not: what those cost, time shows
(`bench/encoder_cost.py`).

Letters: L positions of a history, W window, D width, E experts, F hidden width, k experts of a token.
"""

from dataclasses import asdict, dataclass
from typing import Final

import torch

from moerec.models.config import ModelConfig
from moerec.models.encoder import Encoder

WIDTH_STEP: Final = 8
"""A twin's hidden width is a multiple of it: other widths are slow on vector units, and a twin whose time
is measured shall not lose by that."""


@dataclass(frozen=True, slots=True)
class EncoderCost:
    """Multiply-accumulates a token; one is two floating-point operations (FLOPs).

    `router` has the summary of the user's past in it, `output` is the map behind the last block.
    """

    attention: float
    gates: float
    router: float
    experts: float
    output: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.attention + self.gates + self.router + self.experts + self.output


@dataclass(frozen=True, slots=True)
class EncoderParameters:
    """Trained numbers of the encoder: all, and those that a token meets at the mean number of experts."""

    total: int
    active: int


def encoder_cost(
    config: ModelConfig, *, length: int | None = None, mean_experts: float | None = None
) -> EncoderCost:
    """The mean over the tokens of one history of `length` events, by default the receptive field.

    `mean_experts` is k where it was measured, by default what the configuration asks for.
    """
    L = length or config.receptive_field
    k = config.mean_experts if mean_experts is None else mean_experts
    D = config.dim
    size = min(config.window, L)
    blocks = -(-L // size)
    padded = blocks * size / L
    seen = size if blocks == 1 else 2 * size
    router = 0 if config.is_dense else D * config.experts * (1 + config.user_routing)
    return EncoderCost(
        attention=config.layers * (padded * (3 * D * D + 2 * D * seen) + D * D),
        gates=config.layers * 2 * D * D * config.gated,
        router=config.layers * router + (L * D if config.uses_summary else 0),
        experts=config.layers * 3 * D * config.expert_dim * k,
        output=D * D,
    )


def encoder_parameters(config: ModelConfig) -> EncoderParameters:
    """Counted on an encoder without memory behind it; buffers are not trained and do not count."""
    with torch.device("meta"):
        encoder = Encoder(config)
    total = sum(parameter.numel() for parameter in encoder.parameters())
    experts = config.layers * config.experts * 3 * config.dim * config.expert_dim
    asleep = experts * (1 - config.mean_experts / config.experts)
    return EncoderParameters(total, round(total - asleep))


def equal_total(config: ModelConfig) -> ModelConfig:
    """The dense model with as many encoder parameters, all awake for each token; no nearer width."""
    narrow, wide = (_all_parameters(config.dense(width)) for width in (1, 2))
    return config.dense(_width((_all_parameters(config) - narrow) / (wide - narrow) + 1))


def equal_active(config: ModelConfig) -> ModelConfig:
    """The dense model with as much work a token at the mean number of experts; no nearer width."""
    narrow, wide = (encoder_cost(config.dense(width)).total for width in (1, 2))
    return config.dense(_width((encoder_cost(config).total - narrow) / (wide - narrow) + 1))


def _all_parameters(config: ModelConfig) -> int:
    return encoder_parameters(config).total


def _width(wanted: float) -> int:
    return max(round(wanted / WIDTH_STEP), 1) * WIDTH_STEP


def describe_encoder(
    config: ModelConfig, mean_experts: float | None = None
) -> dict[str, float | dict[str, float]]:
    """Cost and parameters as plain numbers for JSON; `mean_experts` is k where it was measured.

    `equal_total_macs_a_token` is the cost of the dense model with as many parameters (`equal_total`).
    `item_parameters` are what the items are made of: ids and features.
    """
    k = config.mean_experts if mean_experts is None else mean_experts
    cost, parameters = encoder_cost(config, mean_experts=k), encoder_parameters(config)
    everything = cost if config.is_dense else encoder_cost(equal_total(config))
    return {
        "mean_experts": k,
        "macs_a_token": cost.total,
        "macs_a_token_by_part": asdict(cost),
        "equal_total_macs_a_token": everything.total,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "item_parameters": (config.items + config.features) * config.dim,
    }
