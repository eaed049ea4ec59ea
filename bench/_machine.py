"""What every benchmark says of the run: hardware, date, commit."""

import sys
from pathlib import Path

# A benchmark is run as a file: the package beside it is the one to measure.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from moerec.loadtest.machine import SOURCES as ROOT
from moerec.loadtest.machine import about, commit, gpus, hardware

__all__ = ["ROOT", "about", "commit", "gpus", "hardware"]
