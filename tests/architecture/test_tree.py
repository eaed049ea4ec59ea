"""What must not be in the tree: paths of one machine, hosts of package registries, data sets."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = (
    ".ci", "bench", "deployment", "docs", "moerec", "monitoring", "scripts", "tests",
    "*.md", "*.toml", "*.txt", "LICENSE", "Makefile", ".gitignore",
)  # fmt: skip
TEXT = (
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".sh",
    ".json",
    ".yaml",
    ".yml",
    ".csv",
    ".svg",
    ".html",
    ".css",
    "",
)
# Written in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.])/" + r"(work|root|home/\w+|opt)/",
            r"pypi" + r"\.org",
            r"python" + r"hosted",
            r"download\.py" + r"torch",
            r"\bcdn" + r"(js)?\.",
            r"unpkg" + r"\.com",
            r"js" + r"delivr",
        )
    )
)
DATA_FORMATS = {".gz", ".parquet", ".dat", ".db", ".safetensors"}


def tree() -> list[Path]:
    tops = [path for pattern in TOP for path in ROOT.glob(pattern)]
    below = [inner for path in tops if path.is_dir() for inner in path.rglob("*")]
    files = [path for path in tops + below if path.is_file()]
    return [path for path in files if not {"__pycache__", "build"} & set(path.parts)]


def test_nothing_belongs_to_one_machine_or_registry() -> None:
    texts = [path for path in tree() if path.suffix in TEXT]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in texts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert len(texts) > 50
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "cd /" + "work/main",
        "index: pypi" + ".org",
        "src=https://cdn" + ".x.net/a.js",
        "'/" + "root/x'",
    ],
)
def test_the_rule_finds_an_offence(line: str) -> None:
    assert FORBIDDEN.search(line)


def test_no_data_sets() -> None:
    """Their licences forbid it; `moerec data download` fetches them at the user's side."""
    assert not [path for path in tree() if path.suffix in DATA_FORMATS]
    assert not [path for path in tree() if path.stat().st_size > 1_000_000]
