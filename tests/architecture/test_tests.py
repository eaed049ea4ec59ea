"""Tests test the real thing: nothing of ours is patched, nothing is skipped.

`monkeypatch.setenv`, `chdir` and the like change the world around the code and are fine; `setattr` and
`mock.patch` change the code itself, so that the test no longer runs what users run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN_IMPORTS = {"unittest.mock", "mock", "pytest_mock"}
FORBIDDEN_NAMES = {"skip", "skipif", "xfail", "importorskip"}


def offences(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names if name.name in FORBIDDEN_IMPORTS]
            case ast.ImportFrom(module=module, names=names):
                dotted = {module or ""} | {f"{module}.{name.name}" for name in names}
                found = sorted(dotted & FORBIDDEN_IMPORTS)
            case ast.Attribute(value=ast.Name(id="pytest"), attr=attr) if attr in FORBIDDEN_NAMES:
                found = [f"pytest.{attr}"]
            case ast.Attribute(value=ast.Attribute(attr="mark"), attr=attr) if (
                attr in FORBIDDEN_NAMES
            ):
                found = [f"pytest.mark.{attr}"]
            case ast.Attribute(
                value=ast.Name(id="monkeypatch"), attr="setattr" | "delattr" | "setitem" as attr
            ):
                found = [f"monkeypatch.{attr}"]
            case _:
                found = []
        yield from (f"line {getattr(node, 'lineno', 0)}: {name}" for name in found)


TESTS = sorted((ROOT / "tests").rglob("*.py"))


def test_tests_run_what_users_run() -> None:
    assert not [f"{path}, {offence}" for path in TESTS for offence in offences(path)]


def test_the_rule_finds_each_offence(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from unittest import mock\nimport unittest.mock\nfrom unittest.mock import patch\n"
        "@pytest.mark.skip\ndef test_a(monkeypatch):\n"
        "    monkeypatch.setattr(x, 'y', 1)\n    pytest.xfail()\n"
    )
    assert sorted(line.partition(":")[0] for line in offences(bad)) == [
        "line 1", "line 2", "line 3", "line 4", "line 6", "line 7",
    ]  # fmt: skip
