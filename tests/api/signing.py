"""Tokens for tests: good ones, and whatever a forger would send."""

import base64
import hmac
import json
import time
from typing import Any

from moerec.api.tokens import signed

DAY_S = 86_400
SECRET = "a secret of tests, 32 bytes or more"  # noqa: S105
OTHER_SECRET = "another secret, of 32 bytes or more"  # noqa: S105


def token(
    subject: str = "shop",
    *scopes: str,
    user_id: str | None = None,
    ttl_s: int = DAY_S,
    secret: str = SECRET,
) -> str:
    """A good token, for everything unless scopes are given."""
    claims = {} if user_id is None else {"user_id": user_id}
    return signed(secret, subject, scopes or ("recommend", "events"), ttl_s, claims)


def claiming(*without: str, **claims: Any) -> str:
    """A token of the right secret whose claims may be anything, without the claims named first."""
    usual = {"sub": "shop", "exp": int(time.time()) + DAY_S, "scope": "recommend events"}
    given = {name: value for name, value in (usual | claims).items() if name not in without}
    return by_hand({"alg": "HS256"}, given, SECRET.encode())


def by_hand(header: object, claims: object, secret: bytes | None = None) -> str:
    """A token of any header and claims; its signature is HS256 with the secret, empty without one."""
    body = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    if secret is None:
        return body + "."
    return f"{body}.{_base64(hmac.digest(secret, body.encode(), 'sha256'))}"


def bearer(given: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {given}"}


def _base64(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).rstrip(b"=").decode()
