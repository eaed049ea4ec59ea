"""The benchmark of the encoder's cost: a mixture beside its twins, on the same events."""

import json
from pathlib import Path

import pytest
import torch

from moerec.data.interactions import from_frame
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.presets import Variant
from tests.bench.script import run_script
from tests.logs import walking_log


def test_a_mixture_is_measured_beside_its_twins(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    walking_log().write_csv(tmp_path / "log.csv")
    small = Variant(settings={"dim": 16, "expert_dim": 32})
    options = FitOptions(epochs=1, variant=small)
    bundle = fit_bundle(from_frame(walking_log()), tmp_path / "moe", options=options)
    small_run = ["--tokens", "100", "--repeats", "3", "--json", str(tmp_path / "out.json")]
    done = run_script("encoder_cost.py", tmp_path / "log.csv", bundle.path, *small_run)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    moe, total, active = found["batches"]["100"]
    assert 2 <= moe["mean_experts"] <= 4
    assert total["mean_experts"] == active["mean_experts"] == 1
    assert total["hidden"] >= moe["hidden"] > active["hidden"]
    assert total["flops_an_event_saved"] == pytest.approx(
        1 - moe["flops_an_event"] / total["flops_an_event"]
    )
    assert moe["flops_an_event"] < 0.8 * total["flops_an_event"]
    # The width is a multiple of 8, the mean of k the data's.
    full = "flops_an_event_of_a_full_history"
    assert moe[full] == pytest.approx(active[full], rel=0.05)
    for row in (moe, total, active):
        assert row["wall_ms"] > 0
        assert row["processor_ms"] > 0
    assert "| 100 | equal total, untrained |" in done.stdout
    assert found["hardware"]
