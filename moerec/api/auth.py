"""Who asks: the token of the `Authorization` header, verified once and remembered until it expires."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from moerec.api.tokens import DEVELOPMENT, Caller, TokenVerifier, expired
from moerec.errors import TokenError

RIGHTS: Final = {
    "/v1/recommendations": "recommend",
    "/v1/users/{user_id}/recommendations": "recommend",
    "/v1/items/{item_id}/similar": "recommend",
    "/v1/popular": "recommend",
    "/v1/events": "events",
}
"""Route -> the scope that it needs. Every other route is open, and none of those is under `/v1`."""

LONGEST_TOKEN: Final = 8192
MOST_TOKENS: Final = 50_000
"""Verified tokens that are remembered, about 0.5 kB each; the one not used for longest leaves first."""

_BEARER: Final = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


class Authenticator:
    """Finds a request's caller. For one thread; `now` gives seconds since 1970.

    To verify a token costs 30 to 150 us, to find it again about 2: it is kept under its SHA-256, so
    that no memory dump of a gateway holds tokens that can be used.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        token_needed: bool,
        now: Callable[[], float] = time.time,
        most_tokens: int = MOST_TOKENS,
    ) -> None:
        self._verifier = verifier
        self._token_needed = token_needed
        self._now = now
        self._most_tokens = most_tokens
        self._known: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who sent these headers; TokenError if their token is not good, or missing where it is needed."""
        given = [value for name, value in headers if name == b"authorization"]
        if given:
            return self._of_token(_bearer(given))
        if self._token_needed:
            raise TokenError(
                "token_missing",
                "This needs a token.",
                "Send it as a header, Authorization: Bearer TOKEN.",
            )
        return DEVELOPMENT

    def _of_token(self, token: bytes) -> Caller:
        key = sha256(token).digest()
        found = self._known.get(key)
        if found is None:
            found = self._verifier.verify(token)
            if len(self._known) >= self._most_tokens:
                self._known.popitem(last=False)
            self._known[key] = found
        caller, expires_s = found
        if self._now() >= expires_s:
            del self._known[key]
            raise expired()
        self._known.move_to_end(key)
        return caller


def _bearer(given: list[bytes]) -> bytes:
    """The token of the `Authorization` headers; TokenError unless they are one, and of this kind."""
    found = _BEARER.fullmatch(given[0])
    if len(given) > 1 or found is None:
        raise TokenError(
            "token_invalid",
            "The Authorization header is not of the form Bearer TOKEN.",
            "Send one such header.",
        )
    if len(found[1]) > LONGEST_TOKEN:
        raise TokenError("token_invalid", f"A token may have {LONGEST_TOKEN} bytes.")
    return found[1]
