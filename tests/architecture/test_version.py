"""The version is one fact: package, changelog and project file agree."""

import re
import tomllib
from pathlib import Path

import moerec

ROOT = Path(__file__).parents[2]


def test_changelog_and_package_agree() -> None:
    headings = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == moerec.__version__


def test_project_takes_its_version_from_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "moerec.__version__"}
