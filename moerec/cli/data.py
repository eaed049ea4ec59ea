"""The verbs that bring data: `data demo`, `data download`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from moerec.cli.options import positive, seed

if TYPE_CHECKING:
    from moerec.cli.options import Verbs


def add_data(verbs: "Verbs") -> None:
    """`moerec data ...`"""
    kinds = verbs.add_parser("data", help="get data to try it with").add_subparsers(
        title="what", metavar="WHAT", required=True
    )
    demo = kinds.add_parser(
        "demo",
        help="write the demo's log and films",
        description="Write the demo's data as files: log.csv, the films that simulated viewers watched, and "
        "items.csv, the films. The same seed gives the same log.",
    )
    demo.add_argument("--out", type=Path, default=Path("demo-data"), help="default: demo-data")
    demo.add_argument("--viewers", type=positive, default=2000, help="default 2000")
    demo.add_argument("--seed", type=seed, default=7, help="default 7")
    demo.set_defaults(run=_demo)
    fetch = kinds.add_parser(
        "download",
        help="fetch MovieLens from GroupLens",
        description="Fetch a MovieLens data set from GroupLens and check it. For research use: the licence "
        "is printed and lies beside the data.",
    )
    fetch.add_argument(
        "name",
        metavar="NAME",
        help="movielens-1m, movielens-100k, movielens-20m or movielens-latest-small",
    )
    fetch.add_argument("--out", type=Path, default=Path("data"), help="default: data")
    fetch.set_defaults(run=_download)


def _demo(options: argparse.Namespace) -> None:
    from moerec.data.demo.writing import write_demo

    console = Console()
    with console.status("simulating viewers"):
        log, items = write_demo(options.out, options.viewers, options.seed)
    console.print(f"{log}\n{items}", highlight=False, markup=False)
    console.print(
        f"next: moerec train {log} --items {items}", highlight=False, markup=False, soft_wrap=True
    )


def _download(options: argparse.Namespace) -> None:
    from moerec.data.download import download_with_bar
    from moerec.settings import Settings

    console = Console()
    url = Settings.load().download_url
    done = download_with_bar(options.name, options.out, url, console=console)
    console.print(
        f"next: moerec train {done.ratings} --items {done.items}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
