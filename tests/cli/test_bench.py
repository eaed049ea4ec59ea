"""`moerec bench serving`: what it refuses, before anything is made."""

from pathlib import Path

import pytest

from moerec.cli.main import main


@pytest.mark.parametrize(
    "wrong",
    [
        ["bench"],
        ["bench", "training"],
        ["bench", "serving", "--mix", "9"],
        ["bench", "serving", "--mix", "-1:2"],
        ["bench", "serving", "--users", "0"],
        ["bench", "serving", "--port", "70000"],
        ["bench", "serving", "--generator", "ab"],
    ],
)
def test_a_wrong_command_line_ends_with_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2


def test_sizes_that_make_no_sense_are_refused_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bench"
    assert main(["bench", "serving", "--items", "10", "--k", "500", "--dir", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "--items" in said
    assert "--k" in said
    assert "--help" in said
    assert not folder.exists()


def test_a_bundle_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--bundle", str(tmp_path / "none"), "--dir", str(tmp_path / "bench")]
    assert main(["bench", "serving", *given]) == 2
    assert "none" in capsys.readouterr().err
    assert not list((tmp_path / "bench").glob("*.db"))
