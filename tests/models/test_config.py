"""Model configurations: what is refused, and that they survive a bundle."""

import pytest

from moerec.errors import ArtifactError
from moerec.models.config import SUMMARY_EVENTS, ModelConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 0}, "items"),
        ({"dim": 30, "heads": 4}, "multiple of heads"),
        ({"heads": 0}, "positive"),
        ({"min_experts": 5}, "min_experts"),
        ({"max_experts": 9}, "experts"),
        ({"mean_experts": 4.5}, "mean_experts"),
        ({"summary_decay": 0.95}, "summary_decay"),
        ({"temperature": 0.0}, "temperature"),
        ({"dropout": 1.0}, "dropout"),
        ({"uses_time": 2}, "uses_time"),
    ],
)
def test_nonsense_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**({"items": 5} | change))  # type: ignore[arg-type]


def test_reach_is_the_receptive_field_and_the_summary() -> None:
    config = ModelConfig(items=5, layers=3, window=50)
    assert config.receptive_field == 148
    assert config.reach == 148 + SUMMARY_EVENTS


def test_round_trip() -> None:
    config = ModelConfig(items=5, dim=32, mean_experts=2.5)
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("values", [{"items": 5, "gates": 1}, {}, {"items": 0}])
def test_a_configuration_we_do_not_know_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ArtifactError, match="configuration"):
        ModelConfig.from_dict(dict(values))
