"""The documents are true: files, settings, commands, dependencies have their line; what is shown exists."""

import argparse
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from moerec.api.main import create_app
from moerec.cli.main import make_parser
from moerec.settings import Settings
from scripts import docs_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def fenced(path: Path, language: str) -> str:
    """The text of all code blocks in one language."""
    return "\n".join(
        re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    )


def commands(path: Path) -> Iterator[list[str]]:
    """Shell commands of a document's `sh` blocks, without comments; one may go over several lines."""
    begun = ""
    for line in fenced(path, "sh").replace("\\\n", " ").splitlines():
        begun += line + "\n"
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:  # an open quote
            continue
        begun = ""
        if words:
            yield words


@pytest.mark.parametrize("document", sorted(docs_tables.TABLES))
def test_tables_made_from_the_code_are_current(document: str) -> None:
    assert (ROOT / document).read_text() == docs_tables.renewed(document), "run: make docs"


def test_file_table_names_every_file_once() -> None:
    table = re.findall(
        r"^\| `(moerec/[^`]+)` \| \S", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    files = (
        path
        for path in (ROOT / "moerec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    named = [path for path in files if path.name != "__init__.py" or path.read_text()]
    assert sorted(table) == sorted(path.relative_to(ROOT).as_posix() for path in named if path)


def named_requirements() -> set[str]:
    """Names of all that pyproject.toml asks for: base, extras, build backend."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [
        pyproject["project"]["dependencies"],
        pyproject["build-system"]["requires"],
        *pyproject["project"]["optional-dependencies"].values(),
    ]
    return {re.split(r"[\[<>=~!; ]", line)[0] for group in groups for line in group}


def test_every_dependency_has_its_line() -> None:
    table = (ROOT / "docs/decisions/dependencies.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
    assert {name.strip() for row in rows for name in row.split(",")} == named_requirements()


def test_every_pin_is_exact() -> None:
    """`pip install -r requirements.txt` leaves nothing for pip to choose."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name.lower().replace("_", "-") for name in named_requirements()} <= set(pins)
    assert pins["torch"] == "2.13.0"


def test_every_setting_is_documented() -> None:
    documented = re.findall(
        r"^\| `(MOEREC_\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    assert documented == [f"MOEREC_{name.upper()}" for name in Settings.model_fields]


def test_no_document_names_a_setting_that_is_gone() -> None:
    known = {f"MOEREC_{name.upper()}" for name in Settings.model_fields} | {"MOEREC_DATA_DIR"}
    for path in DOCUMENTS:
        named = re.findall(r"MOEREC_[A-Z_]*[A-Z](?![\w*.])", path.read_text())
        assert set(named) <= known, path


def verbs(parser: argparse.ArgumentParser, before: str = "moerec") -> Iterator[str]:
    """Every command the parser understands, "moerec import events" and the like."""
    subparsers = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if not subparsers:
        yield before
    for name, below in (item for action in subparsers for item in action.choices.items()):
        yield from verbs(below, f"{before} {name}")


def test_every_verb_is_documented() -> None:
    shown = "\n".join(path.read_text() for path in DOCUMENTS)
    assert not [verb for verb in verbs(make_parser()) if verb not in shown]


@lru_cache
def known_routes() -> list[str]:
    """Patterns of the gateway's paths. Made once: the gateway takes a second."""
    paths = create_app(Settings()).openapi()["paths"]
    return [re.sub(r"{[^}]*}", "[^/]+", url) for url in paths] + ["/docs", "/openapi.json"]


@each_document
def test_shown_commands_exist(path: Path) -> None:
    """A make target, a script, a moerec command line that parses, a URL that the gateway has."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(path):
        match words:
            case ["make", target, *_]:
                assert target in targets, words
            case ["moerec", *arguments]:
                make_parser().parse_args(arguments)
            case ["torchrun", *_]:
                make_parser().parse_args(words[words.index("moerec") + 1 :])
            case ["python", "-m", module, *_] if module.startswith("moerec"):
                assert importlib.util.find_spec(module), words
            case ["curl", *arguments]:
                urls = [urlsplit(word).path for word in arguments if word.startswith("http")]
                assert urls, words
                for url in urls:
                    assert any(re.fullmatch(route, url) for route in known_routes()), words
            case [program, *_]:
                assert program in {"git", "cd", "pip", "pytest", "python3", "export", ".ci/run"}, (
                    words
                )


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (path.parent / target).exists()]


@each_document
def test_named_files_exist(path: Path) -> None:
    """`moerec/data/readers.py` in a text is a promise."""
    named = re.findall(r"`((?:moerec|tests|bench|scripts|docs)/[\w./-]*[\w/])`", path.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]
