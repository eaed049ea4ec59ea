"""Imports go one way, and each heavy library has its own folders.

`LAYERS` is the whole rule: a folder imports from what stands below it. Siblings of one line import each other
where the line says so. Imports inside functions count as well.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "moerec"

# Top to bottom. "siblings" says whether the members of the line may import each other.
LAYERS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("__main__", "cli", "recommender"), True),
    (("process", "loadtest"), True),
    (("api",), False),
    (("training", "engine"), False),
    (("evaluation",), False),
    (("models", "store", "transport"), False),
    (("artifacts",), False),
    (("data",), False),
    (("observability",), False),
    (("errors", "futures", "settings", "types"), True),
)
# Stricter than the order of the layers.
FORBIDDEN = {
    "api": {"engine", "training", "evaluation", "models", "data"},
    "models": {"artifacts", "data", "observability", "settings", "store", "transport"},
}
# A library (its top-level import name) and the only places of moerec/ that may import it.
ONLY_IN = {
    "fastapi": ("api/",),
    "starlette": ("api/", "loadtest/ceiling.py"),
    "jwt": ("api/tokens.py",),
    "cryptography": ("api/tokens.py",),
    "sqlalchemy": ("store/",),
    "prometheus_client": ("observability/metrics.py",),
    "numba": ("engine/",),
    "torch": ("models/", "training/", "engine/", "evaluation/", "recommender.py"),
    "scipy": ("evaluation/", "training/"),
    "uvicorn": ("api/main.py", "api/protocol.py"),
    "safetensors": ("artifacts/",),
    "fastapi_swagger": ("api/",),
    "matplotlib": ("evaluation/page/", "loadtest/plot.py"),
    "psutil": ("loadtest/",),
    "jinja2": ("evaluation/page/",),
    "pandas": (),
}
MODELS_MAY_IMPORT = {"torch", "numpy", "moerec"}
NOT_AFTER_IMPORT = {
    "torch",
    "numba",
    "scipy",
    "polars",
    "pandas",
    "pyarrow",
    "matplotlib",
    "jinja2",
}

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names of every import, absolute ones only (a test below refuses relative ones)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "moerec":
                yield from (f"moerec.{name.name}" for name in node.names)


def at_run_time(tree: ast.AST) -> ast.AST:
    """The tree without its `if TYPE_CHECKING:` blocks, which import for mypy alone."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        ):
            node.body = [ast.Pass()]
    return tree


def folder_of(path: Path) -> str:
    """The name in `LAYERS` that the file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed_for(folder: str) -> set[str]:
    """Folders that `folder` may import from."""
    place = next(i for i, (names, _) in enumerate(LAYERS) if folder in names)
    names, siblings = LAYERS[place]
    below = {name for layer, _ in LAYERS[place + 1 :] for name in layer}
    return below - FORBIDDEN.get(folder, set()) | {folder} | (set(names) if siblings else set())


# Each looks at all files: a test a file would cost more than the look.
def test_imports_go_one_way() -> None:
    for path in FILES:
        if path == PACKAGE / "__init__.py":
            continue
        ours = (name.split(".") for name in imported_modules(TREES[path]))
        imported = {parts[1] for parts in ours if parts[0] == "moerec" and len(parts) > 1}
        wrong = imported - allowed_for(folder_of(path)) - {"__version__"}
        assert not wrong, f"{path}: {folder_of(path)} may not import {sorted(wrong)}"


def strays(place: str, libraries: set[str]) -> set[str]:
    """The libraries that a file at `place` in the package may not import."""
    wrong = {
        library
        for library in libraries & ONLY_IN.keys()
        if not any(
            place == home or (home.endswith("/") and place.startswith(home))
            for home in ONLY_IN[library]
        )
    }
    if place.startswith("models/"):
        wrong |= libraries - MODELS_MAY_IMPORT - sys.stdlib_module_names
    return wrong


def test_libraries_stay_in_their_folders() -> None:
    for path in FILES:
        tree = at_run_time(ast.parse(path.read_text()))
        libraries = {name.partition(".")[0] for name in imported_modules(tree)}
        wrong = strays(path.relative_to(PACKAGE).as_posix(), libraries)
        assert not wrong, f"{path} may not import {sorted(wrong)}"


def test_imports_are_absolute() -> None:
    relative = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_every_folder_has_its_layer() -> None:
    known = {name for names, _ in LAYERS for name in names} | {"__init__"}
    assert {folder_of(path) for path in FILES} <= known


def test_package_files_are_empty() -> None:
    package_files = [
        path for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE
    ]
    assert package_files
    assert not [path for path in package_files if path.read_text()]


@pytest.mark.parametrize("module", ["moerec.api.main", "moerec.cli.main"])
def test_starts_without_the_heavy_libraries(module: str) -> None:
    """A gateway is up in about a second, and `moerec --help` answers at once, because neither loads torch,
    nor the library that reads tables."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {name.partition(".")[0] for name in done.stdout.split()} & NOT_AFTER_IMPORT


def test_the_rules_see_a_stray_import() -> None:
    """The rule itself is tested, or it could be green for the wrong reason."""
    tree = ast.parse(
        "def f():\n    import torch\n    from moerec import engine\n    from moerec.data.split import x"
    )
    assert set(imported_modules(tree)) == {"torch", "moerec", "moerec.engine", "moerec.data.split"}
    assert not {"engine", "training", "models", "data", "cli"} & allowed_for("api")
    assert "training" not in allowed_for("engine")
    assert "engine" not in allowed_for("training")
    assert allowed_for("models") == {"models", "errors", "futures", "types"}
