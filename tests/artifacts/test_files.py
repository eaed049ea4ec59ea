"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest
from safetensors import SafetensorError

from moerec.artifacts.files import held, new_folder, write_file
from moerec.errors import StorageError, UsageError


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_file(target, b"one")
    write_file(target, b"two")
    assert target.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_on_a_disk_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_file(tmp_path / "nowhere" / "file", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        write_file(tmp_path / "folder", b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with new_folder(target) as scratch:
        (scratch / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), new_folder(target, replace=True) as scratch:
        (scratch / "a").write_text(str(1 / 0))
    assert (target / "a").read_text() == "old"
    assert [entry.name for entry in target.parent.iterdir()] == ["folder"]


def test_a_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for text in ("one", "two"):
        with new_folder(target, replace=True) as scratch:
            (scratch / "a").write_text(text)
    assert (target / "a").read_text() == "two"
    with pytest.raises(StorageError, match="exists already"), new_folder(target):
        raise AssertionError("the block must not run")


def test_what_the_disk_said_to_the_array_library_is_heard(tmp_path: Path) -> None:
    """safetensors hides the system's error in a text of its own."""
    with pytest.raises(StorageError, match="No space left"), new_folder(tmp_path / "folder"):
        raise SafetensorError("Error while serializing: I/O error: No space (os error 28)")
    with pytest.raises(SafetensorError, match="something else"), new_folder(tmp_path / "folder"):
        raise SafetensorError("something else")
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_is_refused_to_others_until_it_is_let_go(tmp_path: Path) -> None:
    lock, busy = tmp_path / "lock", UsageError("it is in use", "Wait.")
    for _ in range(2):
        with held(lock, busy):
            with pytest.raises(UsageError, match="in use"), held(lock, busy):
                raise AssertionError("the block must not run")
            assert lock.exists()
        assert not lock.exists()


def test_a_lock_file_that_a_crash_left_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    with held(lock, UsageError("it is in use", "Wait.")):
        pass
    assert not lock.exists()


def test_a_lock_where_nothing_can_be_written(tmp_path: Path) -> None:
    busy = UsageError("it is in use", "Wait.")
    with pytest.raises(StorageError, match="cannot write"), held(tmp_path / "no" / "lock", busy):
        raise AssertionError("the block must not run")
