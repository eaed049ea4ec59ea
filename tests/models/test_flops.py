"""The cost of the encoder: against torch's own count of what was done, and the sizes of modules."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moerec.models.config import ModelConfig
from moerec.models.encoder import Encoder
from moerec.models.flops import describe_encoder, encoder_cost, encoder_parameters

CONFIG = ModelConfig(
    items=30, dim=24, layers=3, heads=2, window=6, experts=4, expert_dim=20, max_experts=3
)
HISTORIES = 4


def counted(config: ModelConfig, length: int) -> tuple[float, float]:
    """Multiply-accumulates a token that torch saw, and the mean number of experts."""
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    shape = HISTORIES, length
    x, times = torch.randn(*shape, config.dim), torch.zeros(shape, dtype=torch.long)
    valid, summary = torch.ones(shape, dtype=torch.bool), torch.zeros(HISTORIES, config.dim)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _, routings = encoder(x, times, valid, summary)
    tokens = HISTORIES * length
    mean = sum(float(routing.active_NK.sum()) for routing in routings) / tokens / len(routings)
    return counter.get_total_flops() / 2 / tokens, mean


@pytest.mark.parametrize("length", [1, 4, 6, 7, 16, 18])
@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, gated=0),
        replace(CONFIG, user_routing=0),
        replace(CONFIG, uses_time=1, heads=3),
        CONFIG.dense(80),
    ],
    ids=["moe", "ungated", "token alone", "time", "dense"],
)
def test_the_formula_counts_what_is_carried_out(config: ModelConfig, length: int) -> None:
    macs, mean_experts = counted(config, length)
    cost = encoder_cost(config, length=length, mean_experts=mean_experts)
    assert cost.total == pytest.approx(macs, rel=1e-6)


def test_parameters_are_those_of_the_module() -> None:
    encoder = Encoder(CONFIG)
    total = sum(parameter.numel() for parameter in encoder.parameters())
    found = encoder_parameters(CONFIG)
    assert found.total == total
    one_expert = 3 * CONFIG.dim * CONFIG.expert_dim
    assert found.active == total - round(3 * (4 - 2.25) * one_expert)
    dense = encoder_parameters(CONFIG.dense(80))
    assert dense.total == dense.active
    experts = [name for name, _ in Encoder(CONFIG.dense(80)).named_parameters() if "router" in name]
    assert not experts, "a dense model has no router to pay for"


def test_twins_are_equal_where_they_should_be() -> None:
    """Equal total: the same parameters of experts. Equal active: the same work in them."""
    total, active = CONFIG.dense(4 * 20), CONFIG.dense(45)
    router = 3 * CONFIG.dim * 4 * 2 + CONFIG.dim  # with the norm of the summary
    assert encoder_parameters(total).total == encoder_parameters(CONFIG).total - router
    assert encoder_cost(active).experts == encoder_cost(CONFIG).experts
    assert encoder_cost(total).attention == encoder_cost(CONFIG).attention
    described = describe_encoder(CONFIG)
    assert described["equal_total_macs_a_token"] == encoder_cost(total).total
    assert described["macs_a_token"] < described["equal_total_macs_a_token"]  # type: ignore[operator]
    assert described["item_parameters"] == 30 * 24
