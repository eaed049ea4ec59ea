"""Tokens (JSON Web Tokens, RFC 7519): what they say, how they are signed and verified.

    sub      who asks: the name of a service or of a user
    exp      until when, seconds since 1970
    scope    what for, separated by spaces: `recommend`, `events`, `items`, `admin` (everything)
    user_id  the one user they act for; without this claim they act for all

No web framework here: `moerec token` signs with it too.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from moerec.errors import SettingsError, TokenError
from moerec.settings import Settings

SCOPES: Final = ("recommend", "events", "items", "admin")
HS256: Final = "HS256"
LEAST_RSA_BITS: Final = 2048

Key = str | Ed25519PublicKey | RSAPublicKey

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
"""What the API takes as an id, and so what `sub` and `user_id` may be."""

_OPTIONS: Final[Any] = {
    "require": ["exp", "sub"],
    # Says when the token was made, and no more: an issuer whose clock is a second ahead is not wrong.
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `user_id` is the one user they may act for, None if they may for all."""

    subject: str
    user_id: str | None
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether their token covers this; `admin` covers everything."""
        return scope in self.scopes or "admin" in self.scopes


DEVELOPMENT: Final = Caller("development", None, frozenset(SCOPES))
"""Who asks without a token where none is needed."""


class TokenVerifier:
    """Verifies tokens with the keys that it holds, each for its one algorithm.

    A token names its algorithm itself; it is only a choice between these keys. So a public key is
    never taken for a secret, and `none` has no key.
    """

    def __init__(
        self, keys: Mapping[str, Key], issuer: str | None = None, audience: str | None = None
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """With the secret and the public key of the settings; SettingsError if the key cannot be used."""
        keys: dict[str, Key] = {}
        if settings.jwt_secret is not None:
            keys[HS256] = settings.jwt_secret
        if settings.jwt_public_key is not None:
            algorithm, key = _public_key(settings.jwt_public_key)
            keys[algorithm] = key
        return cls(keys, settings.jwt_issuer, settings.jwt_audience)

    def verify(self, token: bytes) -> tuple[Caller, int]:
        """Who the token speaks for, and until when (seconds since 1970); TokenError if it is not good."""
        if not self._keys:
            raise TokenError(
                "token_invalid",
                "This gateway cannot verify tokens.",
                "Send none, or start it with MOEREC_JWT_SECRET or MOEREC_JWT_PUBLIC_KEY.",
            )
        try:
            claims = self._claims(token.decode("ascii"))
            return _caller(claims), int(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise expired() from None
        except jwt.ImmatureSignatureError:
            raise TokenError(
                "token_invalid", "The token is not valid yet (nbf).", lasting=False
            ) from None
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            # The last three: text that is no ASCII, numbers and nesting that break the JSON parser.
            raise TokenError("token_invalid", _reason(error)) from None

    def _claims(self, token: str) -> dict[str, Any]:
        algorithm = jwt.get_unverified_header(token).get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        return jwt.decode(
            token,
            self._keys[algorithm],
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            options=_OPTIONS,
        )


def expired() -> TokenError:
    """The refusal of a token whose time has passed."""
    return TokenError("token_expired", "The token has expired.", "Ask its issuer for a new one.")


def signed(
    secret: str, subject: str, scopes: Sequence[str], ttl_s: int, claims: Mapping[str, str]
) -> str:
    """A token of `ttl_s` seconds from now, with further `claims` (`user_id`, `iss`, `aud`)."""
    now_s = int(time.time())
    given = {"sub": subject, "scope": " ".join(scopes), "iat": now_s, "exp": now_s + ttl_s}
    return jwt.encode({**given, **claims}, secret, HS256)


def is_name(text: object) -> bool:
    """Whether this can be a `sub` or a `user_id`: 1 to 256 characters, no control characters."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def _caller(claims: Mapping[str, Any]) -> Caller:
    # A `user_id` that is null must not become a token for every user.
    for name in ("sub", "user_id"):
        if name in claims and not is_name(claims[name]):
            raise TokenError(
                "token_invalid", f"The token's {name} must be a text of 1 to 256 characters."
            )
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise TokenError("token_invalid", "The token's scope must be words separated by spaces.")
    return Caller(claims["sub"], claims.get("user_id"), frozenset(scope.split()))


def _reason(error: Exception) -> str:
    """Why a token is refused, in our words: the library's could hold a piece of it."""
    match error:
        case jwt.InvalidSignatureError():
            return "The token's signature is not of the secret or key of this gateway."
        case jwt.MissingRequiredClaimError():
            return f"The token lacks the claim {error.claim}."
        case jwt.InvalidIssuerError():
            return "The token is of another issuer (iss) than this gateway's."
        case jwt.InvalidAudienceError():
            return "The token is for another audience (aud) than this gateway's."
        case jwt.InvalidAlgorithmError():
            return "The token is signed with an algorithm that this gateway does not accept."
        case _:
            return "This is not a well-formed JSON Web Token."


def _public_key(path: Path) -> tuple[str, Key]:
    """A key, and the one algorithm it is for; SettingsError if there is none that we take."""
    remedy = "Set MOEREC_JWT_PUBLIC_KEY to a file with a public Ed25519 or RSA key in PEM."
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", remedy) from None
    except ValueError:
        raise SettingsError(f"{path} holds no public key in PEM.", remedy) from None
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA", key
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return "RS256", key
    raise SettingsError(
        f"{path} holds a key that is neither Ed25519 nor RSA of {LEAST_RSA_BITS} bits or more.",
        remedy,
    )
