"""A token is good if our key signed it, it is of now, and it says who asks. Nothing else is."""

import base64
import re
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.api.tokens import Caller, TokenVerifier, signed
from moerec.errors import SettingsError, TokenError
from moerec.settings import Settings
from tests.api.signing import OTHER_SECRET, SECRET, by_hand, claiming, token

PrivateKey = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
VERIFIER = TokenVerifier({"HS256": SECRET})


def refusal(given: str | bytes, verifier: TokenVerifier = VERIFIER) -> TokenError:
    with pytest.raises(TokenError) as caught:
        verifier.verify(given.encode() if isinstance(given, str) else given)
    return caught.value


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_good_token_says_who_and_until_when() -> None:
    before = int(time.time())
    caller, expires_s = VERIFIER.verify(token("shop", "events", ttl_s=60).encode())
    assert caller == Caller("shop", None, frozenset({"events"}))
    assert before + 60 <= expires_s <= time.time() + 60
    assert VERIFIER.verify(token("é 漢", user_id="ännu").encode())[0].user_id == "ännu"


def test_admin_may_everything_and_others_what_they_name() -> None:
    assert Caller("a", None, frozenset({"admin"})).may("events")
    assert not Caller("a", None, frozenset({"recommend"})).may("events")
    assert VERIFIER.verify(claiming("scope").encode())[0].scopes == frozenset()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (token(secret=OTHER_SECRET), "signature"),
        (token()[:-8] + "AAAAAAAA", "signature"),
        (by_hand({"alg": "none"}, {"sub": "a", "exp": 2**31}), "algorithm"),
        (by_hand({"alg": "NONE"}, {"sub": "a", "exp": 2**31}), "algorithm"),
        (by_hand({"alg": ["HS256"]}, {}), "well-formed|algorithm"),
        (by_hand({}, {}), "well-formed|algorithm"),
        (by_hand(["HS256"], {}), "well-formed"),
        (jwt.encode({"sub": "a", "exp": 2**31}, SECRET * 2, "HS512"), "algorithm"),
        (claiming("exp"), "lacks the claim exp"),
        (claiming("sub"), "lacks the claim sub"),
        (claiming(nbf=2**31), "not valid yet"),
        (claiming(exp="soon"), "well-formed"),
        (claiming(exp=float("inf")), "well-formed"),
        (claiming(sub=7), "well-formed|sub"),
        (claiming(sub=""), "sub must be"),
        (claiming(sub="a\nb"), "sub must be"),
        (claiming(user_id=None), "user_id must be"),
        (claiming(user_id=""), "user_id must be"),
        (claiming(user_id=7), "user_id must be"),
        (claiming(user_id="x" * 257), "user_id must be"),
        (claiming(scope=["events"]), "scope must be"),
        (claiming(aud="elsewhere"), "audience"),
        ("", "well-formed"),
        ("a.b.c", "well-formed"),
        ("....", "well-formed"),
        (b"\xff\xfe.e30.x", "well-formed"),
        (claiming().replace(".", ".e30."), "well-formed"),
    ],
)
def test_a_token_that_is_not_good(given: str | bytes, reason: str) -> None:
    error = refusal(given)
    assert error.code == "token_invalid"
    assert re.search(reason, error.message)


def test_an_expired_token_has_its_own_code() -> None:
    assert refusal(claiming(exp=int(time.time()) - 1)).code == "token_expired"
    assert refusal(claiming(exp=int(time.time()))).code == "token_expired"


def test_the_issuers_clock_may_be_ahead() -> None:
    VERIFIER.verify(claiming(iat=int(time.time()) + 100).encode())


@pytest.mark.parametrize("part", ["[" * 5000, '{"a":' * 1500, "9" * 5000, '"\\ud800"'])
def test_a_header_that_breaks_the_parser(part: str) -> None:
    """A header is read before its signature is: nested 5,000 deep it ended in a RecursionError."""
    header = base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode()
    assert refusal(f"{header}.e30.x").code == "token_invalid"


@settings(max_examples=200, deadline=None)
@given(given=st.one_of(st.binary(max_size=40), st.text("abc.=_-Ae30", max_size=40).map(str.encode)))
def test_any_bytes_are_refused_and_nothing_of_them_is_repeated(given: bytes) -> None:
    assert refusal(given).code == "token_invalid"


def test_issuer_and_audience_are_required_where_they_are_set() -> None:
    strict = TokenVerifier({"HS256": SECRET}, issuer="https://id", audience="moerec")
    strict.verify(claiming(iss="https://id", aud="moerec").encode())
    strict.verify(claiming(iss="https://id", aud=["other", "moerec"]).encode())
    for wrong in (
        claiming(),
        claiming(iss="https://id"),
        claiming(iss="https://id", aud="other"),
        claiming(iss="https://evil", aud="moerec"),
        claiming(aud="moerec"),
    ):
        assert refusal(wrong, strict).code == "token_invalid"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
    ],
)
def test_a_public_key_verifies_and_is_never_a_secret(
    key: PrivateKey, algorithm: str, tmp_path: Path
) -> None:
    pem = public_pem(key)
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    claims = {"sub": "shop", "exp": int(time.time()) + 60}
    good = jwt.encode(claims, key, algorithm)
    alone = TokenVerifier.of(Settings.load(jwt_public_key=path))
    assert alone.verify(good.encode())[0].subject == "shop"
    forged = by_hand({"alg": "HS256"}, claims, pem)
    assert "algorithm" in refusal(forged, alone).message
    assert refusal(token(), alone).code == "token_invalid"
    both = TokenVerifier.of(Settings.load(jwt_public_key=path, jwt_secret=SECRET))
    both.verify(good.encode())
    both.verify(token().encode())
    assert "signature" in refusal(forged, both).message


def private_pem() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "holds no public key"),
        (b"not a key", "holds no public key"),
        (private_pem(), "holds no public key"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "neither Ed25519 nor RSA"),
        (
            public_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
            "RSA of 2048 bits",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, written: bytes, reason: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(written)
    with pytest.raises(SettingsError, match=reason) as caught:
        TokenVerifier.of(Settings.load(jwt_public_key=path))
    assert "MOEREC_JWT_PUBLIC_KEY" in caught.value.remedy


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        TokenVerifier.of(Settings.load(jwt_public_key=tmp_path / "none.pem"))


def test_a_gateway_without_keys_says_so() -> None:
    assert "MOEREC_JWT_SECRET" in refusal(token(), TokenVerifier.of(Settings.load())).remedy


def test_what_we_sign_we_accept() -> None:
    given = signed(SECRET, "ops", ["admin"], 5, {"user_id": "ann", "iss": "us", "aud": "moerec"})
    verifier = TokenVerifier({"HS256": SECRET}, issuer="us", audience="moerec")
    assert verifier.verify(given.encode())[0] == Caller("ops", "ann", frozenset({"admin"}))


def test_signing_needs_no_web_framework() -> None:
    code = "import sys, moerec.api.tokens; sys.exit('fastapi' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
