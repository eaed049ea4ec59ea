"""The benchmark of the streamed state: what it measures, and that the three ways agree."""

import json
from pathlib import Path

import torch

from moerec.data.interactions import from_frame
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.presets import Variant
from tests.bench.script import run_script
from tests.logs import walking_log


def test_streamed_is_measured_beside_replayed_and_says_the_same(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    walking_log().write_csv(tmp_path / "log.csv")
    paths = []
    for twin in (None, "total"):
        variant = Variant(settings={"dim": 16, "expert_dim": 32}, twin=twin)
        options = FitOptions(epochs=1, variant=variant)
        bundle = fit_bundle(from_frame(walking_log()), tmp_path / str(twin), options=options)
        paths.append(str(bundle.path))
    small = ["--state=float32", "--batch=8", "--users=20", "--history=30", "--repeats=3"]
    small += ["--json", str(tmp_path / "out.json")]
    done = run_script("streaming.py", tmp_path / "log.csv", *paths, *small)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    mixture, dense = found["models"]
    for each in (mixture, dense):
        assert 0 < each["streamed"]["best_us"] <= each["streamed"]["median_us"]
        assert each["replayed_over_streamed"] > 0
        # No kernel computes to the last bit what torch does: equal would mean that nothing was compared.
        assert 0 < each["largest_difference"] < 1e-4
        assert each["bytes_a_user"] > 0
    assert "saved" in dense
    assert "saved" not in mixture
    assert "largest difference" in done.stdout
    assert found["users"] == 20
