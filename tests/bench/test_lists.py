"""The benchmark of lists: it measures, and says where there is no index."""

import json
from pathlib import Path

import pytest
import torch

from moerec.data.interactions import from_frame
from moerec.training.fit import FitOptions, fit_bundle
from tests.bench.script import run_script
from tests.logs import walking_log


@pytest.mark.slow
def test_lists_are_measured_and_a_small_catalogue_has_no_index(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    walking_log().write_csv(tmp_path / "log.csv")
    log = from_frame(walking_log())
    bundle = fit_bundle(log, tmp_path / "bundle", options=FitOptions(epochs=1)).path
    out = tmp_path / "out.json"
    done = run_script("lists.py", tmp_path / "log.csv", bundle, "--json", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["exact_us"] > 0
    assert "recall@10" not in found
    assert "no index would be cheaper" in done.stdout
    invented = run_script("lists.py", "synthetic", bundle, "--users", 40)
    assert invented.returncode == 0, invented.stderr
    assert "exact_us" in invented.stdout
