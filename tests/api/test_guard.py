"""A gateway in production, over HTTP: who gets in, for whom, how often; and what it writes down of that."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moerec.api.auth import Authenticator, Head
from moerec.api.errors import ApiError
from moerec.api.guard import Guard
from moerec.api.limits import UserLimiter
from moerec.api.tokens import TokenVerifier
from moerec.observability.metrics import Metrics
from tests.api.signing import DAY_S, OTHER_SECRET, SECRET, bearer, by_hand, claiming, token
from tests.api.test_errors import assert_problem
from tests.api.toy import toy_gateway

PRODUCTION: dict[str, Any] = {"environment": "production", "jwt_secret": SECRET}
LIST = "/v1/users/ann/recommendations"
EVENT = {"user_id": "ann", "item_id": "i1"}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with toy_gateway(tmp_path_factory.mktemp("production"), **PRODUCTION) as (client, _):
        yield client


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[httpx.Client]:
    """Three requests a user, and then none for hours."""
    with toy_gateway(tmp_path, user_rate=0.0001, user_burst=3, **PRODUCTION) as (client, _):
        client.headers.update(bearer(token("shop")))
        yield client


def test_every_operation_under_v1_needs_a_token_and_no_other_does(
    production: httpx.Client,
) -> None:
    paths = production.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            filled = path.replace("{user_id}", "ann").replace("{item_id}", "i1")
            answer = production.request(method, filled)
            if path.startswith("/v1"):
                assert_problem(answer, 401, "token_missing")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert operation["security"]
            else:
                assert answer.status_code == 200
                assert "security" not in operation
    assert production.get("/docs").status_code == 200


def test_the_token_is_looked_at_before_the_body(production: httpx.Client) -> None:
    for body in (b"{", b"[" * 100_000, b'{"k": 0}'):
        kind = {"Content-Type": "application/json"}
        answer = production.post("/v1/recommendations", content=body, headers=kind)
        assert_problem(answer, 401, "token_missing")


@pytest.mark.parametrize("path", [LIST, "/v1/popular", "/v1/items/i1/similar"])
def test_a_token_opens_each_list(production: httpx.Client, path: str) -> None:
    assert production.get(path, headers=bearer(token())).status_code == 200


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (token(secret=OTHER_SECRET), "token_invalid"),
        (claiming(exp=1_700_000_000), "token_expired"),
        (by_hand({"alg": "none"}, {"sub": "a", "exp": 2**31}), "token_invalid"),
        (claiming(user_id=None), "token_invalid"),
        (claiming(nbf=2**31), "token_invalid"),
        ("x" * 10_240, "token_invalid"),
        (base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x", "token_invalid"),
    ],
)
@pytest.mark.parametrize("path", [LIST, "/v1/popular"])
def test_a_bad_token_is_a_401_on_both_ways(
    production: httpx.Client, path: str, given: str, code: str
) -> None:
    answer = production.get(path, headers=bearer(given))
    problem = assert_problem(answer, 401, code)
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert given not in problem["detail"]


def test_a_scope_opens_its_routes_alone(production: httpx.Client) -> None:
    reader, writer, admin, nobody = (
        bearer(given)
        for given in (
            token("r", "recommend"), token("w", "events"), token("a", "admin"), claiming("scope")
        )
    )  # fmt: skip
    assert production.get(LIST, headers=reader).status_code == 200
    assert production.post("/v1/events", json=EVENT, headers=writer).status_code == 202
    assert production.get(LIST, headers=admin).status_code == 200
    assert production.post("/v1/events", json=EVENT, headers=admin).status_code == 202
    refused = production.post("/v1/events", json=EVENT, headers=reader)
    assert_problem(refused, 403, "forbidden")
    assert (
        refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="events"'
    )
    assert_problem(production.get(LIST, headers=writer), 403, "forbidden")
    assert_problem(production.get("/v1/popular", headers=nobody), 403, "forbidden")


def test_a_users_token_is_for_that_user_alone(production: httpx.Client) -> None:
    for user_id, other in (("ann", "bob"), ("änn/é 漢", "ann")):
        own = bearer(token("app", user_id=user_id))
        path = "/v1/users/{}/recommendations"
        assert production.get(path.format(user_id), headers=own).status_code == 200
        for answer in (
            production.get(path.format(other), headers=own),
            production.get(path.format(other) + "?k=3&a=1", headers=own),
            production.post("/v1/recommendations", json={"user_id": other}, headers=own),
            production.post("/v1/events", json=EVENT | {"user_id": other}, headers=own),
            production.post(
                "/v1/events",
                json={"events": [EVENT | {"user_id": one} for one in (user_id, other)]},
                headers=own,
            ),
        ):
            assert_problem(answer, 403, "forbidden")
        for answer in (
            production.get("/v1/popular", headers=own),
            production.post("/v1/recommendations", json={"history": ["i1"]}, headers=own),
        ):
            assert answer.status_code == 200


def test_a_batch_with_another_users_event_stores_nothing(production: httpx.Client) -> None:
    events = [
        {"event_id": f"forged-{one}", "user_id": one, "item_id": "i1"} for one in ("x1", "x2")
    ]
    own = bearer(token("app", user_id="x1"))
    answer = production.post("/v1/events", json={"events": events}, headers=own)
    assert_problem(answer, 403, "forbidden")
    stored = production.post("/v1/events", json={"events": events}, headers=bearer(token())).json()
    assert [one["status"] for one in stored["results"]] == ["accepted"] * 2


def test_two_tokens_at_once_are_refused(production: httpx.Client) -> None:
    twice = httpx.Headers([("Authorization", f"Bearer {token()}")] * 2)
    assert_problem(production.get(LIST, headers=twice), 401, "token_invalid")


def test_development_asks_for_no_token_but_looks_at_one(tmp_path: Path) -> None:
    with toy_gateway(tmp_path, jwt_secret=SECRET) as (client, _):
        for path in (LIST, "/v1/popular"):
            assert client.get(path).status_code == 200
            assert client.get(path, headers=bearer(token())).status_code == 200
            forged = client.get(path, headers=bearer(token(secret=OTHER_SECRET)))
            assert_problem(forged, 401, "token_invalid")
        other = client.get(LIST, headers=bearer(token(user_id="bob")))
        assert_problem(other, 403, "forbidden")


def test_without_a_secret_no_token_can_be_good(client: httpx.Client) -> None:
    problem = assert_problem(client.get(LIST, headers=bearer(token())), 401, "token_invalid")
    assert "MOEREC_JWT_SECRET" in problem["detail"]


def test_beyond_the_limit(limited: httpx.Client) -> None:
    """Lists and events of a user count together, whichever way they take."""
    assert limited.get(LIST).status_code == 200
    assert limited.post("/v1/events", json=EVENT).status_code == 202
    assert limited.post("/v1/recommendations", json={"user_id": "ann"}).status_code == 200
    for answer in (
        limited.get(LIST),
        limited.get(f"{LIST}?k=3&a=1"),
        limited.post("/v1/recommendations", json={"user_id": "ann"}),
        limited.post("/v1/events", json=EVENT),
        limited.post("/v1/events", json={"events": [EVENT, EVENT]}),
    ):
        assert_problem(answer, 429, "rate_limited")
        assert 9_000 < int(answer.headers["Retry-After"]) <= 10_000
        assert answer.headers["RateLimit-Policy"] == '"user";q=3;w=30000'
        assert answer.headers["RateLimit"] == f'"user";r=0;t={answer.headers["Retry-After"]}'
    assert limited.get("/v1/users/bob/recommendations").status_code == 200
    assert "moerec_rate_limited_total 5.0" in limited.get("/metrics").text


def test_requests_about_nobody_count_for_the_caller(limited: httpx.Client) -> None:
    for path in ("/v1/popular", "/v1/items/i1/similar", "/v1/popular?k=3"):
        assert limited.get(path).status_code == 200
    assert_problem(limited.get("/v1/popular"), 429, "rate_limited")
    history = {"history": ["i1"]}
    assert_problem(limited.post("/v1/recommendations", json=history), 429, "rate_limited")
    other = bearer(token("other"))
    assert limited.get("/v1/popular", headers=other).status_code == 200
    assert limited.get("/v1/users/shop/recommendations").status_code == 200, "a user of that name"


def test_a_users_own_requests_count_together(limited: httpx.Client) -> None:
    own = bearer(token("app", user_id="ann"))
    for path in (LIST, "/v1/popular", LIST):
        assert limited.get(path, headers=own).status_code == 200
    assert_problem(limited.get("/v1/popular", headers=own), 429, "rate_limited")
    assert_problem(limited.get(LIST), 429, "rate_limited")


def test_a_refused_request_does_not_count(limited: httpx.Client) -> None:
    for _ in range(4):
        assert limited.get(f"{LIST}?k=0").status_code == 422
        assert limited.get(LIST, headers=bearer("a.b.c")).status_code == 401
        assert limited.get(LIST, headers=bearer(token(user_id="bob"))).status_code == 403
    assert [limited.get(LIST).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_batch_counts_once_a_user_and_a_busy_user_holds_up_nobody(
    limited: httpx.Client,
) -> None:
    batch = {"events": [EVENT] * 20 + [{"user_id": "ann"}]}
    for _ in range(3):
        assert len(limited.post("/v1/events", json=batch).json()["results"]) == 20
    mixed = {"events": [EVENT, EVENT | {"user_id": "bob"}, {"user_id": "ann"}]}
    answer = limited.post("/v1/events", json=mixed)
    assert answer.status_code == 202
    assert len(answer.json()["results"]) == 1
    codes = [(one["index"], one["code"]) for one in answer.json()["rejected"]]
    assert codes == [(0, "rate_limited"), (2, "invalid_event")]


def test_a_batch_of_faults_is_no_429(limited: httpx.Client) -> None:
    answer = limited.post("/v1/events", json={"events": [{"user_id": "ann"}]})
    assert answer.status_code == 202
    assert [one["code"] for one in answer.json()["rejected"]] == ["invalid_event"]


def test_refusals_are_counted_and_logged_without_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forged, foreign = token(secret=OTHER_SECRET), token("app", user_id="bob")
    with toy_gateway(tmp_path, **PRODUCTION) as (client, _), caplog.at_level(logging.WARNING):
        client.get(LIST)
        client.get(LIST, headers=bearer(forged))
        client.get("/v1/popular", headers=bearer(forged))
        client.get(LIST, headers=bearer(token(ttl_s=-DAY_S)))
        client.get(LIST, headers=bearer(foreign))
        text = client.get("/metrics").text
    for code, count in (
        ("token_missing", 1), ("token_invalid", 2), ("token_expired", 1), ("forbidden", 1)
    ):  # fmt: skip
        assert f'moerec_auth_failures_total{{code="{code}"}} {count}.0' in text
    route = "/v1/users/{user_id}/recommendations"
    assert f'moerec_requests_total{{method="GET",route="{route}",status="401"}} 3.0' in text
    refusals = [record for record in caplog.records if record.name == "moerec.api.guard"]
    assert {record.levelname for record in refusals} == {"WARNING"}
    assert len(refusals) == 5
    for secret in (forged, foreign, *forged.split("."), SECRET):
        assert secret not in caplog.text


def test_refusals_without_end_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each was a line. All of them are counted still."""
    metrics = Metrics()
    verifier = TokenVerifier({"HS256": SECRET})
    guard = Guard(Authenticator(verifier, token_needed=True), UserLimiter(0, 1), metrics)
    headers = [(b"authorization", f"Bearer {token('r', 'recommend')}".encode())]
    for _ in range(500):
        for given in ([], headers):
            with pytest.raises(ApiError):
                guard.caller(Head(given), "POST", "/v1/events")
    assert 0 < len(caplog.records) < 500
    text = metrics.exposition({}).decode()
    for code in ("token_missing", "forbidden"):
        assert f'moerec_auth_failures_total{{code="{code}"}} 500.0' in text
