"""One copy of a log for all processes of a machine.

The first process of each machine reads the log and writes what steps need into files; all of them map
these files, so the events are in the machine's memory once, and can leave it when memory is short. The
files' names go as soon as everybody has mapped them: nothing is left when the processes end, however they do.
"""

import glob
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moerec.artifacts.files import storage_error
from moerec.data.item_features import ItemFeatures
from moerec.data.sequences import Histories
from moerec.evaluation.evaluate import Cases
from moerec.training.distributed import Group
from moerec.training.loop import TrainingData

FORGOTTEN_S: Final = 86_400.0
"""Files of this age are no longer about to be mapped: a training was killed in that moment."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is said of the files in `folder`."""

    folder: Path
    fingerprint: str
    split: str
    has_time: bool
    catalogue: int
    features: int | None
    validated: bool


def share(
    data: TrainingData | None, catalogue: int, out: Path, group: Group
) -> tuple[TrainingData, int]:
    """`data` and its number of items, as this machine's first process has them, in mapped files.

    The others give None and 0; what they get has no names of users. The files lie
    beside `out` for a moment. StorageError if the disk refuses.
    """
    if data is not None and group.size == 1:
        return data, catalogue
    folder: Path | None = None
    written: _Facts | None = None
    try:
        if data is not None:
            folder = _new_folder(out)
            written = _write(folder, data, catalogue)
        facts = group.from_first_here(written)
        mapped = _mapped(facts)
        group.wait()
    except OSError as error:
        raise storage_error(error, folder or out) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if data is not None:
        histories = replace(mapped.histories, users=data.histories.users)
        mapped = replace(mapped, histories=histories, validation=data.validation)
    return mapped, facts.catalogue


def _new_folder(out: Path) -> Path:
    """Beside `out`, of this run alone: another training may be starting with the same `out`."""
    prefix = f".{out.name}.events."
    for other in out.parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(FileNotFoundError):  # another training has just mapped its own
            if time.time() - other.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(other, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))


def _write(folder: Path, data: TrainingData, catalogue: int) -> _Facts:
    for name, array in _arrays(data).items():
        np.save(folder / f"{name}.npy", array)
    features = data.content.size if data.content else None
    validated = data.validation is not None
    return _Facts(
        folder, data.fingerprint, data.split, data.has_time, catalogue, features, validated
    )


def _arrays(data: TrainingData) -> dict[str, NDArray[Any]]:
    histories, content, validation = data.histories, data.content, data.validation
    arrays: dict[str, NDArray[Any]] = {
        "offsets": histories.offsets,
        "items": histories.items,
        "timestamps": histories.timestamps,
        "values": histories.values,
        "train_lengths": data.train_lengths,
    }
    if content is not None:
        arrays["content_offsets"] = content.offsets
        arrays["content_features"] = content.features
        arrays["content_weights"] = content.weights
    if validation is not None:
        arrays["validation_users"] = validation.users
        arrays["validation_targets"] = validation.targets
        # Of the user's known events, so many are the history.
        lengths = [len(history) for history in validation.histories]
        arrays["validation_lengths"] = np.array(lengths, np.int64)
    return arrays


def _mapped(facts: _Facts) -> TrainingData:
    def array(name: str) -> NDArray[Any]:
        # Copy on write: nobody writes, but torch warns of arrays that it could not write to.
        return np.asarray(np.load(facts.folder / f"{name}.npy", mmap_mode="c"))

    content = None
    if facts.features is not None:
        names = ("content_offsets", "content_features", "content_weights")
        content = ItemFeatures(facts.features, *(array(name) for name in names))
    events = (array(name) for name in ("offsets", "items", "timestamps", "values"))
    histories, validation = Histories([], *events), None
    if facts.validated:
        users, lengths = array("validation_users"), array("validation_lengths").tolist()
        known = [histories.history_of(user).known() for user in users.tolist()]
        past = [history[:length] for history, length in zip(known, lengths, strict=True)]
        validation = Cases(users, past, array("validation_targets"))
    return TrainingData(
        histories,
        array("train_lengths"),
        validation,
        facts.fingerprint,
        facts.split,
        facts.has_time,
        content,
    )
