"""The one place that lets a request in: who asks, whether they may, and how often. Both ways ask here."""

import logging
from collections.abc import Sequence
from typing import NoReturn

from moerec.api.auth import RIGHTS, Authenticator, Head
from moerec.api.errors import ApiError
from moerec.api.ingest import NewEvent
from moerec.api.limits import UserLimiter
from moerec.api.schemas import EventFault
from moerec.api.tokens import Caller, TokenVerifier
from moerec.errors import TokenError
from moerec.observability.logging import SparingLog
from moerec.observability.metrics import Metrics
from moerec.settings import Settings

logger = logging.getLogger(__name__)


class Guard:
    """Refuses with a 401, 403 or 429 (ApiError), and counts what it refuses."""

    def __init__(
        self, authenticator: Authenticator, limiter: UserLimiter, metrics: Metrics
    ) -> None:
        self._authenticator = authenticator
        self._limiter = limiter
        self._metrics = metrics
        self._log = SparingLog(logger)

    def caller(self, head: Head, method: str, route: str) -> Caller:
        """Who asks, with a token for this route; before the body is looked at."""
        try:
            caller = self._authenticator.caller(head)
        except TokenError as error:
            challenge = "Bearer" + (
                "" if error.code == "token_missing" else ' error="invalid_token"'
            )
            self._refuse(401, error.code, str(error).replace("\n", " "), challenge)
        needed = RIGHTS[method, route]
        if not caller.may(needed):
            self._refuse(
                403,
                "forbidden",
                f"The token of {caller.subject!r} does not have the scope {needed}.",
                f'Bearer error="insufficient_scope", scope="{needed}"',
            )
        return caller

    def admit(self, caller: Caller, user_id: str | None) -> None:
        """Counts a request about a user, or about nobody: that one counts for the caller."""
        self._require_own(caller, user_id)
        wait_s = self._limiter.take(_counted(caller) if user_id is None else user_id)
        if wait_s:
            self._too_often(wait_s)

    def admit_for_all(self, caller: Caller) -> None:
        """Counts a request that changes something for everybody: not with the token of one user."""
        if caller.user_id is not None:
            self._refuse_others(caller)
        self.admit(caller, None)

    def admit_batch(
        self, caller: Caller, entries: Sequence[NewEvent | EventFault]
    ) -> list[NewEvent | EventFault]:
        """Counts a batch once for each of its users; the events of those beyond their limit become faults.

        So one busy user does not hold up the others. If nobody is left, all is refused with a 429.
        """
        waits: dict[str, float] = {}
        users = {entry.user_id: None for entry in entries if isinstance(entry, NewEvent)}
        for user_id in users:
            self._require_own(caller, user_id)
        for user_id in users:
            waits[user_id] = self._limiter.take(user_id)
        if waits and all(waits.values()):
            self._too_often(max(waits.values()))
        self._metrics.rate_limited(sum(wait > 0 for wait in waits.values()))
        return [
            EventFault(code="rate_limited", message=_text(wait_s))
            if isinstance(entry, NewEvent) and (wait_s := waits[entry.user_id])
            else entry
            for entry in entries
        ]

    def _require_own(self, caller: Caller, user_id: str | None) -> None:
        if user_id is not None and caller.user_id is not None and user_id != caller.user_id:
            self._refuse_others(caller)

    def _refuse_others(self, caller: Caller) -> NoReturn:
        alone = f"The token of {caller.subject!r} is for the user {caller.user_id!r} alone."
        self._refuse(403, "forbidden", alone, None)

    def _refuse(self, status: int, code: str, detail: str, challenge: str | None) -> NoReturn:
        self._metrics.auth_failure(code)
        self._log.warning("Refused with %d %s: %s", status, code, detail)
        headers = None if challenge is None else {"WWW-Authenticate": challenge}
        raise ApiError(status, code, detail, headers)

    def _too_often(self, wait_s: float) -> NoReturn:
        self._metrics.rate_limited(1)
        raise ApiError(429, "rate_limited", _text(wait_s), self._limiter.headers(wait_s))


def guard_of(settings: Settings, verifier: TokenVerifier, metrics: Metrics) -> Guard:
    """The guard that the settings ask for."""
    return Guard(
        Authenticator(verifier, token_needed=settings.environment == "production"),
        UserLimiter(settings.user_rate, settings.user_burst),
        metrics,
    )


def _counted(caller: Caller) -> str:
    """Under which name a caller's own requests are counted; no user's id has a control character."""
    return caller.user_id or f"\0{caller.subject}"


def _text(wait_s: float) -> str:
    return f"Too many requests for this user: the next one may come in {wait_s:.3g} s."
