"""From a log to a bundle: split, train, measure on validation, write."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moerec.artifacts.bundle import (
    Bundle,
    BundleContents,
    DataFacts,
    ItemList,
    PopularItem,
    write_bundle,
)
from moerec.artifacts.checkpoint import checkpoint_path
from moerec.artifacts.files import held, storage_error
from moerec.artifacts.trained_on import TrainedOn, fingerprint, ordered_fingerprint
from moerec.data.feature_recipe import FeatureRecipe
from moerec.data.id_map import IdMap, build_id_map
from moerec.data.interactions import Interactions
from moerec.data.item_features import ItemFeatures, item_features, learn_recipe
from moerec.data.items import ItemTable
from moerec.data.sequences import build_histories
from moerec.data.split import HoldOut, hold_out
from moerec.errors import DataError, UsageError
from moerec.models.config import ModelConfig
from moerec.models.loading import choose_device
from moerec.training.config import (
    ID_DROPOUT,
    LARGEST_SEED,
    LogSize,
    TrainConfig,
)
from moerec.training.distributed import ALONE, Group
from moerec.training.finish import Finished, finish, sampled_cases
from moerec.training.liked import liked_threshold, train_values
from moerec.training.loop import Progress, Trained, Trainer, TrainingData
from moerec.training.presets import Variant, configurations
from moerec.training.processes import automatic_processes, training_threads, usable_cores
from moerec.training.shared import share

Unfinished = Literal["refuse", "resume", "restart"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a caller may decide. The preset decides the rest.

    * `split` is the rule of `moerec.data.split`; `fit_all` trains on every event and holds out none;
    * `device` "auto", "cpu" or "cuda"; `epochs` overrides the preset's; `seed` is 0 to `LARGEST_SEED`;
    * `liked` is the least value of an event that counts as liked; None lets the values decide;
    * `variant` of model and training: a preset, single knobs, a dense twin;
    * `unfinished` says what happens to the checkpoint of an interrupted training of the same bundle;
    * `replace` allows an existing bundle to be replaced.
    """

    split: str = "leave-one-out"
    fit_all: bool = False
    device: str = "auto"
    seed: int = 0
    epochs: int | None = None
    liked: float | None = None
    variant: Variant = field(default_factory=Variant)
    unfinished: Unfinished = "refuse"
    replace: bool = False


@dataclass(frozen=True, slots=True)
class PreparedLog:
    """What a training needs of a log and an item file. The log's table of strings is not in it.

    `processes` is how many pay for it on this machine.
    """

    data: TrainingData
    id_map: IdMap
    held: HoldOut
    recipe: FeatureRecipe | None
    liked_from: float | None
    source: str
    processes: int


def prepare_log(
    interactions: Interactions, items: ItemTable | None, options: FitOptions
) -> PreparedLog:
    """Number the items, line up the histories, hold events out. UsageError for a split that cannot be."""
    id_map = build_id_map(interactions, items)
    histories = build_histories(interactions, id_map)
    held = hold_out("none" if options.fit_all else options.split, histories, interactions.has_time)
    liked_from = liked_threshold(train_values(histories, held.train_lengths), options.liked)
    recipe, content = _content(items, id_map)
    data = TrainingData(
        histories,
        held.train_lengths,
        None,
        ordered_fingerprint(histories, id_map),
        held.rule,
        interactions.has_time,
        content,
    )
    model_config, config = _configurations(data, len(id_map), options)
    validation = sampled_cases(histories, held, config.validation_users, options.seed)
    data = replace(data, validation=validation)
    events, device = int(held.train_lengths.sum()), choose_device(options.device)
    processes = automatic_processes(model_config, config, events, device, usable_cores())
    return PreparedLog(data, id_map, held, recipe, liked_from, interactions.source, processes)


def fit_bundle(
    interactions: Interactions,
    out: Path,
    *,
    items: ItemTable | None = None,
    options: FitOptions = FitOptions(),
    watch: Callable[[Progress], None] = lambda _progress: None,
) -> Bundle:
    """Train on `interactions`, in this process alone, and write the bundle `out`.

    Raises what `claimed` and `fit_log` do.
    """
    with claimed(out, options):
        log = prepare_log(interactions, items, options)
        return fit_log(log, out, items=items, options=options, watch=watch)


def fit_log(
    log: PreparedLog,
    out: Path,
    *,
    items: ItemTable | None = None,
    options: FitOptions = FitOptions(),
    watch: Callable[[Progress], None] = lambda _progress: None,
    group: Group = ALONE,
) -> Bundle:
    """Train on `log` and write the bundle `out`; in a group, the first process's part.

    Raises UsageError for options that cannot be carried out, StorageError if the disk refuses,
    TrainingInterrupted after Ctrl-C (the checkpoint beside `out` then resumes), DistributedError if
    another process of `group` is lost.
    """
    data, catalogue = share(log.data, len(log.id_map), out, group)
    log = replace(log, data=data)
    device = choose_device(options.device)
    model_config, config = _configurations(data, catalogue, options)
    with training_threads(model_config, config, device, group.size, usable_cores()):
        trained = _trainer(model_config, config, data, out, options, watch, group).run()
        finished = finish(
            trained,
            data.histories,
            log.held,
            neighbors=config.neighbors,
            covisits=config.covisits,
            liked_from=log.liked_from,
            device=device,
            seed=options.seed,
        )
    contents = _contents(items, log, options, trained, finished, group.size)
    bundle = write_bundle(out, contents, replace=options.replace)
    checkpoint_path(out).unlink(missing_ok=True)
    return bundle


def assist_fit(
    log: PreparedLog | None, out: Path, *, options: FitOptions = FitOptions(), group: Group
) -> None:
    """The part of every other process of `group`: its share of each step. It writes no bundle.

    The first process of each machine gives the `log`; the others share what it has. Raises what
    `fit_log` does; DistributedError if the first process has refused to begin.
    """
    mine, catalogue = (log.data, len(log.id_map)) if log else (None, 0)
    data, catalogue = share(mine, catalogue, out, group)
    configs, device = _configurations(data, catalogue, options), choose_device(options.device)
    with training_threads(*configs, device, group.size, usable_cores()):
        _trainer(*configs, data, out, options, lambda _progress: None, group).run()


@contextmanager
def claimed(out: Path, options: FitOptions) -> Iterator[None]:
    """Refuse before the work begins what would be refused, or lost, after it; then `out` is this training's.

    It is until the block ends: another training of the same bundle is refused meanwhile. With
    `unfinished` "restart" the old checkpoint is thrown away. Raises UsageError, StorageError.
    """
    choose_device(options.device)
    if not 0 <= options.seed <= LARGEST_SEED:
        raise UsageError(f"the seed {options.seed} is not usable", f"Use 0 to {LARGEST_SEED}.")
    checkpoint = checkpoint_path(out)
    _make_parent(out)
    busy = UsageError(
        f"another training of {out} is running",
        "Wait until it has ended, or train into another folder.",
    )
    # Two would write one checkpoint, and go on from each other's.
    with held(out.with_name(out.name + ".training"), busy):
        _clear_way(out, checkpoint, options)
        yield


def _clear_way(out: Path, checkpoint: Path, options: FitOptions) -> None:
    if out.exists() and not options.replace:
        raise UsageError(
            f"{out} exists already", "Choose another --out, or allow it with --replace."
        )
    if out.exists() and not (out / "manifest.json").is_file():
        raise UsageError(
            f"{out} is not a bundle, so it is not replaced", "Choose another --out, or remove it."
        )
    if options.unfinished == "resume" and not checkpoint.exists():
        raise UsageError(
            f"there is no unfinished training at {checkpoint}", "Train without --resume."
        )
    if options.unfinished == "refuse" and checkpoint.exists():
        raise UsageError(
            f"an unfinished training lies at {checkpoint}",
            "Go on with it by --resume, or throw it away by --restart.",
        )
    if options.unfinished == "restart":
        checkpoint.unlink(missing_ok=True)


def _make_parent(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.exists()
    except OSError as error:
        raise storage_error(error, out) from error


def _configurations(
    data: TrainingData, catalogue: int, options: FitOptions
) -> tuple[ModelConfig, TrainConfig]:
    if not (data.train_lengths >= 2).any():
        raise DataError(
            "no user has two events to learn a transition from",
            "Give a log in which users have at least three events each, or use --fit-all.",
        )
    lengths, content = data.train_lengths, data.content
    return configurations(
        options.variant,
        LogSize(int(lengths.sum()), int((lengths > 0).sum()), catalogue, data.has_time),
        seed=options.seed,
        epochs=options.epochs,
        content=(content.size, len(content.features), ID_DROPOUT) if content else (0, 0, 0.0),
    )


def _trainer(
    model_config: ModelConfig,
    config: TrainConfig,
    data: TrainingData,
    out: Path,
    options: FitOptions,
    watch: Callable[[Progress], None],
    group: Group,
) -> Trainer:
    trainer = Trainer(
        model_config,
        config,
        data,
        device=choose_device(options.device),
        checkpoint=checkpoint_path(out),
        watch=watch,
        group=group,
    )
    if options.unfinished == "resume":
        trainer.resume()
    return trainer


def _content(
    items: ItemTable | None, id_map: IdMap
) -> tuple[FeatureRecipe | None, ItemFeatures | None]:
    """What the item file says of the catalogue, and how it was read; None if it says nothing."""
    recipe = None if items is None else learn_recipe(items)
    if items is None or recipe is None:
        return None, None
    indexes = id_map.indexes(items.frame.get_column("item_id"))
    return recipe, item_features(recipe, items, indexes, len(id_map))


def _contents(
    items: ItemTable | None,
    log: PreparedLog,
    options: FitOptions,
    trained: Trained,
    finished: Finished,
    processes: int,
) -> BundleContents:
    data, id_map, held = log.data, log.id_map, log.held
    counts = data.item_counts(len(id_map))
    best = trained.position.epochs[trained.position.best_epoch]
    metrics = {"epochs": float(trained.position.epoch), "loss": best.loss} | finished.metrics
    return BundleContents(
        config=finished.config.to_dict(),
        weights=finished.weights,
        items=_item_list(id_map, items),
        popular=_popular(counts, id_map),
        trained_on=TrainedOn.record(data.histories, held.train_lengths, id_map),
        data=DataFacts(
            source=Path(log.source).name,
            fingerprint=fingerprint(data.histories, id_map),
            events=len(data.histories.items),
            users=len(data.histories.users),
            items=len(id_map),
            has_time=data.has_time,
        ),
        held_out=held.rule,
        training={
            **trained.settings,
            "variant": options.variant.to_dict(),
            "processes": processes,
            "trained_events": int(held.train_lengths.sum()),
            # Counted from 1; without validation the last one is kept.
            "best_epoch": trained.position.best_epoch + 1 or trained.position.epoch,
            "epoch_records": [asdict(record) for record in trained.position.epochs],
        },
        metrics=metrics,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        content=log.recipe,
        users=finished.users,
    )


def _popular(counts: NDArray[np.int64], id_map: IdMap) -> list[PopularItem]:
    """Items with at least one training event, the most frequent first, ties by index."""
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    ids = id_map.ids_of(order.tolist())
    return [PopularItem(item, int(count)) for item, count in zip(ids, counts[order], strict=True)]


def _item_list(id_map: IdMap, items: ItemTable | None) -> ItemList:
    titles: list[str | None] = [None] * len(id_map)
    categories: list[list[str]] = [[] for _ in range(len(id_map))]
    if items is not None:
        places = (id_map.indexes(items.frame.get_column("item_id")) - 1).tolist()
        for column, target in (("title", titles), ("categories", categories)):
            if column in items.frame.columns:
                values = items.frame.get_column(column).to_list()
                for place, value in zip(places, values, strict=True):
                    if value is not None:
                        target[place] = value
    return ItemList(id_map.ids, titles, categories)
