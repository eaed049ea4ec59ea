"""Writes requirements.txt from pyproject.toml and the versions that are installed here (see scripts/lock)."""

import tomllib
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAD = """\
# Exact versions of everything, tests and tools included: `pip install -r requirements.txt && pytest tests/`.
# Written by scripts/lock; pyproject.toml says what is needed, this file which versions are tested together.
"""


def named_by_the_project(pyproject: Path) -> list[Requirement]:
    """Base dependencies, every extra, and the build backend (moerec is installed without build isolation)."""
    project = tomllib.loads(pyproject.read_text())
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def closure(roots: list[Requirement]) -> dict[str, str]:
    """Every distribution that the roots need on this platform, and its installed version."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        for its_extra in ("", *wanted.extras):
            if (name, its_extra) in seen:
                continue
            seen.add((name, its_extra))
            waiting += [(Requirement(line), its_extra) for line in requires(name) or []]
        # "+cpu" and the like name a build of the same version; which one is the index's choice.
        pins[name] = version(name).partition("+")[0]
    return pins


if __name__ == "__main__":
    pins = closure(named_by_the_project(Path("pyproject.toml")))
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins)]
    Path("requirements.txt").write_text(HEAD + "".join(lines))
