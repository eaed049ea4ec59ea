"""The benchmark of the gateway runs, and prints figures for the gateway and the bare application."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "gateway_cost.py"


@pytest.mark.slow
def test_gateway_and_bare_application_have_their_figures() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "1", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^gateway +us [\d.]+ .* a frame [\d.]+$", done.stdout, re.MULTILINE)
    assert re.search(r"^ceiling +us [\d.]+ ", done.stdout, re.MULTILINE)
