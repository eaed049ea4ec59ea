"""The door: what it refuses, with which place, and what it lets through."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.data.door import CHUNK, LONGEST_LINE, check_file
from moerec.errors import DataError


def written(folder: Path, data: bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        check_file(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("data", [b"", b"\n \r\n\t", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "empty" in refusal(written(tmp_path, data)).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"\xfd7zXZ\x00rest", "xz"),
        (b"BZh9rest", "bzip2"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"a,b\r1,2\r", "carriage return"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refusal(written(tmp_path, data)).message


def test_a_binary_file_is_refused_with_its_place(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, b"a,b\n1,2\n3,\x004\n"))
    assert error.line == 3
    assert "byte 3" in error.message
    assert "NUL" in error.message


def test_bytes_that_are_no_utf8_are_refused_with_line_and_byte(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "user,item\n1,café\n".encode("latin-1")))
    assert error.line == 2
    assert "byte 6" in error.message


def test_a_place_behind_many_chunks_is_right(tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    lines = 2 * CHUNK // len(line) + 7
    error = refusal(written(tmp_path, line * lines + b"abc\xff\n"))
    assert error.line == lines + 1
    assert "byte 4" in error.message


def test_a_file_that_ends_inside_a_character_is_refused(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, b"a,b\n1,caf\xc3"))
    assert error.line == 2
    assert "UTF-8" in error.message


@pytest.mark.parametrize("before", [0, 1, CHUNK - 3, CHUNK - 1])
def test_a_line_over_the_limit_is_refused_with_its_number(tmp_path: Path, before: int) -> None:
    start = b"y" * before + b"\n" if before else b""
    error = refusal(written(tmp_path, start + b"x" * (LONGEST_LINE + 1) + b"\nz\n"))
    assert error.line == (2 if before else 1)
    assert "4 MiB" in error.message


@pytest.mark.parametrize("before", [0, 1, CHUNK - 3, CHUNK - 1])
def test_a_line_of_just_the_limit_passes(tmp_path: Path, before: int) -> None:
    start = b"y" * before + b"\n" if before else b""
    check_file(written(tmp_path, start + b"x" * LONGEST_LINE + b"\nz\n"))


def test_a_json_document_may_be_one_long_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"x" * (LONGEST_LINE + 1), "items.json")
    assert check_file(path, long_lines=True).path == path


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    file = check_file(written(tmp_path, gzip.compress(b"a,b\n1,2\n"), "log.txt"))
    assert file.content == b"a,b\n1,2\n"
    assert list(file.open()) == [b"a,b\n", b"1,2\n"]


@pytest.mark.parametrize("cut", [-1, -9, 12])
def test_a_cut_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress(os.urandom(100).hex().encode() * 50)
    assert "gzip" in refusal(written(tmp_path, packed[:cut], "log.csv.gz")).message


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(os.urandom(400).hex().encode()))
    packed[100] ^= 0xFF
    assert "gzip" in refusal(written(tmp_path, bytes(packed))).message


def test_a_plain_file_is_left_to_the_parser_and_not_kept_in_memory(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n1,2\n")
    file = check_file(path)
    assert file.content == path
    assert list(file.open()) == [b"a,b\n", b"1,2\n"]
    assert file.read() == b"a,b\n1,2\n"


def test_the_head_ends_with_a_whole_line(tmp_path: Path) -> None:
    """A first chunk that ends inside a JSON object made a sound file look broken."""
    line = b"z" * 1000 + b"\n"
    file = check_file(written(tmp_path, line * (CHUNK // 500)))
    assert file.head.endswith(b"\n")
    assert len(file.head) > CHUNK - 2000


def test_latin1_is_read_only_where_it_may_be(tmp_path: Path) -> None:
    path = written(tmp_path, "1::Misérables::Drama\n".encode("latin-1"), "movies.dat")
    file = check_file(path, latin1_if=lambda _, head: b"::" in head)
    assert file.read().decode() == "1::Misérables::Drama\n"
    with pytest.raises(DataError, match="UTF-8"):
        check_file(path, latin1_if=lambda _, head: b"|" in head)


def test_utf8_stays_utf8_where_latin1_may_be(tmp_path: Path) -> None:
    path = written(tmp_path, "1::Misérables::Drama\n".encode(), "movies.dat")
    assert check_file(path, latin1_if=lambda *_: True).read().decode() == "1::Misérables::Drama\n"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nothing.csv").message
    assert "folder" in refusal(tmp_path).message
    written(tmp_path, b"x", "ratings.dat")
    assert "ratings.dat" in refusal(tmp_path).remedy
    assert "cannot be read" in refusal(tmp_path / "ratings.dat" / "below").message


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """In a process of its own that gives up root, for root may read everything."""
    path = written(tmp_path, b"a,b\n")
    path.chmod(0)
    code = (
        "import os, sys\n"
        "from moerec.data.door import check_file\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: check_file(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("DataError")
    assert "permission denied" in result.stdout


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), st.booleans())
def test_every_text_passes_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, text: str, zipped: bool
) -> None:
    data = ("x" + text).encode()
    path = tmp_path_factory.mktemp("door") / "log"
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert check_file(path).read() == data
