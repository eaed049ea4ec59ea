"""Which column of a table is the user, the item, the time: said by the caller, or guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from moerec.errors import DataError

NO_COLUMN: Final = "none"
"""As a timestamp: rows are in time order. As an event or a value: ignore such a column."""

_ITEM_IDS: Final = (
    "productid movieid asin videoid trackid songid articleid bookid isbn newsid contentid postid artistid "
    "gameid appid sku recipeid adid courseid businessid animeid photoid podcastid hotelid"
)

SPELLINGS: Final[Mapping[str, Sequence[str]]] = {
    # One string is one tier: the first tier with a match decides, two matches in it are ambiguous.
    # Names are compared in lower case, without "_", "-", blanks and a RecBole suffix (":token").
    "user": (
        "userid",
        "customerid reviewerid visitorid memberid accountid viewerid clientid profileid personid",
        "user uid customer reviewer visitor",
        "sessionid",
        "session",
    ),
    "item": (
        "itemid",
        _ITEM_IDS,
        "item movie product video track song article book artist",
        "parentasin",
    ),
    "timestamp": (
        "timestamp timestampms",
        "unixreviewtime unixtime unixtimestamp eventtime eventtimestamp createdat ratedat datetime",
        "time ts",
        "date eventdate created",
    ),
    "event": (
        "eventtype",
        "event",
        "behavior behaviour behaviortype",
        "action actiontype interactiontype",
    ),
    "value": ("value", "rating", "ratings overall stars score watchratio"),
    "place": ("pos",),  # the event's number in the user's history, where there is no time
}


@dataclass(frozen=True)
class ColumnNames:
    """Names of the log's columns; None means: guess it from the usual spellings.

    `timestamp="none"` says that the rows are in time order already. In a table without a header
    line the columns are called "1", "2", "3" ...
    """

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    event: str | None = None
    value: str | None = None

    def given(self) -> dict[str, str]:
        """Role -> name, for the roles that the caller named."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {role: name for role, name in named if name is not None}


def simplified(name: str) -> str:
    """A column's name as spellings are compared."""
    plain = name.strip().lower().split(":")[0]
    return plain.translate(str.maketrans("", "", "_- ."))


def guess(role: str, header: Sequence[str], path: Path | str) -> int | None:
    """Position of the column for `role` by its usual spellings, or None; DataError if two fit."""
    plain = [simplified(name) for name in header]
    for tier in SPELLINGS[role]:
        spellings = tier.split()
        found = [place for place, name in enumerate(plain) if name in spellings]
        if len(found) == 1:
            return found[0]
        if len({header[place] for place in found}) == 1:
            raise _repeated(header[found[0]], role, len(found), path)
        if found:
            names = " and ".join(repr(header[place]) for place in found)
            message = f"the columns {names} could both be the {role}"
            raise DataError(message, _remedy(role, "Say which"), path=path)
    return None


def choose_columns(header: Sequence[str], names: ColumnNames, path: Path | str) -> dict[str, int]:
    """Role ("user", "item", "timestamp", "event", "value", "place") -> position in `header`.

    Roles without a column are left out. A log without times has no "timestamp". Raises DataError
    where a needed column is missing, named but absent, or could be one of two.
    """
    given = names.given()
    chosen: dict[str, int] = {}
    for role in ("user", "item", "timestamp", "event", "value"):
        name = given.get(role)
        if name == NO_COLUMN and role not in ("user", "item"):
            continue
        place = guess(role, header, path) if name is None else _named(role, name, header, path)
        if place is not None:
            chosen[role] = place
    if "timestamp" not in chosen and "timestamp" not in given:
        place = guess("place", header, path)
        if place is not None:
            chosen["place"] = place
    for role in ("user", "item"):
        if role not in chosen:
            raise _missing(role, header, path)
    if "timestamp" not in chosen and "place" not in chosen and given.get("timestamp") != NO_COLUMN:
        raise _missing("timestamp", header, path)
    return chosen


def has_known_names(header: Sequence[str], names: ColumnNames) -> bool:
    """Whether a first line is a header: it has a column that was named, or one we know."""
    if any(name in header for name in names.given().values()):
        return True
    known = {word for tiers in SPELLINGS.values() for tier in tiers for word in tier.split()}
    return any(simplified(name) in known for name in header)


def _named(role: str, name: str, header: Sequence[str], path: Path | str) -> int:
    places = [place for place, there in enumerate(header) if there.strip() == name]
    if not places:
        message = f"there is no column {name!r} for the {role}; the columns are: {_listed(header)}"
        raise DataError(message, _remedy(role, "Name one of them"), path=path)
    if len(places) > 1:
        raise _repeated(name, role, len(places), path)
    return places[0]


def _repeated(name: str, role: str, times: int, path: Path | str) -> DataError:
    message = f"the column {name!r} for the {role} appears {times} times"
    return DataError(message, "Rename the columns so that each name is there once.", path=path)


def _missing(role: str, header: Sequence[str], path: Path | str) -> DataError:
    message = f"no column for the {role} was recognised; the columns are: {_listed(header)}"
    return DataError(message, _remedy(role, "Name it"), path=path)


def _remedy(role: str, what: str) -> str:
    text = f"{what} with --{role} COLUMN (in Python: ColumnNames({role}=...))."
    if role == "timestamp":
        text += " If the rows are in time order already: --timestamp none."
    elif role in ("event", "value"):
        text += f" To ignore both: --{role} none."
    return text


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 40 else name[:37] + "..." for name in header[:20])
    return f"{shown} and {len(header) - 20} more" if len(header) > 20 else shown
