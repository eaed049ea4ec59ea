"""`moerec demo`: train if need be, serve, prove it over HTTP, then talk about films."""

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from moerec.data.demo.catalogue import films
from moerec.process.background import BackgroundService
from moerec.process.demo.display import Display
from moerec.process.demo.prepare import DemoOptions, prepare
from moerec.process.demo.proof import prove
from moerec.process.demo.talk import ReadLine, Talk, new_user_id
from moerec.process.demo.titles import TitleSearch
from moerec.process.demo.viewer import Viewer
from moerec.process.ports import next_free
from moerec.process.rest import Rest
from moerec.process.serve import check, make_supervisor, private_socket
from moerec.settings import Settings
from moerec.types import ItemId

HOST = "127.0.0.1"
FILM = ItemId("alien-1979")
"""What the viewer of the proof watches."""


def run_demo(options: DemoOptions, console: Console, stdin: TextIO | None = None) -> None:
    """The whole demo. Ends after the proof (`once`), at the end of `stdin`, or by Ctrl-C.

    `stdin` None: serves until Ctrl-C. Raises what keeps it from serving, and ServiceError if the
    proof fails or the service breaks.
    """
    started = time.monotonic()
    with _sigterm_as_ctrl_c():
        prepare(options, console)
        with _served(options, console) as settings:
            try:
                _show(options, settings, console, stdin, started)
            except KeyboardInterrupt:
                console.print()
    console.print("Stopped.")


def _show(
    options: DemoOptions,
    settings: Settings,
    console: Console,
    stdin: TextIO | None,
    started: float,
) -> None:
    names = _names()
    display = Display(console, names)
    rest = Rest(HOST, settings.port)
    console.print(f"Serving [bold]{rest.url}[/]  (documentation: {rest.url}/docs)", highlight=False)
    viewer = Viewer(rest, new_user_id())
    viewer.ask(1)
    seconds = time.monotonic() - started
    console.print(f"First live answer {seconds:.1f} s after the start", highlight=False)
    prove(viewer, FILM, display)
    if options.once:
        return
    if stdin is None:
        console.print("\nServing until Ctrl-C.")
        # Not signal.pause(): a Ctrl-C that comes just before it would be waited for once more.
        while True:
            time.sleep(0.5)
    else:
        Talk(viewer, TitleSearch(names), display).run(line_reader(stdin, console))


@contextmanager
def _served(options: DemoOptions, console: Console) -> Iterator[Settings]:
    port = next_free(HOST, options.port)
    if port != options.port:
        console.print(f"Port {options.port} is in use; taking {port}.", highlight=False)
    given = Settings.load(
        environment="development",
        bundle=options.bundle_path,
        database_url=options.database_url,
        host=HOST,
        port=port,
    )
    check(given)
    log_path = options.folder / "serve.log"
    with private_socket(given) as settings, log_path.open("w", buffering=1) as log:
        supervisor = make_supervisor(
            settings,
            say=lambda news: console.print(escape(news), style="yellow", highlight=False),
            hear=lambda name, line: _note(log, f"{name:<7} | {line}\n"),
        )
        console.print(
            f"Starting a gateway and an engine (their log: {escape(str(log_path))})",
            highlight=False,
            soft_wrap=True,
        )
        with BackgroundService(supervisor):
            yield settings


def _note(log: TextIO, line: str) -> None:
    log.write(line)


def _names() -> dict[ItemId, str]:
    """Titles with years, by id."""
    rows = films().frame.select("item_id", "title", "year").iter_rows()
    return {ItemId(item_id): f"{title} ({year})" for item_id, title, year in rows}


def standard_input() -> TextIO | None:
    """Where films are typed; None if it is closed or /dev/null, so that nobody can type."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    nobody = stat.S_ISCHR(mode) and not sys.stdin.isatty()
    return None if nobody else sys.stdin


def line_reader(stdin: TextIO, console: Console) -> ReadLine:
    """Reads with a prompt; where nobody sees what is typed (a pipe), it is printed."""

    def read() -> str | None:
        console.print("[bold]film>[/] ", end="")
        line = stdin.readline()
        if not line or not stdin.isatty():
            console.print(line.rstrip(), highlight=False, markup=False)
        return line or None

    return read


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
