"""Environments for what benchmarks compare with, apart from ours: made on first use, and kept."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from _machine import ROOT


def python_with(wanted: Sequence[str], name: str, given: str | None, alike: Sequence[str]) -> str:
    """The interpreter that has the packages `wanted`: the `given` one, or that of `.moerec/NAME`.

    A new environment gets `alike` in the versions that are here. Ends the program where the
    given one is not there.
    """
    if given is not None:
        if not Path(given).is_file():
            sys.exit(f"there is no {given}: give the python of an environment with {_said(wanted)}")
        return given
    environment = ROOT / ".moerec" / name
    python = environment / "bin" / "python"
    complete = environment / "complete"  # an interrupted installation is begun anew
    if not complete.exists():
        print(f"making {environment} with {_said(wanted)}", file=sys.stderr)
        venv.create(environment, clear=True, with_pip=True)
        # Ours come first: the others would choose another torch, say.
        ours = [f"{each}=={version(each).partition('+')[0]}" for each in alike]
        for some in (ours, wanted):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *some], check=True)
        complete.touch()
    return str(python)


def _said(wanted: Sequence[str]) -> str:
    return " and ".join(wanted)
