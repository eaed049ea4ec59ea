"""Latency against rate as a picture."""

from pathlib import Path

import pytest

from moerec.errors import StorageError, UsageError
from moerec.loadtest.plot import require_matplotlib, write_plot
from tests.loadtest.figures import a_report


def test_a_picture_is_written(tmp_path: Path) -> None:
    require_matplotlib()
    write_plot(tmp_path / "out.png", a_report())
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    write_plot(tmp_path / "out.svg", a_report())
    text = (tmp_path / "out.svg").read_text()
    for name in ("p50", "p99.9"):
        assert f"<!-- {name} -->" in text


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not supported"):
        write_plot(tmp_path / "out.doc", a_report())
    with pytest.raises(StorageError):
        write_plot(tmp_path / "none" / "out.png", a_report())
