"""The benchmark of the cold start: both processes become ready, and their times are told."""

import json
from pathlib import Path

import pytest

from tests.bench.script import run_script
from tests.tiny import tiny_bundle


@pytest.mark.slow
def test_gateway_and_engine_become_ready(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    bundle = tiny_bundle(tmp_path / "bundle").path
    done = run_script("cold_start.py", bundle, "--repeats=1", "--json", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["items"] == 40
    assert len(found["gateway"]["seconds"]["all"]) == 1
    engine = found["engine"]
    assert engine["seconds"]["median"] > engine["after_imports"]["median"] > 0
    assert "gateway  seconds" in done.stdout
