"""The bundle: what training hands to serving. A folder of plain files that proves itself.

    manifest.json         format, sha256 of every other file, data, training, metrics
    config.json           the model's shape
    weights.safetensors   its weights
    items.json            external ids in order of the item index, titles, categories
    popular.json          the most frequent items of the training events, for the day the engine is away
    trained.safetensors   which events were trained on (`trained_on.py`)
    content.json          how the item file became features (`data/item_features.py`)
    users.safetensors     some users as lists see them, for the index of a large catalogue; may be missing

Written whole or not at all. Read without torch; a reader refuses a format it does not know, a file
whose hash is wrong, and weights that are not numbers.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moerec import __version__
from moerec.artifacts.files import new_folder, sha256
from moerec.artifacts.trained_on import TrainedOn
from moerec.data.feature_recipe import FeatureRecipe
from moerec.data.id_map import IdMap
from moerec.errors import ArtifactError
from moerec.types import ItemId

T = TypeVar("T")

FORMAT: Final = 3
POPULAR_LIMIT: Final = 1_000
FILES: Final = (
    "config.json",
    "weights.safetensors",
    "items.json",
    "popular.json",
    "trained.safetensors",
    "content.json",
)
USERS: Final = "users.safetensors"


class DataFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log a bundle was trained on."""

    source: str
    fingerprint: str
    events: int
    users: int
    items: int
    has_time: bool


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the bundle says of itself. `held_out` is the split rule, or "none" after --fit-all."""

    format: int
    version: str
    code_version: str
    created: str
    data: DataFacts
    held_out: str
    training: dict[str, Any]
    metrics: dict[str, float]
    files: dict[str, str]


class PopularItem(msgspec.Struct, frozen=True, array_like=True):
    """An item and how many training events it has."""

    item_id: ItemId
    count: int


class ItemList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Columns of the catalogue; row i is the item of index i + 1."""

    ids: list[ItemId]
    titles: list[str | None]
    categories: list[list[str]]


class UserSample(NamedTuple):
    """Some users as lists see them: `vectors` [U, D] of length 1, and `recent` [U, R], the indexes of their
    last items, newest first, 0 where there is none."""

    vectors: NDArray[np.float16]
    recent: NDArray[np.int32]


class ContentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `content.json` holds: None for a model that knows ids alone."""

    recipe: FeatureRecipe | None


@dataclass(frozen=True, slots=True)
class BundleContents:
    """Everything that `write_bundle` needs."""

    config: dict[str, int | float]
    weights: dict[str, NDArray[Any]]
    items: ItemList
    popular: list[PopularItem]
    trained_on: TrainedOn
    data: DataFacts
    held_out: str
    training: dict[str, Any]
    metrics: dict[str, float]
    created: str
    content: FeatureRecipe | None = None
    users: UserSample | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk, checked. Arrays are read when asked for."""

    path: Path
    manifest: Manifest
    config: dict[str, int | float]
    id_map: IdMap
    titles: list[str | None]
    categories: list[list[str]]
    popular: list[PopularItem]
    content: FeatureRecipe | None

    @property
    def version(self) -> str:
        """Names the model in every answer, for example "2026-11-22-3f9a1c20"."""
        return self.manifest.version

    def title(self, item_id: ItemId) -> str | None:
        """The title of an item, or None where there is none."""
        index = int(self.id_map.indexes([item_id])[0])
        return self.titles[index - 1] if index else None

    def weights(self) -> dict[str, NDArray[Any]]:
        """Name -> array. A value that is not a number is an `ArtifactError`."""
        weights = _load_arrays(self.path / "weights.safetensors")
        _require_numbers(weights, self.path)
        return weights

    def trained_on(self) -> TrainedOn:
        """The record of the training events."""
        arrays = _load_arrays(self.path / "trained.safetensors")
        return TrainedOn(arrays["users"], arrays["lengths"], arrays["digests"])

    def user_sample(self) -> UserSample | None:
        """Some users; None in a bundle that has none."""
        if USERS not in self.manifest.files:
            return None
        arrays = _load_arrays(self.path / USERS)
        return UserSample(arrays["vectors"], arrays["recent"]) if "recent" in arrays else None


def write_bundle(path: Path, contents: BundleContents, *, replace: bool = False) -> Bundle:
    """Write a bundle whole and read it back.

    `StorageError` if the disk refuses, `ArtifactError` for weights that are not numbers.
    """
    _require_numbers(contents.weights, path)
    with new_folder(path, replace=replace) as folder:
        (folder / "config.json").write_bytes(_json(contents.config))
        save_file(contents.weights, folder / "weights.safetensors")
        (folder / "items.json").write_bytes(_json(contents.items))
        (folder / "popular.json").write_bytes(_json(contents.popular[:POPULAR_LIMIT]))
        trained = contents.trained_on
        save_file(
            {"users": trained.users, "lengths": trained.lengths, "digests": trained.digests},
            folder / "trained.safetensors",
        )
        (folder / "content.json").write_bytes(_json(ContentFile(contents.content)))
        if contents.users is not None:
            save_file(contents.users._asdict(), folder / USERS)
        (folder / "manifest.json").write_bytes(_json(_manifest(folder, contents)))
    return read_bundle(path)


def read_bundle(path: Path | str) -> Bundle:
    """Open a bundle and check every file. `ArtifactError` says what is wrong with it."""
    try:
        return _read_checked(Path(path))
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}", "Check the path and its permissions."
        ) from error


def copy_bundle(bundle: Bundle, path: Path) -> Bundle:
    """Copy a bundle to the new folder `path`, whole. `StorageError` if the disk refuses."""
    with new_folder(path) as folder:
        for name in ("manifest.json", *_names(bundle.manifest)):
            shutil.copyfile(bundle.path / name, folder / name)
    return read_bundle(path)


def _read_checked(path: Path) -> Bundle:
    if not (path / "manifest.json").is_file():
        raise ArtifactError(
            f"{path} is not a bundle: it has no manifest.json", "Make one with `moerec train DATA`."
        )
    manifest = _read_manifest(path)
    for name in _names(manifest):
        if not (path / name).is_file():
            raise ArtifactError(
                f"{path}: {name} is missing", "Copy the bundle again, or train again."
            )
        if sha256(path / name) != manifest.files.get(name):
            raise ArtifactError(
                f"{path}: {name} is not the file that was written (its sha256 differs)",
                "Copy the bundle again, or train again.",
            )
    items = _decode(path / "items.json", ItemList)
    config = _decode(path / "config.json", dict[str, int | float])
    return Bundle(
        path=path,
        manifest=manifest,
        config=config,
        id_map=IdMap(items.ids),
        titles=items.titles,
        categories=items.categories,
        popular=_decode(path / "popular.json", list[PopularItem]),
        content=_read_recipe(path / "content.json", config),
    )


def _names(manifest: Manifest) -> list[str]:
    return [*FILES, *({USERS} & manifest.files.keys())]


def _read_recipe(path: Path, config: dict[str, int | float]) -> FeatureRecipe | None:
    recipe = _decode(path, ContentFile).recipe
    if config.get("features", 0) != (len(recipe.hashes) if recipe else 0):
        raise ArtifactError(
            f"{path} and the model's configuration disagree about the features of the items",
            "Copy the bundle again, or train again.",
        )
    return recipe


def _require_numbers(weights: dict[str, NDArray[Any]], path: Path) -> None:
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ArtifactError(
                f"{path}: the weights {name!r} hold values that are not numbers",
                "The training diverged: train again, with another --seed if it happens again.",
            )


def _manifest(folder: Path, contents: BundleContents) -> Manifest:
    manifest = Manifest(
        format=FORMAT,
        version="",
        code_version=__version__,
        created=contents.created,
        data=contents.data,
        held_out=contents.held_out,
        training=contents.training,
        metrics=contents.metrics,
        files={name: sha256(folder / name) for name in (*FILES, USERS) if (folder / name).exists()},
    )
    return msgspec.structs.replace(manifest, version=_version(manifest))


def _version(manifest: Manifest) -> str:
    """The day, and a hash of everything else that the manifest says, the files' hashes included."""
    rest = _json(msgspec.structs.replace(manifest, version=""))
    return f"{manifest.created[:10]}-{hashlib.sha256(rest).hexdigest()[:8]}"


def _read_manifest(path: Path) -> Manifest:
    """The format is looked at first: a newer manifest may have fields that we cannot name."""
    found = _decode(path / "manifest.json", dict[str, Any]).get("format")
    if found != FORMAT:
        raise ArtifactError(
            f"{path}: bundle format {found!r}, and this moerec ({__version__}) reads format {FORMAT}",
            "Use the moerec version that wrote it, or train again.",
        )
    manifest = _decode(path / "manifest.json", Manifest)
    if manifest.version != _version(manifest):
        raise ArtifactError(
            f"{path}: manifest.json is not what was written (its version does not fit its content)",
            "Copy the bundle again, or train again.",
        )
    return manifest


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}", "Copy the bundle again, or train again."
        ) from error


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}", "Copy the bundle again, or train again."
        ) from error
    return arrays


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1)
