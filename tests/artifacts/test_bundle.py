"""Bundles: whole or not there, and refused when they are not what was written."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moerec.artifacts.bundle import (
    FORMAT,
    Bundle,
    BundleContents,
    ItemList,
    copy_bundle,
    read_bundle,
    write_bundle,
)
from moerec.artifacts.files import sha256
from moerec.errors import ArtifactError, StorageError
from moerec.types import ItemId
from tests.tiny import tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle")


def test_what_is_read_is_what_was_written(bundle: Bundle) -> None:
    again = read_bundle(bundle.path)
    assert again.manifest == bundle.manifest
    assert again.id_map.ids[:2] == ["i1", "i2"]
    assert again.title(ItemId("i3")) == "Item 3"
    assert again.title(ItemId("nobody")) is None
    assert again.popular[0].item_id == "i1"
    assert again.version.startswith("2026-01-01-")
    assert all(np.isfinite(array).all() for array in again.weights().values())


def test_a_bundle_without_a_sample_of_users_is_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.user_sample() is None
    assert copy_bundle(bundle, tmp_path / "copy").user_sample() is None


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "items.json", "popular.json", "config.json", "trained.safetensors"],
)
def test_a_flipped_byte_is_found(bundle: Bundle, name: str) -> None:
    path = bundle.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=name):
        read_bundle(bundle.path)


def test_a_byte_flipped_anywhere_in_the_manifest_is_found(bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if json_of(path) != json.loads(whole):  # another blank between two fields says nothing else
            with pytest.raises(ArtifactError):
                read_bundle(bundle.path)


def json_of(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.path / "items.json").unlink()
    with pytest.raises(ArtifactError, match=r"items\.json is missing"):
        read_bundle(bundle.path)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        read_bundle(tmp_path)


def test_a_path_that_cannot_be_looked_at_is_refused() -> None:
    """It used to end in a traceback: a name too long, as a folder without permission."""
    with pytest.raises(ArtifactError, match="cannot be read: File name too long"):
        read_bundle("x" * 300)


def test_a_newer_format_is_refused_before_anything_else(bundle: Bundle) -> None:
    """Even with fields that this version has never heard of."""
    path = bundle.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1, "shards": 9}))
    with pytest.raises(ArtifactError, match=f"format {FORMAT + 1}"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("text", ["{", f'{{"format": {FORMAT}}}', "[]"])
def test_a_manifest_that_is_none(bundle: Bundle, text: str) -> None:
    (bundle.path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="manifest"):
        read_bundle(bundle.path)


def test_weights_that_are_not_numbers_are_refused(bundle: Bundle) -> None:
    """A training that diverged must not be served (`bundle` has compared its hashes already)."""
    path = bundle.path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="not numbers"):
        bundle.weights()


def test_weights_that_are_not_numbers_are_not_written(bundle: Bundle, tmp_path: Path) -> None:
    weights = bundle.weights()
    weights["embedding.weight"][3] = np.nan
    contents = BundleContents(
        config=bundle.config,
        weights=weights,
        items=ItemList(bundle.id_map.ids, bundle.titles, bundle.categories),
        popular=bundle.popular,
        trained_on=bundle.trained_on(),
        data=bundle.manifest.data,
        held_out="none",
        training={},
        metrics={},
        created=bundle.manifest.created,
    )
    with pytest.raises(ArtifactError, match=r"embedding\.weight"):
        write_bundle(tmp_path / "diverged", contents)
    assert not (tmp_path / "diverged").exists()


def test_an_existing_folder_is_not_overwritten(bundle: Bundle) -> None:
    before = sha256(bundle.path / "manifest.json")
    with pytest.raises(StorageError, match="exists already"):
        tiny_bundle(bundle.path, seed=1)
    assert sha256(bundle.path / "manifest.json") == before


def test_copy(bundle: Bundle, tmp_path: Path) -> None:
    copied = copy_bundle(bundle, tmp_path / "copy")
    shutil.rmtree(bundle.path)
    assert read_bundle(copied.path).version == bundle.version


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the middle."""
    program = (
        "import sys; from pathlib import Path; from tests.tiny import tiny_bundle\n"
        "from moerec.errors import StorageError\n"
        "try: tiny_bundle(Path(sys.argv[1]))\n"
        "except StorageError as error: print(error); sys.exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000)),
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stdout
    assert "nothing was half-written" in done.stdout
    assert list(tmp_path.iterdir()) == []
