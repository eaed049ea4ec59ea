"""The benchmark of the streamed state: what it measures, and that the three ways agree."""

import json
from pathlib import Path

import torch

from moerec.data.interactions import from_frame
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.presets import Variant
from tests.bench.script import run_script
from tests.logs import walking_log
from tests.tiny import tiny_bundle


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


def test_growth_with_the_history_and_with_the_window(tmp_path: Path) -> None:
    """With a window that nobody trained the ways must agree, too: it is the same model for all of them."""
    bundle = tiny_bundle(tmp_path / "bundle", items=300).path
    small = ["--state=float32", "--batch=4", "--users=8", "--repeats=2"]
    small += ["--history", "20", "60", "--window", "2", "9", "--json", str(tmp_path / "out.json")]
    done = run_script("streaming.py", "synthetic", bundle, *small)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["models"]
    assert [(row["history"], row["window"]) for row in rows] == [(20, 2), (20, 9), (60, 2), (60, 9)]
    for row in rows:
        assert 0 < row["largest_difference"] < 1e-4
        assert "saved" not in row
    assert rows[1]["bytes_a_user"] > rows[0]["bytes_a_user"] == rows[2]["bytes_a_user"]
