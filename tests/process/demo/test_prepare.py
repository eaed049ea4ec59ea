"""The demo's folder, as an earlier demo left it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from moerec.artifacts.files import held
from moerec.errors import UsageError
from moerec.process.demo.prepare import DemoOptions, prepare


def test_a_bundle_of_another_version_is_trained_again(tmp_path: Path) -> None:
    """After an upgrade `make demo` used to end with "train again", and no word of how."""
    options = DemoOptions(tmp_path, viewers=60, epochs=1)
    options.bundle_path.mkdir(parents=True)
    (options.bundle_path / "manifest.json").write_text('{"format": 1}')
    printed = io.StringIO()
    bundle = prepare(options, Console(file=printed, width=200))
    assert "bundle format 1" in printed.getvalue()
    assert "it is trained again" in printed.getvalue()
    again = prepare(options, Console(file=io.StringIO()))
    assert again.version == bundle.version


def test_two_demos_do_not_prepare_one_folder_at_once(tmp_path: Path) -> None:
    """The second wrote its log over that of the first, whose bundle then had another one's histories."""
    options = DemoOptions(tmp_path, viewers=60, epochs=1)
    console = Console(file=io.StringIO())
    busy = UsageError("the test holds it", "")
    with held(tmp_path / "preparing", busy), pytest.raises(UsageError, match="another demo") as no:
        prepare(options, console)
    assert "--dir" in no.value.remedy
    assert list(tmp_path.iterdir()) == []
