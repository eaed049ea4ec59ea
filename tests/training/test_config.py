"""Presets: every log gets a model and a training that fit it."""

import pytest

from moerec.training.config import LogSize, TrainConfig, presets
from moerec.training.optim import rate_at


@pytest.mark.parametrize(
    "log",
    [
        LogSize(2, 1, 2),
        LogSize(80_000, 2_000, 500),
        LogSize(150_000, 22_000, 12_000),
        LogSize(990_000, 6_000, 3_400),
        LogSize(10_000_000, 200_000, 100_000),
    ],
)
def test_presets_keep_their_promises(log: LogSize) -> None:
    model, training = presets(log)
    # What is trained is what is served: the newest row of a segment has its whole receptive field.
    assert training.length >= model.receptive_field
    logits = training.batch_events * (training.negatives or log.items)
    assert logits <= 50_000_000, "a step's work on logits fits a laptop"
    assert 3 <= training.epochs <= 40
    assert training.warmup_steps <= 200


def test_the_rate_climbs_and_falls() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    rates = [rate_at(step, 110, config) for step in range(120)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == rates[119] == pytest.approx(0.1)
