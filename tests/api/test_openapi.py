"""The committed OpenAPI document is the true one, and complete."""

import json
import subprocess
import sys
from pathlib import Path

from moerec.api.openapi import document

ROOT = Path(__file__).parents[2]


def test_the_committed_document_is_true() -> None:
    """If this fails: `python -m moerec.api.openapi`, and commit what changed."""
    assert (ROOT / "openapi.json").read_text() == document()


def test_every_operation_is_described_with_its_errors() -> None:
    paths = json.loads(document())["paths"]
    assert sorted(paths) == [
        "/livez",
        "/metrics",
        "/readyz",
        "/v1/events",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/similar",
        "/v1/popular",
        "/v1/recommendations",
        "/v1/users/{user_id}/recommendations",
    ]
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]
            if path.startswith("/v1/"):
                assert "422" in operation["responses"]


def test_the_command_writes_the_document(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    subprocess.run([sys.executable, "-m", "moerec.api.openapi", str(path)], check=True, cwd=ROOT)
    assert path.read_text() == document()
