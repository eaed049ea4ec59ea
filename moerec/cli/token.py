"""The verb that lets others in: token."""

import argparse
import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moerec.cli.options import Verbs

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_S: Final = 3650 * 86_400


def add_token(verbs: "Verbs") -> None:
    """`moerec token`"""
    parser = verbs.add_parser(
        "token",
        help="sign a token that the gateway accepts",
        description="Print a token (a JSON Web Token) signed with MOEREC_JWT_SECRET, for the header "
        "Authorization: Bearer TOKEN. Without --user it is good for every user: not for a browser.",
    )
    parser.add_argument("--sub", required=True, metavar="NAME", help="who asks")
    parser.add_argument("--user", metavar="ID", help="the one user it is for")
    parser.add_argument(
        "--scope",
        nargs="+",
        choices=("recommend", "events", "items", "admin"),
        default=["recommend", "events"],
        help="what it is for (default: recommend events; admin: everything)",
    )
    parser.add_argument(
        "--ttl",
        type=_seconds,
        default=3600,
        metavar="TIME",
        help="how long it is good: 90s, 30m, 1h, 7d (default 1h)",
    )
    parser.set_defaults(run=_token)


def _token(options: argparse.Namespace) -> None:
    from moerec.api.tokens import is_name, signed
    from moerec.errors import SettingsError, UsageError
    from moerec.settings import Settings

    for option, given in (("--sub", options.sub), ("--user", options.user)):
        if given is not None and not is_name(given):
            raise UsageError(f"{option} must be 1 to 256 characters, no control characters.")
    settings = Settings.load()
    if settings.jwt_secret is None:
        raise SettingsError(
            "There is no secret to sign with.",
            "Set MOEREC_JWT_SECRET to the gateway's, 32 bytes or more: openssl rand -hex 32",
        )
    more = {"user_id": options.user, "iss": settings.jwt_issuer, "aud": settings.jwt_audience}
    claims = {name: value for name, value in more.items() if value is not None}
    token = signed(settings.jwt_secret, options.sub, options.scope, options.ttl, claims)
    sys.stdout.write(token + "\n")


def _seconds(text: str) -> int:
    """Seconds from a number and a unit; without a unit they are seconds."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    seconds = int(found[1]) * _UNITS[found[2] or "s"] if found else 0
    if not 0 < seconds <= _MOST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 30m, 1h, 7d")
    return seconds
