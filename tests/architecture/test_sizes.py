"""Files and functions stay small enough to be read at one sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("moerec", "tests", "bench", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60


def too_long(text: str) -> Iterator[str]:
    if (lines := text.count("\n")) > MOST_LINES_OF_A_FILE:
        yield f"{lines} lines"
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno is not None
            and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
        ):
            yield f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"


def test_files_and_their_functions_are_short() -> None:
    assert len(FILES) > 50
    assert not [f"{path}: {what}" for path in FILES for what in too_long(path.read_text())]


def test_the_rule_finds_what_is_long() -> None:
    long = "def f():\n" + 60 * "    x = 1\n"
    assert list(too_long(long)) == ["f (61 lines)"]
    assert list(too_long(400 * "x = 1\n")) == []
    assert list(too_long(401 * "x = 1\n")) == ["401 lines"]
