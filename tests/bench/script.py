"""Scripts of `bench/` run in this process, where torch and the rest are imported already."""

import io
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


@dataclass
class Done:
    """What a script left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run_script(name: str, *arguments: str | Path) -> Done:
    """`python bench/NAME ARGUMENTS`, to its end."""
    out, errors = io.StringIO(), io.StringIO()
    with _command_line(name, *arguments), redirect_stdout(out), redirect_stderr(errors):
        try:
            runpy.run_path(str(BENCH / name), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                errors.write(end.code)
    return Done(code, out.getvalue(), errors.getvalue())


@contextmanager
def _command_line(name: str, *arguments: str | Path) -> Iterator[None]:
    before, paths = sys.argv, sys.path
    sys.argv = [str(BENCH / name), *map(str, arguments)]
    sys.path = [str(BENCH), *paths]
    try:
        yield
    finally:
        sys.argv, sys.path = before, paths
