"""The `moerec` command: each verb parses, calls one function, prints. No logic, no torch at import.

Exit codes: 0 well, 2 refused (with one message and its remedy), 130 stopped by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from moerec import __version__
from moerec.cli.bench import add_bench
from moerec.cli.data import add_data
from moerec.cli.learn import add_evaluate, add_recommend, add_train
from moerec.cli.live import add_demo, add_import, add_serve
from moerec.cli.token import add_token
from moerec.errors import MoerecError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    # Torch's threads spin while they wait for each other, unless told before torch is loaded. On two
    # cores with other work a training step then took 14 times as long as with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = make_parser().parse_args(arguments)
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


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="moerec",
        description="A Mixture-of-Experts recommender: from an interaction log to live answers.",
        epilog="Every verb explains itself: moerec VERB --help. Start with: moerec demo",
    )
    parser.add_argument("--version", action="version", version=f"moerec {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (
        add_demo,
        add_train,
        add_evaluate,
        add_recommend,
        add_import,
        add_serve,
        add_token,
        add_data,
        add_bench,
    ):
        add(verbs)
    return parser
