"""Who asks: the token of the `Authorization` header, looked at once and remembered, good or refused."""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from moerec.api.tokens import DEVELOPMENT, Caller, TokenVerifier, expired
from moerec.errors import TokenError

RIGHTS: Final = {
    ("POST", "/v1/recommendations"): "recommend",
    ("GET", "/v1/users/{user_id}/recommendations"): "recommend",
    ("GET", "/v1/items/{item_id}/similar"): "recommend",
    ("GET", "/v1/popular"): "recommend",
    ("POST", "/v1/events"): "events",
    ("GET", "/v1/items/{item_id}"): "recommend",
    ("PUT", "/v1/items/{item_id}"): "items",
    ("DELETE", "/v1/items/{item_id}"): "items",
}
"""Method and route -> the scope that it needs. All others are open, and none of those is under `/v1`."""

LONGEST_TOKEN: Final = 8192
MOST_TOKENS: Final = 50_000
"""Verified tokens that are remembered, about 0.7 kB each; the one not used for longest leaves first."""

MOST_REFUSED: Final = 10_000
"""Refused ones that are, in a memory of their own: no flood of them makes others forgotten."""

_BEARER: Final = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


class _Refusal(NamedTuple):
    """A `TokenError` without what an exception holds on to, and when it was made."""

    code: str
    message: str
    remedy: str
    at_s: float


@dataclass(slots=True)
class Head:
    """The headers of a request and, once that is known, who sent them, until `until_s` seconds since 1970.

    Bytes that come again are not looked at again.
    """

    headers: Iterable[tuple[bytes, bytes]]
    caller: Caller | None = None
    until_s: float = 0.0


class Authenticator:
    """Finds a request's caller. For one thread; `now` gives seconds since 1970.

    To verify a token costs 50 to 200 us, to find it again 2: it is kept under the SHA-256 of its header,
    so that this memory holds no tokens that can be used. A refusal is kept as well, unless the
    token may be good later.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        token_needed: bool,
        now: Callable[[], float] = time.time,
        most_tokens: int = MOST_TOKENS,
        most_refused: int = MOST_REFUSED,
    ) -> None:
        self._verifier = verifier
        self._token_needed = token_needed
        self._now = now
        self._most_tokens = most_tokens
        self._known: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()
        self._most_refused = most_refused
        self._refused: OrderedDict[bytes, _Refusal] = OrderedDict()

    def caller(self, head: Head) -> Caller:
        """Who sent this; TokenError if the token is not good, or missing where it is needed."""
        if head.caller is not None and self._now() < head.until_s:
            return head.caller
        head.caller, head.until_s = self._looked_up(head)
        return head.caller

    def _looked_up(self, head: Head) -> tuple[Caller, float]:
        given = [value for name, value in head.headers if name == b"authorization"]
        if len(given) == 1:
            return self._of_header(given[0])
        if given:
            raise TokenError(
                "token_invalid", "There is more than one Authorization header.", "Send one."
            )
        if self._token_needed:
            raise TokenError(
                "token_missing",
                "This needs a token.",
                "Send it as a header, Authorization: Bearer TOKEN.",
            )
        return DEVELOPMENT, math.inf

    def _of_header(self, value: bytes) -> tuple[Caller, int]:
        key = sha256(value).digest()
        found = self._known.get(key)
        if found is None:
            found = self._look_at(key, value)
            if len(self._known) >= self._most_tokens:
                self._known.popitem(last=False)
            self._known[key] = found
        if self._now() >= found[1]:
            del self._known[key]
            raise self._remembered(key, expired())
        self._known.move_to_end(key)
        return found

    def _look_at(self, key: bytes, value: bytes) -> tuple[Caller, int]:
        """What the verifier says, or said when it refused this header before."""
        refusal = self._refused.get(key)
        # An expired token is good again when the clock is set back.
        if refusal is not None and self._now() >= refusal.at_s:
            self._refused.move_to_end(key)
            raise TokenError(refusal.code, refusal.message, refusal.remedy)
        try:
            return self._verifier.verify(_bearer(value))
        except TokenError as error:
            raise self._remembered(key, error) from None

    def _remembered(self, key: bytes, error: TokenError) -> TokenError:
        if error.lasting:
            self._refused[key] = _Refusal(error.code, error.message, error.remedy, self._now())
            self._refused.move_to_end(key)
            if len(self._refused) > self._most_refused:
                self._refused.popitem(last=False)
        return error


def _bearer(value: bytes) -> bytes:
    """The token of an `Authorization` header; TokenError if it is of another form."""
    found = _BEARER.fullmatch(value)
    if found is None:
        raise TokenError(
            "token_invalid", "The Authorization header is not of the form Bearer TOKEN."
        )
    if len(found[1]) > LONGEST_TOKEN:
        raise TokenError("token_invalid", f"A token may have {LONGEST_TOKEN} bytes.")
    return found[1]
