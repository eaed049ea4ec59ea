"""What a measurement says of where it was made: hardware, versions, commit, date."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from moerec import __version__

SOURCES: Final = Path(__file__).resolve().parents[2]
LIBRARIES: Final = ("torch", "numba", "numpy", "uvicorn", "SQLAlchemy", "fastapi")


def commit() -> str:
    """The commit that is measured, with a mark if the tree has changes; "unknown" outside a checkout."""
    command = ["git", "-C", str(SOURCES), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def gpus() -> list[str]:
    """What the driver calls them; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return []
    return result.stdout.strip().splitlines() if result.returncode == 0 else []


def hardware() -> str:
    """Processor, usable cores and memory; the GPUs, if there are any."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [
        line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [names[0] if names else platform.machine(), f"{cores()} cores", f"{memory:.0f} GiB"]
    return ", ".join([*parts, *gpus()])


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def about() -> dict[str, str]:
    """Hardware, Python, date and commit."""
    return {
        "hardware": hardware(),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Of moerec and the libraries that the figures depend on."""
    found = {"moerec": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
