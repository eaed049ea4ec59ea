"""The tables of the documents that are made from the code: every file of moerec/, every setting.

A file's line is the first line of its docstring. `make docs` writes the tables; a test fails while a
document and the code differ.
"""

import ast
import re
from pathlib import Path

from moerec.settings import Settings

ROOT = Path(__file__).parents[1]

# In the order in which data flows.
FOLDERS = {
    "moerec": "the faces, and the nouns that all share",
    "moerec/cli": "the `moerec` command, a file a group of verbs",
    "moerec/data": "interaction log -> histories, checked once",
    "moerec/data/demo": "the built-in log",
    "moerec/models": "the model; pure torch, no files, clocks or HTTP",
    "moerec/training": "histories + model -> weights",
    "moerec/evaluation": "is it any good",
    "moerec/evaluation/page": "`moerec evaluate --report`",
    "moerec/artifacts": "what training leaves behind",
    "moerec/store": "what is remembered",
    "moerec/transport": "what gateway and engine say to each other",
    "moerec/engine": "bundle + histories -> lists",
    "moerec/engine/kernels": "the encoder, compiled for a few new events at a time",
    "moerec/api": "the gateway: request -> response",
    "moerec/api/routes": "one file a group of URLs",
    "moerec/observability": "metrics and logs",
    "moerec/process": "the supervisor behind `moerec serve`",
    "moerec/process/demo": "`moerec demo`",
    "moerec/loadtest": "the load generator and the report behind `moerec bench`",
}
WITHOUT_DOCSTRING = {
    "moerec/data/demo/films.csv": "Title, year, genres, director and renown of each film.",
    "moerec/data/demo/series.csv": "Which films belong together, in their order.",
    "moerec/evaluation/page/page.css": "How the report looks, light and dark.",
    "moerec/evaluation/page/page.html": "The report's template.",
    "moerec/py.typed": "Tells type checkers that moerec is annotated.",
}


def package_files() -> list[Path]:
    """Every file of the package but the empty `__init__` files."""
    found = sorted((ROOT / "moerec").rglob("*"))
    files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in files if path.name != "__init__.py" or path.stat().st_size]


def purpose(path: Path) -> str:
    """What a file is for, in a line; KeyError if nothing says it."""
    if path.suffix != ".py":
        return WITHOUT_DOCSTRING[path.relative_to(ROOT).as_posix()]
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].replace("|", "\\|")


def file_tables() -> str:
    """A table for each folder; KeyError for a folder without its line in `FOLDERS`."""
    by_folder: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for path in package_files():
        row = f"| `{path.relative_to(ROOT).as_posix()}` | {purpose(path)} |"
        by_folder[path.parent.relative_to(ROOT).as_posix()].append(row)
    return "\n".join(
        f"**{folder}/**: {FOLDERS[folder]}\n\n| file | what it is for |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
        for folder, rows in by_folder.items()
        if rows
    )


def settings_table() -> str:
    """A row for each field of `Settings`."""
    rows = [
        f"| `MOEREC_{name.upper()}` | {'(none)' if field.default is None else f'`{field.default}`'} "
        f"| {(field.description or '').replace(chr(10), ' ')} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return "| setting | default | meaning |\n|---|---|---|\n" + "".join(rows)


TABLES = {"docs/architecture.md": file_tables, "docs/settings.md": settings_table}


def renewed(document: str) -> str:
    """The document's text with its table made anew, between the two marks."""
    text = (ROOT / document).read_text()
    marks = re.compile(r"(<!-- made by `make docs` -->\n).*(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{TABLES[document]()}\n{found[2]}", text)


if __name__ == "__main__":
    for name in TABLES:
        (ROOT / name).write_text(renewed(name))
