"""Every error is a problem document (RFC 9457) that names what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moerec.api.main import create_app
from moerec.settings import Settings
from tests.api.toy import running, toy_bundle, toy_gateway


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:moerec:problem:{code}"
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


def test_a_path_that_is_not_there(client: httpx.Client) -> None:
    assert assert_problem(client.get("/v1/nothing"), 404, "not_found")["title"] == "Not Found"
    # No redirection: it would send body and token to an address that the proxy in front does not know.
    assert_problem(client.post("/v1/events/", json={}), 404, "not_found")


def test_a_method_that_is_not_there_names_those_that_are(client: httpx.Client) -> None:
    response = client.delete("/v1/events")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("k", ["0", "101", "-1", "ten", "1.5"])
def test_a_wrong_query_parameter_is_named(client: httpx.Client, k: str) -> None:
    problem = assert_problem(
        client.get("/v1/users/ann/recommendations", params={"k": k}), 422, "invalid_request"
    )
    assert [error["field"] for error in problem["errors"]] == ["k"]


def test_an_id_that_is_too_long_for_the_path_is_named(client: httpx.Client) -> None:
    problem = assert_problem(
        client.get(f"/v1/users/{'x' * 257}/recommendations"), 422, "invalid_request"
    )
    assert problem["errors"][0]["field"] == "user_id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"k": 1000}, "k"),
        ({"history": ["i1", 2]}, "history.1"),
        ({"history": "i1"}, "history"),
        ({"exclude_item_ids": [""]}, "exclude_item_ids.0"),
        ({"users": ["ann"]}, "users"),
        ({"k": True}, "k"),
        ({"k": "10"}, "k"),
        ({"user_id": "\ud800"}, "user_id"),
        ([1, 2], "body"),
    ],
)
def test_a_wrong_field_of_the_body_is_named(client: httpx.Client, body: object, field: str) -> None:
    response = client.post(
        "/v1/recommendations",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    problem = assert_problem(response, 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events"])
def test_a_body_that_is_no_json_says_where_it_breaks(client: httpx.Client, path: str) -> None:
    response = client.post(
        path, content=b'{"user_id": "ann",}', headers={"Content-Type": "application/json"}
    )
    problem = assert_problem(response, 422, "invalid_request")
    assert problem["errors"][0]["field"] == "body"
    assert "not JSON" in problem["errors"][0]["message"]


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events"])
def test_a_form_is_a_415_that_says_what_to_send(client: httpx.Client, path: str) -> None:
    """curl -d without a header sends a form; the answer must tell how to send JSON."""
    response = client.post(path, data={"user_id": "ann"})
    assert (
        "Content-Type: application/json"
        in assert_problem(response, 415, "unsupported_media_type")["detail"]
    )


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"user_id": "\xff"}'])
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events"])
def test_a_body_that_breaks_the_parser_is_the_callers_fault(
    client: httpx.Client, path: str, body: bytes
) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 400, "bad_request")


def test_a_missing_body_is_named(client: httpx.Client) -> None:
    problem = assert_problem(
        client.post("/v1/events", headers={"Content-Type": "application/json"}),
        422,
        "invalid_request",
    )
    assert problem["errors"][0]["field"] == "body"


def test_a_body_over_the_limit_is_a_413_announced_or_not(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    with toy_gateway(tmp_path, max_body_bytes=2048) as (client, _):
        problem = assert_problem(
            client.post("/v1/events", content=b" " * 3000), 413, "body_too_large"
        )
        assert "2048 bytes" in problem["detail"]
        headers = {"Content-Type": "application/json"}
        response = client.post("/v1/recommendations", content=pieces(), headers=headers)
        assert_problem(response, 413, "body_too_large")
        assert client.post("/v1/recommendations", json={}).status_code == 200


def test_a_surprise_is_a_500_without_its_details(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(
        Settings.load(
            database_url=f"sqlite:///{tmp_path}/events.db", engine_address=f"unix:{tmp_path}/e.sock"
        ),
        bundle=toy_bundle(tmp_path / "bundle"),
    )

    async def fails() -> None:
        raise RuntimeError("a secret of the inside")

    app.add_api_route("/fails", fails)
    with running(app) as client:
        response = client.get("/fails")
    assert "secret" not in response.text
    assert_problem(response, 500, "internal_error")
    assert "a secret of the inside" in caplog.text


def test_the_callers_request_id_comes_back(client: httpx.Client) -> None:
    given = client.get("/livez", headers={"X-Request-Id": "trace-42"})
    assert given.headers["X-Request-Id"] == "trace-42"
    too_long = client.get("/livez", headers={"X-Request-Id": "x" * 200})
    assert len(too_long.headers["X-Request-Id"]) == 32
