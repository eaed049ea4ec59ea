"""Options that several verbs share."""

import argparse
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from moerec.data.interactions import ColumnNames

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def add_columns(parser: argparse.ArgumentParser, user: str = "--user") -> None:
    """Names of the log's columns; `user` is the option for the user's."""
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


def columns_of(options: argparse.Namespace) -> "ColumnNames":
    """What `add_columns` parsed."""
    from moerec.data.interactions import ColumnNames

    return ColumnNames(
        user=options.user_column,
        item=options.item_column,
        timestamp=options.timestamp_column,
        event=options.event_column,
        value=options.value_column,
    )


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def spare_threads() -> None:
    """For verbs that train: numpy's matrices are small too, and its threads only get in each other's way.

    To be called before numpy is loaded; a value that is set already stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def processes(text: str) -> int | None:
    """A number of processes; None for "auto"."""
    return None if text == "auto" else positive(text)


def port(text: str) -> int:
    """A port of this machine; 0 is any free one."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return number


def twin(text: str) -> Literal["total", "active"] | int:
    """Which dense twin: of equal size, of equal work, or of a hidden width."""
    if text == "total":
        return "total"
    if text == "active":
        return "active"
    return positive(text)


def setting(text: str) -> tuple[str, str]:
    """A knob and its value, `dropout=0.3`."""
    name, sign, value = text.partition("=")
    if not (name.strip() and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def seed(text: str) -> int:
    """What everything random follows from."""
    from moerec.training.config import LARGEST_SEED

    number = int(text)
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must be 0 to {LARGEST_SEED}")
    return number
