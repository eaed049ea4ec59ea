"""The demo's folder: simulated log, bundle, event store. What is there already is kept."""

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.artifacts.checkpoint import checkpoint_path
from moerec.artifacts.files import held
from moerec.data.demo.writing import write_demo
from moerec.data.interactions import Interactions, read_interactions
from moerec.data.items import read_items
from moerec.errors import ArtifactError, DistributedError, UsageError
from moerec.store.importing import import_events
from moerec.store.sql import open_event_store


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo may be told. Four epochs: enough to pass the Markov chain, and soon there."""

    folder: Path = Path(".moerec/demo")
    port: int = 8000
    once: bool = False
    seed: int = 7
    viewers: int = 2000
    epochs: int = 4

    @property
    def bundle_path(self) -> Path:
        """Where the bundle is, or will be."""
        return self.folder / "bundle"

    @property
    def database_url(self) -> str:
        """The demo's own event store."""
        return f"sqlite:///{(self.folder / 'events.db').absolute()}"


def prepare(options: DemoOptions, console: Console) -> Bundle:
    """The demo's bundle, trained now if there is none, with the simulated histories in the store."""
    bundle = _trained_before(options, console)
    if bundle is not None:
        log = options.folder / "log.csv"
        interactions = read_interactions(log) if not _imported(options, bundle) else None
    else:
        interactions, bundle = _make(options, console)
    if interactions is not None:
        _import(options, interactions, console)
    return bundle


def _make(options: DemoOptions, console: Console) -> tuple[Interactions, Bundle]:
    """The log and the bundle, by one demo of the folder at a time: another would write another log."""
    busy = UsageError(
        f"another demo is being prepared in {options.folder}",
        "Wait until it has ended, or choose another place: --dir.",
    )
    with suppress(OSError):  # a folder that cannot be made is the lock's error, in words
        options.folder.mkdir(parents=True, exist_ok=True)
    with held(options.folder / "preparing", busy):
        with console.status("Simulating viewers"):
            log, catalogue = write_demo(options.folder, options.viewers, options.seed)
        interactions = read_interactions(log)
        return interactions, _train(options, interactions, catalogue, console)


def _trained_before(options: DemoOptions, console: Console) -> Bundle | None:
    """The bundle of an earlier demo, if this version can read it."""
    if not options.bundle_path.exists():
        return None
    try:
        bundle = read_bundle(options.bundle_path)
    except ArtifactError as error:
        console.print(
            f"The model of an earlier demo is of no use here ({escape(error.message)}): "
            "it is trained again.",
            highlight=False,
            soft_wrap=True,
        )
        return None
    console.print(
        f"Model [bold]{bundle.version}[/] from {escape(str(options.bundle_path))}",
        highlight=False,
        soft_wrap=True,
    )
    return bundle


def _train(
    options: DemoOptions, interactions: Interactions, catalogue: Path, console: Console
) -> Bundle:
    # Torch comes with these, and is not needed where the bundle exists.
    from moerec.training.display import TrainingDisplay
    from moerec.training.fit import FitOptions, claimed, fit_log, prepare_log
    from moerec.training.interrupt import TrainingInterrupted
    from moerec.training.workers import with_workers

    report = interactions.report
    console.print(
        f"Training on {report.events:,} events of {report.users:,} simulated viewers "
        f"and {report.items:,} films",
        highlight=False,
    )
    checkpoint = checkpoint_path(options.bundle_path)
    fit_options = FitOptions(
        seed=options.seed,
        epochs=options.epochs,
        unfinished="resume" if checkpoint.exists() else "refuse",
        replace=True,
    )
    out, items = options.bundle_path, read_items(catalogue)
    with claimed(out, fit_options):
        log = prepare_log(interactions, items, fit_options)
        try:
            with (
                with_workers(log.processes, out, fit_options) as group,
                TrainingDisplay(console) as display,
            ):
                return fit_log(
                    log, out, items=items, options=fit_options, watch=display.update, group=group
                )
        except (TrainingInterrupted, DistributedError) as error:
            error.remedy = "The same command goes on from where it stopped."
            raise
        except UsageError as error:
            error.remedy = f"Give the same options as before, or remove {checkpoint}."
            raise


def _imported(options: DemoOptions, bundle: Bundle) -> bool:
    with closing(open_event_store(options.database_url)) as store:
        return store.counts().events >= bundle.manifest.data.events


def _import(options: DemoOptions, interactions: Interactions, console: Console) -> None:
    """Import the whole log; an import that was interrupted is completed."""
    with (
        closing(open_event_store(options.database_url)) as store,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("Importing histories")
        import_events(
            store,
            interactions,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
