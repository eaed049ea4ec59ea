"""The real service answers like the offline evaluation, for real users over real HTTP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moerec.data.demo.writing import write_demo

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_live_answers_equal_offline_ones(tmp_path: Path) -> None:
    """Train, import up to the test event, serve, ask for 100 viewers, add an event to each, ask again."""
    log, items = write_demo(tmp_path, viewers=300)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    bundle = str(tmp_path / "bundle")
    train = ["-m", "moerec", "train", str(log), "--items", str(items), "--out", bundle]
    subprocess.run([sys.executable, *train, "--epochs", "2"], env=environment, check=True)
    compared = subprocess.run(
        [sys.executable, "bench/agreement.py", bundle, str(log)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stdout + compared.stderr
    for line in ("users asked", "live top 10 differs", "differs after one more event"):
        assert line in compared.stdout
    assert "users asked                                   100" in compared.stdout
