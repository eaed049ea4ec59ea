"""The benchmark of the guard runs, and prints a figure for each step."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "guard_cost.py"


def test_every_step_has_its_figure() -> None:
    command = [sys.executable, str(SCRIPT), "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r" +[\d.]+ us$", done.stdout, re.MULTILINE)) == 9
