"""The benchmark of the expert policy: that the quota bites, and that what is unchanged stays unchanged."""

import json
from pathlib import Path

import pytest

from moerec.data.interactions import from_frame
from moerec.training.fit import FitOptions, fit_bundle
from moerec.training.presets import Variant
from tests.bench.script import run_script
from tests.logs import walking_log


@pytest.mark.slow
def test_shares_changes_and_quality_are_told(tmp_path: Path) -> None:
    walking_log().write_csv(tmp_path / "log.csv")
    variant = Variant(settings={"dim": 16, "expert_dim": 32})
    bundle = fit_bundle(
        from_frame(walking_log()), tmp_path / "b", options=FitOptions(epochs=1, variant=variant)
    )
    small = ["--tokens=640", "--window=128", "--quota=0.2", "--skew=20"]
    small += ["--json", str(tmp_path / "out.json")]
    done = run_script("expert_policy.py", bundle.path, tmp_path / "log.csv", *small)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["answered by"] for row in rows] == ["the model alone", "quota 0.2", "budget 2"] * 2
    alone, quota, budget = rows[3:]
    assert alone["changed answers"] == alone["epochs"] == budget["epochs"] == 0
    assert max(alone["largest share, by layer"]) > 0.2
    assert max(quota["largest share, by layer"]) < max(alone["largest share, by layer"])
    assert quota["epochs"] > 0
    for row in (quota, budget):
        assert 0 < row["changed answers"] < 1
        assert 0 <= row["ndcg@10 of the changed"] <= 1
        assert row["query row, us"] > 0
    assert "largest share of a window" in done.stdout
