"""The verbs that learn and measure: train, evaluate, recommend."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from moerec.cli.options import (
    add_columns,
    columns_of,
    positive,
    processes,
    seed,
    setting,
    spare_threads,
    twin,
)
from moerec.errors import UsageError

if TYPE_CHECKING:
    from moerec.cli.options import Verbs
    from moerec.data.items import ItemTable
    from moerec.evaluation.report import Report
    from moerec.training.distributed import Group
    from moerec.training.fit import FitOptions, PreparedLog

BUNDLES: Final = Path("bundles")
"""Where `train` puts a bundle that was given no name."""


def add_train(verbs: "Verbs") -> None:
    """`moerec train`"""
    parser = verbs.add_parser(
        "train",
        help="learn a bundle from an interaction log",
        description="Learn a bundle from an interaction log. Its format is recognised: CSV, TSV, JSONL, "
        "Parquet, MovieLens, `user item` lines, `user item item ...` lines; gzip or not. Several GPUs "
        "or machines: torchrun --nproc-per-node N -m moerec train DATA ...",
    )
    parser.add_argument("data", metavar="DATA", help="the log")
    parser.add_argument("--out", type=Path, help="folder of the bundle (default: bundles/NAME)")
    parser.add_argument("--items", help="file of items: id, title, categories, ...")
    add_columns(parser)
    parser.add_argument(
        "--split",
        default="leave-one-out",
        metavar="RULE",
        help="what is kept out of the weights for validation and test: leave-one-out (default; a "
        "user's last two events), time:0.1 (the last 10%% of all events twice) or user-ratio:0.2 (the "
        "last 20%% of each user's events, and the one before them)",
    )
    parser.add_argument(
        "--liked",
        type=float,
        metavar="VALUE",
        help="an event with this value or more is liked (default: from the middle of the log's values "
        "on, 3 of 1 to 5, or from their median where nearly all lie on one side)",
    )
    parser.add_argument(
        "--fit-all", action="store_true", help="train on every event, hold out none"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument(
        "--processes",
        type=processes,
        metavar="N",
        help="share the work with so many processes on this machine's processor; auto (default): as many "
        "as pay, by cores and the log's size",
    )
    parser.add_argument(
        "--epochs", type=positive, help="at most so many (default: by the log's size)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (default 0)")
    add_variant(parser)
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument(
        "--resume", action="store_true", help="go on with an interrupted training"
    )
    unfinished.add_argument(
        "--restart", action="store_true", help="throw an interrupted training away"
    )
    parser.add_argument("--replace", action="store_true", help="allow --out to be replaced")
    parser.set_defaults(run=_train)


def add_variant(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is trained."""
    group = parser.add_argument_group("another model", "see docs/training.md")
    group.add_argument(
        "--preset",
        default="auto",
        metavar="NAME",
        help="auto (default): what suits a log of this size; compare: a smaller mixture of experts, for "
        "comparisons; sasrec: a dense transformer in the style of SASRec",
    )
    group.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="replace one knob of the preset, like dropout=0.3; may be given several times, and an "
        "unknown name lists them all",
    )
    group.add_argument(
        "--twin",
        type=twin,
        metavar="total|active|WIDTH",
        help="train the dense twin instead: with as many parameters (total), as much work an event "
        "(active), or a feed-forward layer of that hidden width",
    )


def _train(options: argparse.Namespace) -> None:
    spare_threads()
    from moerec.models.loading import choose_device
    from moerec.training.distributed import joined
    from moerec.training.processes import check_processes

    device = choose_device(options.device)
    check_processes(options.processes, device)
    with joined(device) as group:
        _train_in(group, options)


def _train_in(group: "Group", options: argparse.Namespace) -> None:
    from moerec.training.fit import FitOptions, assist_fit, claimed
    from moerec.training.presets import Variant

    out = options.out or BUNDLES / Path(options.data).name.split(".")[0]
    settings = FitOptions(
        split=options.split,
        fit_all=options.fit_all,
        device=options.device,
        seed=options.seed,
        epochs=options.epochs,
        liked=options.liked,
        variant=Variant(options.preset, dict(options.settings), options.twin),
        unfinished="resume" if options.resume else "restart" if options.restart else "refuse",
        replace=options.replace,
    )
    if group.is_first:
        with claimed(out, settings):
            _lead(group, out, settings, options)
        return
    quiet = Console(quiet=True)
    log = _prepared(settings, options, quiet)[0] if group.is_first_here else None
    assist_fit(log, out, options=settings, group=group)


def _lead(group: "Group", out: Path, settings: "FitOptions", options: argparse.Namespace) -> None:
    from moerec.training.display import TrainingDisplay
    from moerec.training.fit import fit_log
    from moerec.training.workers import with_workers

    console = Console()
    log, items = _prepared(settings, options, console)
    # Under torchrun, which has started the others, it is 1.
    number = options.processes or log.processes
    with (
        with_workers(number, out, settings, group) as working,
        TrainingDisplay(console) as display,
    ):
        bundle = fit_log(
            log, out, items=items, options=settings, watch=display.update, group=working
        )
    console.print(
        f"bundle {bundle.version} written to {escape(str(out))}", highlight=False, soft_wrap=True
    )
    console.print(
        f"next: moerec evaluate {escape(str(out))} {escape(options.data)}    "
        f"moerec import events {escape(options.data)} && moerec serve --bundle {escape(str(out))}",
        highlight=False,
        soft_wrap=True,
    )


def _prepared(
    settings: "FitOptions", options: argparse.Namespace, console: Console
) -> "tuple[PreparedLog, ItemTable | None]":
    from moerec.data.interactions import read_interactions
    from moerec.data.items import read_items
    from moerec.training.fit import prepare_log

    with console.status(f"reading {escape(options.data)}"):
        interactions = read_interactions(options.data, columns_of(options))
        items = read_items(options.items) if options.items else None
    console.print(str(interactions.report), highlight=False)
    return prepare_log(interactions, items, settings), items


def add_evaluate(verbs: "Verbs") -> None:
    """`moerec evaluate`"""
    parser = verbs.add_parser(
        "evaluate",
        help="rank held-out events, beside baselines",
        description="Full ranking of each user's held-out event over the whole catalogue. Seen items are "
        "removed, ties count against the model. The split is the one the bundle was trained with. Where the "
        "log has values, relevance too: of the held-out items a user rated, are the first ones liked?",
    )
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("data", metavar="DATA", help="the log the bundle was trained on")
    add_columns(parser)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--keep-seen", action="store_true", help="leave seen items in the ranking")
    parser.add_argument(
        "--baselines",
        choices=("all", "fast", "none"),
        default="fast",
        help="fast (default): a Markov chain and popularity; all: EASE and item-kNN too, with knobs "
        "chosen on validation events, which may take minutes",
    )
    parser.add_argument(
        "--through",
        choices=("model", "engine"),
        default="model",
        help="who ranks: the model (default), or the engine that serves it, as live: histories from a table, "
        "the newest event streamed, states kept as MOEREC_STATE_TYPE says",
    )
    parser.add_argument(
        "--recs", type=Path, metavar="CSV", help="write user_id,item_id,rank, top 50"
    )
    parser.add_argument(
        "--ranks",
        type=Path,
        metavar="CSV",
        help="write the rank of each user's held-out item, a column for the model and each baseline",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument(
        "--experts", action="store_true", help="measure the experts too: load, k, specialisation"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="HTML",
        help="write a page with plots of all of it (needs moerec[report])",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from moerec.evaluation.page.write import require_libraries, write_page

    if options.report:
        require_libraries()
    from rich.progress import Progress

    from moerec.artifacts.bundle import read_bundle
    from moerec.data.interactions import read_interactions
    from moerec.evaluation.report import evaluate_bundle, routing_of
    from moerec.evaluation.routing_table import routing_notes, routing_table
    from moerec.models.loading import choose_device

    console = Console()
    device = choose_device(options.device)
    bundle = read_bundle(options.bundle)
    with console.status(f"reading {escape(options.data)}"):
        interactions = read_interactions(options.data, columns_of(options))
    console.print(str(interactions.report), highlight=False)
    ranker = None
    if options.through == "engine":
        import numpy as np

        from moerec.engine.scorer import EngineScorer
        from moerec.settings import Settings

        ranker = EngineScorer(bundle, device, np.dtype(Settings.load().state_type).type)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ranking")

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        report = evaluate_bundle(
            bundle,
            interactions,
            options.split,
            keep_seen=options.keep_seen,
            baselines=options.baselines,
            device=device,
            ranker=ranker,
            on_progress=show,
        )
        measured = options.experts or options.report
        routing = routing_of(report, device=device, on_progress=show) if measured else None
    _print_figures(console, report)
    if options.experts and routing is not None:
        console.print(routing_table(routing))
        for note in routing_notes(routing):
            console.print(escape(note), highlight=False, soft_wrap=True)
    if options.json:
        report.write_json(options.json, routing)
    if options.ranks:
        report.write_ranks(options.ranks)
    if options.recs:
        report.write_recommendations(options.recs)
    if options.report:
        write_page(options.report, report, routing)
        console.print(f"report written to {escape(str(options.report))}", soft_wrap=True)


def _print_figures(console: Console, report: "Report") -> None:
    from moerec.evaluation.relevance_table import NO_RELEVANCE, relevance_notes, relevance_table

    console.print(report.table())
    for note in report.notes():
        console.print(note, highlight=False)
    found = report.relevance
    table = relevance_table(found) if found else None
    if table:
        console.print(table)
    for note in relevance_notes(found) if found else [NO_RELEVANCE]:
        console.print(note, highlight=False, soft_wrap=True)


def add_recommend(verbs: "Verbs") -> None:
    """`moerec recommend`"""
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
    parser.add_argument("-k", type=positive, default=10, help="length of the list (default 10)")
    parser.add_argument("--keep-seen", action="store_true", help="leave seen items in the list")
    add_columns(parser, user="--user-column")
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
        else history_of(
            options.user,
            recommender.bundle.id_map,
            data=options.data,
            columns=columns_of(options),
        )
    )
    found = recommender.recommend_for(history, options.k, exclude_seen=not options.keep_seen)
    table = Table("rank", "item", "title", "score", box=None, header_style="bold")
    for item in found:
        table.add_row(str(item.rank), item.item_id, escape(item.title or ""), f"{item.score:.4f}")
    Console().print(table)
