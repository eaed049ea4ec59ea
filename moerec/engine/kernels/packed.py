"""The encoder's weights as the kernels read them: one array of all layers for each kind.

Letters: n layers, D width, E experts, F hidden width of an expert, H heads, W window, P places of a ring,
T buckets of age.
Every map is input x output, as `row @ map` wants it; M stands for several outputs side by side. A model
without gates, router, summary or times has zeros in their place, and a flag that says so.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.engine.kernels.arithmetic import Floats
from moerec.engine.kernels.rows import places
from moerec.models.attention import TIME_BUCKETS
from moerec.models.config import ModelConfig
from moerec.models.encoder import Block, Encoder
from moerec.models.recommender import MoERecommender


class Attention(NamedTuple):
    """Of every layer's attention; keys and values side by side, queries and the residual gate.

    `distance_nHP` is the bias for each distance that occurs in a ring; -inf for W and more.
    """

    norm_nD: Floats
    key_value_nDM: Floats
    query_gate_nDM: Floats
    gate_nD: Floats
    distance_nHP: Floats
    age_nHT: Floats
    output_nDD: Floats
    window: int
    gated: bool
    uses_time: bool


class Mixture(NamedTuple):
    """Of every layer's experts; the router's logits and the residual gate side by side."""

    norm_nD: Floats
    router_gate_nDM: Floats
    gate_nD: Floats
    balance_nE: Floats
    margin_n: Floats
    gate_up_nEDG: Floats
    down_nEFD: Floats
    min_experts: int
    max_experts: int
    gated: bool


class Summary(NamedTuple):
    """Of the user's summary that the routers see; the logits of all layers side by side."""

    norm_D: Floats
    router_DM: Floats
    decay: np.float32
    used: bool


class Packed(NamedTuple):
    """A whole encoder; `norm_D` and `output_DD` make the user's vector of the newest row."""

    attention: Attention
    mixture: Mixture
    summary: Summary
    norm_D: Floats
    output_DD: Floats


@torch.inference_mode()
def pack(model: MoERecommender) -> Packed:
    """The weights of a model in evaluation mode."""
    encoder, config = model.encoder, model.config
    blocks = [block for block in encoder.blocks if isinstance(block, Block)]
    return Packed(
        _attention(blocks, config),
        _mixture(blocks, config),
        _summary(encoder, blocks, config),
        _array(encoder.output_norm.weight),
        _array(encoder.output.weight.T),
    )


def _attention(blocks: list[Block], config: ModelConfig) -> Attention:
    D, none_HT = config.dim, torch.zeros(config.heads, TIME_BUCKETS)
    parts = [block.attention for block in blocks]
    maps = [part.query_key_value.weight.T for part in parts]
    gates = [block.attention_gate for block in blocks]
    beyond = places(config.window) - config.window
    return Attention(
        norm_nD=_stacked(block.attention_norm.weight for block in blocks),
        key_value_nDM=_stacked(map_[:, D:] for map_ in maps),
        query_gate_nDM=_stacked(
            torch.cat([map_[:, :D], _gate_map(gate, D)], dim=1)
            for map_, gate in zip(maps, gates, strict=True)
        ),
        gate_nD=_stacked(_gate_bias(gate, D) for gate in gates),
        distance_nHP=_stacked(
            functional.pad(part.distance_bias, (0, beyond), value=-torch.inf) for part in parts
        ),
        age_nHT=_stacked(none_HT if part.time_bias is None else part.time_bias for part in parts),
        output_nDD=_stacked(part.output.weight.T for part in parts),
        window=config.window,
        gated=bool(config.gated),
        uses_time=bool(config.uses_time),
    )


def _mixture(blocks: list[Block], config: ModelConfig) -> Mixture:
    D, none_DE = config.dim, torch.zeros(config.dim, config.experts)
    routers = [block.moe.router for block in blocks]
    experts = [block.moe.experts for block in blocks]
    gates = [block.moe_gate for block in blocks]
    tokens = [none_DE if router is None else router.from_token.weight.T for router in routers]
    return Mixture(
        norm_nD=_stacked(block.moe_norm.weight for block in blocks),
        router_gate_nDM=_stacked(
            torch.cat([token, _gate_map(gate, D)], dim=1)
            for token, gate in zip(tokens, gates, strict=True)
        ),
        gate_nD=_stacked(_gate_bias(gate, D) for gate in gates),
        balance_nE=_stacked(
            none_DE[0] if router is None else router.balance_bias for router in routers
        ),
        margin_n=_stacked(
            torch.zeros(()) if router is None else router.margin for router in routers
        ),
        gate_up_nEDG=_stacked(part.gate_up_EDG for part in experts),
        down_nEFD=_stacked(part.down_EFD for part in experts),
        min_experts=config.min_experts,
        max_experts=config.max_experts,
        gated=bool(config.gated),
    )


def _summary(encoder: Encoder, blocks: list[Block], config: ModelConfig) -> Summary:
    norm, none_DE = encoder.summary_norm, torch.zeros(config.dim, config.experts)
    routers = [block.moe.router for block in blocks]
    maps = [None if router is None else router.from_summary for router in routers]
    return Summary(
        norm_D=_array(torch.ones(config.dim) if norm is None else norm.weight),
        router_DM=_array(
            torch.cat([none_DE if map_ is None else map_.weight.T for map_ in maps], dim=1)
        ),
        decay=np.float32(config.summary_decay),
        used=config.uses_summary,
    )


def _gate_map(gate: nn.Linear | None, dim: int) -> Tensor:
    return torch.zeros(dim, dim) if gate is None else gate.weight.T


def _gate_bias(gate: nn.Linear | None, dim: int) -> Tensor:
    return torch.zeros(dim) if gate is None else gate.bias


def _stacked(tensors: Iterable[Tensor]) -> Floats:
    return _array(torch.stack(list(tensors)))


def _array(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.float().cpu().numpy(), dtype=np.float32)
