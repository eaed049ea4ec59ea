"""The checkpoint: what an interrupted training hands to its continuation. Never read by serving.

One safetensors file beside the bundle-to-be (`<bundle>.checkpoint`): weights, best weights so far and
optimiser state as arrays, everything else as JSON in its header. One file, because replacing a file is
one step: a kill at any moment leaves the old checkpoint or the new one.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moerec.artifacts.files import storage_error, write_file
from moerec.errors import ArtifactError, UsageError

FORMAT: Final = "1"
REMEDY: Final = "Start over with --restart; the checkpoint is then thrown away."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`state` is JSON: numbers, strings, lists; `arrays` name -> array."""

    state: dict[str, Any]
    arrays: dict[str, NDArray[np.generic]]


def checkpoint_path(bundle: Path) -> Path:
    """Where the checkpoint of a bundle-to-be lies. UsageError for a path without a name, like ".."."""
    if bundle.name in ("", ".."):
        raise UsageError(f"{bundle} is no name for a bundle", "Name a folder, like bundles/first.")
    return bundle.with_name(bundle.name + ".checkpoint")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`. `StorageError` if the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    header = {
        "format": FORMAT,
        "sha256": _digest(checkpoint.arrays),
        "state": msgspec.json.encode(checkpoint.state).decode(),
    }
    write_file(path, save(checkpoint.arrays, header))


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`; `ArtifactError` if it is damaged or of another format."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ArtifactError(f"{path} is not a checkpoint that this version reads", REMEDY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(arrays) != header["sha256"]:
            raise ArtifactError(f"{path}: the arrays are not those that were written", REMEDY)
        return Checkpoint(msgspec.json.decode(header["state"]), arrays)
    except (OSError, SafetensorError, msgspec.DecodeError, KeyError) as error:
        raise ArtifactError(f"{path}: the checkpoint cannot be read: {error}", REMEDY) from error


def _digest(arrays: dict[str, NDArray[np.generic]]) -> str:
    digest = sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
