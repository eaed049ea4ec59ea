"""The `moerec` command: each verb parses, calls one function, prints. No logic, no torch at import.

Exit codes: 0 well, 2 refused (with one message and its remedy), 130 stopped by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from moerec import __version__
from moerec.errors import MoerecError, UsageError

if TYPE_CHECKING:
    from moerec.data.interactions import ColumnNames

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

BUNDLES = Path("bundles")
"""Where `train` puts a bundle that was given no name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except MoerecError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.remedy:
            sys.stderr.write(f"       {error.remedy}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`moerec ... | head`): nobody is left to hear a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moerec",
        description="A Mixture-of-Experts recommender: from an interaction log to live answers.",
        epilog="Every verb explains itself: moerec VERB --help. Start with: moerec demo",
    )
    parser.add_argument("--version", action="version", version=f"moerec {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (_add_demo, _add_train, _add_evaluate, _add_recommend, _add_import, _add_serve):
        add(verbs)
    return parser


def _add_demo(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "demo",
        help="see it work: train on built-in films, serve, type a film, see the list move",
        description="Train on simulated viewers of well-known films if that was not done before, serve the "
        "model, show with three requests that it learns, then let you watch films.",
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(".moerec/demo"), help="default: .moerec/demo"
    )
    parser.add_argument("--port", type=int, default=8000, help="the next free one if it is in use")
    parser.add_argument("--once", action="store_true", help="end after the three requests")
    parser.add_argument("--seed", type=int, default=7, help="of viewers and training (default 7)")
    parser.add_argument(
        "--viewers", type=_positive, default=2000, help="to simulate (default 2000)"
    )
    parser.add_argument(
        "--epochs", type=_positive, help="of training at most (default: by the log's size)"
    )
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from moerec.process.demo.prepare import DemoOptions
    from moerec.process.demo.run import run_demo, standard_input

    demo = DemoOptions(
        folder=options.dir,
        port=options.port,
        once=options.once,
        seed=options.seed,
        viewers=options.viewers,
        epochs=options.epochs,
    )
    run_demo(demo, Console(), standard_input())


def _add_train(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "train",
        help="learn a bundle from an interaction log",
        description="Learn a bundle from an interaction log. Its format is recognised: CSV, TSV, JSONL, "
        "Parquet, MovieLens, `user item` lines, `user item item ...` lines; gzip or not.",
    )
    parser.add_argument("data", metavar="DATA", help="the log")
    parser.add_argument("--out", type=Path, help="folder of the bundle (default: bundles/NAME)")
    parser.add_argument("--items", help="file of items: id, title, categories, ...")
    _add_columns(parser)
    parser.add_argument(
        "--split",
        default="leave-one-out",
        metavar="RULE",
        help="what is kept out of the weights for validation and test: leave-one-out (default; a "
        "user's last two events) or time:0.1 (the last 10%% of all events twice)",
    )
    parser.add_argument(
        "--fit-all", action="store_true", help="train on every event, hold out none"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument(
        "--epochs", type=_positive, help="at most so many (default: by the log's size)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument(
        "--resume", action="store_true", help="go on with an interrupted training"
    )
    unfinished.add_argument(
        "--restart", action="store_true", help="throw an interrupted training away"
    )
    parser.add_argument("--replace", action="store_true", help="allow --out to be replaced")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    from moerec.data.interactions import read_interactions
    from moerec.data.items import read_items
    from moerec.training.display import TrainingDisplay
    from moerec.training.fit import FitOptions, fit_bundle

    console = Console()
    out = options.out or BUNDLES / Path(options.data).name.split(".")[0]
    with console.status(f"reading {escape(options.data)}"):
        interactions = read_interactions(options.data, _columns(options))
        items = read_items(options.items) if options.items else None
    console.print(str(interactions.report), highlight=False)
    settings = FitOptions(
        split=options.split,
        fit_all=options.fit_all,
        device=options.device,
        seed=options.seed,
        epochs=options.epochs,
        unfinished="resume" if options.resume else "restart" if options.restart else "refuse",
        replace=options.replace,
    )
    with TrainingDisplay(console) as display:
        bundle = fit_bundle(interactions, out, items=items, options=settings, watch=display.update)
    console.print(f"bundle {bundle.version} written to {escape(str(out))}", highlight=False)
    console.print(
        f"next: moerec evaluate {escape(str(out))} {escape(options.data)}    "
        f"moerec import events {escape(options.data)} && moerec serve --bundle {escape(str(out))}",
        highlight=False,
        soft_wrap=True,
    )


def _add_evaluate(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="rank held-out events, beside popularity and a Markov chain",
        description="Full ranking of each user's held-out event over the whole catalogue. Seen items are "
        "removed, ties count against the model. The split is the one the bundle was trained with.",
    )
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("data", metavar="DATA", help="the log the bundle was trained on")
    _add_columns(parser)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--keep-seen", action="store_true", help="leave seen items in the ranking")
    parser.add_argument(
        "--recs", type=Path, metavar="CSV", help="write user_id,item_id,rank, top 50"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from rich.progress import Progress

    from moerec.artifacts.bundle import read_bundle
    from moerec.data.interactions import read_interactions
    from moerec.evaluation.report import evaluate_bundle
    from moerec.models.loading import choose_device

    console = Console()
    bundle = read_bundle(options.bundle)
    interactions = read_interactions(options.data, _columns(options))
    console.print(str(interactions.report), highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ranking")
        report = evaluate_bundle(
            bundle,
            interactions,
            options.split,
            keep_seen=options.keep_seen,
            device=choose_device(options.device),
            on_progress=lambda name, done, total: bar.update(
                task, description=name, completed=done, total=total
            ),
        )
    console.print(report.table())
    for note in report.notes():
        console.print(note, highlight=False)
    if options.json:
        report.write_json(options.json)
    if options.recs:
        report.write_recommendations(options.recs)


def _add_recommend(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "recommend",
        help="print a user's list",
        description="Print what a user would be shown. The history comes from --history, from a log "
        "(--data), or else from the event store.",
    )
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--user", help="the user's id")
    parser.add_argument("--data", help="a log that holds the user's history")
    parser.add_argument("--history", metavar="ID,ID,...", help="item ids, oldest first")
    parser.add_argument("-k", type=_positive, default=10, help="length of the list (default 10)")
    parser.add_argument("--keep-seen", action="store_true", help="leave seen items in the list")
    _add_columns(parser, user="--user-column")
    parser.set_defaults(run=_recommend)


def _recommend(options: argparse.Namespace) -> None:
    from rich.table import Table

    from moerec.recommender import Recommender, history_of

    if options.user is None and options.history is None:
        raise UsageError("whose list?", "Give --user ID, or --history id,id,...")
    recommender = Recommender.load(options.bundle)
    history = (
        [item.strip() for item in options.history.split(",") if item.strip()]
        if options.history is not None
        else history_of(options.user, data=options.data, columns=_columns(options))
    )
    found = recommender.recommend_for(history, options.k, exclude_seen=not options.keep_seen)
    table = Table("rank", "item", "title", "score", box=None, header_style="bold")
    for item in found:
        table.add_row(str(item.rank), item.item_id, escape(item.title or ""), f"{item.score:.4f}")
    Console().print(table)


def _add_import(verbs: "Verbs") -> None:
    importing = verbs.add_parser("import", help="load histories into the event store")
    kinds = importing.add_subparsers(title="what", metavar="WHAT", required=True)
    parser = kinds.add_parser(
        "events",
        help="the events of a log",
        description="Load a log's events into the event store; what is there already is not added twice.",
    )
    parser.add_argument("data", metavar="DATA", help="the log")
    _add_columns(parser)
    parser.add_argument(
        "--split",
        choices=("all", "test"),
        default="all",
        help="all events (default), or with `test` those before each user's test event",
    )
    parser.add_argument("--database-url", help="default: MOEREC_DATABASE_URL, or .moerec/events.db")
    parser.set_defaults(run=_import_events)


def _import_events(options: argparse.Namespace) -> None:
    from rich.progress import Progress

    from moerec.data.id_map import build_id_map
    from moerec.data.interactions import read_interactions
    from moerec.data.sequences import build_histories
    from moerec.data.split import leave_one_out
    from moerec.settings import Settings
    from moerec.store.importing import import_events
    from moerec.store.sql import open_event_store

    console = Console()
    given = {"database_url": options.database_url} if options.database_url else {}
    settings = Settings.load(**given)
    interactions = read_interactions(options.data, _columns(options))
    console.print(str(interactions.report), highlight=False)
    held = None
    if options.split == "test":
        held = leave_one_out(build_histories(interactions, build_id_map(interactions)))
    store = open_event_store(settings.database_url, settings.durability)
    try:
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("importing")
            report = import_events(
                store,
                interactions,
                held,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
    finally:
        store.close()
    console.print(
        f"{report.added:,} events added, {report.stored_before:,} were there already, "
        f"{report.held_out:,} held out",
        highlight=False,
    )


def _add_serve(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "serve",
        help="answer over HTTP: a gateway and an engine, kept alive",
        description="Serve a bundle over HTTP until Ctrl-C. Starts a gateway and an engine as two processes "
        "and starts again the one that dies. Every option has an environment variable, MOEREC_ and its name.",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="folder that `train` wrote")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8000; 0: a free one)")
    parser.add_argument(
        "--database-url", metavar="URL", help="default: sqlite:///.moerec/events.db"
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from moerec.process.serve import serve
    from moerec.settings import Settings

    names = ("bundle", "host", "port", "database_url")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    serve(Settings.load(**given))


def _add_columns(parser: argparse.ArgumentParser, user: str = "--user") -> None:
    group = parser.add_argument_group(
        "columns of the log", "guessed from their usual names if not given"
    )
    group.add_argument(user, dest="user_column", metavar="NAME")
    group.add_argument("--item", dest="item_column", metavar="NAME")
    group.add_argument(
        "--timestamp",
        dest="timestamp_column",
        metavar="NAME",
        help='"none": rows are in time order',
    )
    group.add_argument("--event", dest="event_column", metavar="NAME")
    group.add_argument("--value", dest="value_column", metavar="NAME")


def _columns(options: argparse.Namespace) -> "ColumnNames":
    from moerec.data.interactions import ColumnNames

    return ColumnNames(
        user=options.user_column,
        item=options.item_column,
        timestamp=options.timestamp_column,
        event=options.event_column,
        value=options.value_column,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
