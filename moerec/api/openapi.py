"""Writes the OpenAPI document: `python -m moerec.api.openapi [FILE]`, by default `openapi.json`."""

import json
import sys
from pathlib import Path

from moerec.api.main import create_app
from moerec.settings import Settings


def document() -> str:
    """The document as it is committed."""
    return json.dumps(create_app(Settings.load()).openapi(), indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "openapi.json").write_text(document())
