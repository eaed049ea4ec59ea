"""The encoder's weights as the kernels read them: one array of all layers for each kind.

Letters: n layers, D width, E experts, F hidden width of an expert, H heads, W window.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moerec.engine.kernels import Floats
from moerec.models.attention import TIME_BUCKETS
from moerec.models.encoder import Block
from moerec.models.recommender import MoERecommender


class Packed(NamedTuple):
    """What the compiled step reads of a model. Every map is input x output, as `row @ map` wants it.

    A model without gates, router, summary or times has zeros in their place, and the flags say so.
    """

    attention_norm_nD: Floats
    key_value_nDM: Floats
    query_gate_nDM: Floats
    attention_gate_nD: Floats
    distance_nHW: Floats
    age_nHT: Floats
    output_nDD: Floats
    moe_norm_nD: Floats
    router_gate_nDM: Floats
    moe_gate_nD: Floats
    balance_nE: Floats
    margin_n: Floats
    gate_up_nEDG: Floats
    down_nEFD: Floats
    summary_norm_D: Floats
    summary_router_DM: Floats
    final_norm_D: Floats
    final_DD: Floats
    decay: np.float32
    min_experts: int
    max_experts: int
    gated: bool
    uses_time: bool
    uses_summary: bool


@torch.inference_mode()
def pack(model: MoERecommender) -> Packed:
    """The weights of a model in evaluation mode."""
    config, encoder = model.config, model.encoder
    blocks = [block for block in encoder.blocks if isinstance(block, Block)]
    routers = [block.moe.router for block in blocks]
    none_DE = torch.zeros(config.dim, config.experts)
    none_HT = torch.zeros(config.heads, TIME_BUCKETS)
    return Packed(
        attention_norm_nD=_stacked([block.attention_norm.weight for block in blocks]),
        key_value_nDM=_stacked(
            [block.attention.query_key_value.weight.T[:, config.dim :] for block in blocks]
        ),
        query_gate_nDM=_stacked(
            [
                torch.cat(
                    [
                        block.attention.query_key_value.weight.T[:, : config.dim],
                        _gate_map(block.attention_gate, config.dim),
                    ],
                    dim=1,
                )
                for block in blocks
            ]
        ),
        attention_gate_nD=_stacked(
            [_gate_bias(block.attention_gate, config.dim) for block in blocks]
        ),
        distance_nHW=_stacked([block.attention.distance_bias for block in blocks]),
        age_nHT=_stacked(
            [
                none_HT if block.attention.time_bias is None else block.attention.time_bias
                for block in blocks
            ]
        ),
        output_nDD=_stacked([block.attention.output.weight.T for block in blocks]),
        moe_norm_nD=_stacked([block.moe_norm.weight for block in blocks]),
        router_gate_nDM=_stacked(
            [
                torch.cat(
                    [
                        none_DE if router is None else router.from_token.weight.T,
                        _gate_map(block.moe_gate, config.dim),
                    ],
                    dim=1,
                )
                for block, router in zip(blocks, routers, strict=True)
            ]
        ),
        moe_gate_nD=_stacked([_gate_bias(block.moe_gate, config.dim) for block in blocks]),
        balance_nE=_stacked(
            [none_DE[0] if router is None else router.balance_bias for router in routers]
        ),
        margin_n=_stacked(
            [torch.zeros(()) if router is None else router.margin for router in routers]
        ),
        gate_up_nEDG=_stacked([block.moe.experts.gate_up_EDG for block in blocks]),
        down_nEFD=_stacked([block.moe.experts.down_EFD for block in blocks]),
        summary_norm_D=_array(
            torch.ones(config.dim) if encoder.summary_norm is None else encoder.summary_norm.weight
        ),
        summary_router_DM=_array(
            torch.cat(
                [
                    none_DE
                    if router is None or router.from_summary is None
                    else router.from_summary.weight.T
                    for router in routers
                ],
                dim=1,
            )
        ),
        final_norm_D=_array(encoder.output_norm.weight),
        final_DD=_array(encoder.output.weight.T),
        decay=np.float32(config.summary_decay),
        min_experts=config.min_experts,
        max_experts=config.max_experts,
        gated=bool(config.gated),
        uses_time=bool(config.uses_time),
        uses_summary=config.uses_summary,
    )


def _gate_map(gate: nn.Linear | None, dim: int) -> Tensor:
    return torch.zeros(dim, dim) if gate is None else gate.weight.T


def _gate_bias(gate: nn.Linear | None, dim: int) -> Tensor:
    return torch.zeros(dim) if gate is None else gate.bias


def _stacked(tensors: list[Tensor]) -> Floats:
    return _array(torch.stack(tensors))


def _array(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.float().cpu().numpy(), dtype=np.float32)
