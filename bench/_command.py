"""The command line of this tree, as benchmarks run it."""

import os
import subprocess
import sys

from _machine import ROOT


def moerec(*arguments: str, threads: int | None = None) -> None:
    """Run one command of the package; its output stays visible. CalledProcessError if it fails."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    subprocess.run([sys.executable, "-m", "moerec", *arguments], check=True, env=environment)
