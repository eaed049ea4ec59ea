"""Small scripts that stand in for the engine and the gateway."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from moerec.process.children import ChildSpec

ROOT = Path(__file__).parents[2]

SpecMaker = Callable[..., ChildSpec]


@pytest.fixture
def make_spec(tmp_path: Path) -> SpecMaker:
    """`make_spec(name, code, *arguments)`: a child that runs `code` as a module."""

    def make(name: str, code: str, *arguments: str) -> ChildSpec:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        return ChildSpec(name, name, arguments, {**os.environ, "PYTHONPATH": path})

    return make
