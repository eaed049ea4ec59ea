"""The checkpoint: what an interrupted training hands to its continuation. Never read by serving.

    state.json            where the training stood, its settings, sha256 of the arrays
    arrays.safetensors    weights, best weights so far, optimiser state

It lies beside the bundle-to-be (`<bundle>.checkpoint`) and goes when the bundle is written.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moerec.artifacts.folder import new_folder, sha256
from moerec.errors import ArtifactError

FORMAT: Final = 1
REMEDY: Final = "Start over with --restart; the checkpoint is then thrown away."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`state` is JSON: numbers, strings, lists; `arrays` name -> array."""

    state: dict[str, Any]
    arrays: dict[str, NDArray[np.generic]]


def checkpoint_path(bundle: Path) -> Path:
    """Where the checkpoint of a bundle-to-be lies."""
    return bundle.with_name(bundle.name + ".checkpoint")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`, whole. `StorageError` if the disk refuses."""
    with new_folder(path, replace=True) as folder:
        save_file(checkpoint.arrays, folder / "arrays.safetensors")
        state = {
            "format": FORMAT,
            "arrays_sha256": sha256(folder / "arrays.safetensors"),
            "state": checkpoint.state,
        }
        (folder / "state.json").write_bytes(msgspec.json.encode(state))


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`; `ArtifactError` if it is damaged or of another format."""
    try:
        outer = msgspec.json.decode((path / "state.json").read_bytes())
        if outer["format"] != FORMAT:
            raise ArtifactError(f"{path}: checkpoint format {outer['format']} is not known", REMEDY)
        if sha256(path / "arrays.safetensors") != outer["arrays_sha256"]:
            raise ArtifactError(
                f"{path}: arrays.safetensors is not the file that was written", REMEDY
            )
        return Checkpoint(outer["state"], load_file(path / "arrays.safetensors"))
    except (OSError, msgspec.DecodeError, SafetensorError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: the checkpoint cannot be read: {error}", REMEDY) from error
