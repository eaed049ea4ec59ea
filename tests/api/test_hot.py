"""The short way and the long way: the same answers to the same requests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moerec.api.main import create_app
from moerec.api.schemas import Recommendations
from moerec.settings import Settings
from moerec.transport.client import LocalEngineClient
from tests.api.signing import OTHER_SECRET, SECRET, bearer, claiming, token
from tests.api.toy import ITEMS, ToyEngine, running, toy_bundle

IDS = st.one_of(
    st.sampled_from(
        [
            *ITEMS[:4],
            "ann",
            "a/b",
            "é",
            "",
            " ",
            "x" * 256,
            "x" * 257,
            "a\nb",
            "\x7f",
            "a%2Fb",
            "a#b",
        ]
    ),
    st.text(max_size=6),
)
JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 101),
    st.floats(-1, 12),
    IDS,
    st.lists(IDS, max_size=3),
)
FIELDS = ["user_id", "history", "k", "exclude_item_ids", "exclude_seen", "max_experts"]
LENGTHS = ["", "?k=3", "?k=100", "?k=101", "?k=0", "?k=03", "?k=x", "?k=3&k=4", "?a=1", "?k="]
BUDGETS = ["max_experts=2", "max_experts=4", "max_experts=1", "max_experts=5", "max_experts=03"]
LENGTHS += [f"?{budget}" for budget in [*BUDGETS, "max_experts=", "max_experts=x"]]
LENGTHS += ["?k=3&max_experts=3", "?max_experts=3&k=3", "?k=3max_experts=3", "?k=0&max_experts=9"]
QUERIES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "user_id": st.one_of(IDS, st.none()),
            "history": st.one_of(st.lists(IDS, max_size=4), st.none()),
            "k": st.integers(0, 101),
            "exclude_item_ids": st.lists(IDS, max_size=4),
            "exclude_seen": st.booleans(),
            "max_experts": st.one_of(st.integers(-1, 6), st.none()),
        },
    ),
    st.dictionaries(st.sampled_from([*FIELDS, "more"]), JSON_VALUES, max_size=4),
    JSON_VALUES,
)


Ways = tuple[httpx.Client, httpx.Client]


@contextmanager
def two_ways(folder: Path, **more: Any) -> Iterator[Ways]:
    """Two gateways over one bundle, of which the second has no short way."""
    bundle = toy_bundle(folder / "bundle")

    def app(name: str) -> FastAPI:
        engine = ToyEngine(bundle.version)
        engine.events["ann"] = ["i1"]
        chosen = Settings.load(
            **{
                "database_url": f"sqlite:///{folder}/{name}.db",
                "deadline_ms": 5000,
                "user_rate": 0,
                **more,
            }
        )
        return create_app(chosen, bundle=bundle, engine=LocalEngineClient(engine))

    with running(app("short")) as one, running(app("long"), short_way=False) as other:
        yield one, other


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with two_ways(tmp_path_factory.mktemp("gateways")) as both:
        yield both


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("guarded")
    with two_ways(folder, environment="production", jwt_secret=SECRET) as both:
        yield both


def assert_same(one: httpx.Response, other: httpx.Response) -> None:
    assert one.status_code == other.status_code
    assert set(one.headers) == set(other.headers)
    assert one.headers["Content-Type"] == other.headers["Content-Type"]
    assert content(one) == content(other)


def content(response: httpx.Response) -> Any:
    """The answer without what differs from request to request; if it is a list, as the schema has it."""
    found = response.json()
    for result in found.get("results", []):
        made_here = len(result["event_id"]) == 32
        result["event_id"] = "made" if made_here else result["event_id"]
    if response.status_code == 200:
        Recommendations.model_validate_json(response.content, strict=True)
        assert set(found) == set(Recommendations.model_fields)
    for name in ("recommendation_id", "timings_ms", "request_id"):
        found.pop(name, None)
    return found


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(user=IDS, query=st.sampled_from(LENGTHS))
def test_lists_of_users(ways: tuple[httpx.Client, httpx.Client], user: str, query: str) -> None:
    path = f"/v1/users/{quote(user, safe='')}/recommendations{query}"
    assert_same(*(way.get(path) for way in ways))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=QUERIES)
def test_lists_by_query(ways: tuple[httpx.Client, httpx.Client], query: Any) -> None:
    given_body = json.dumps(query).encode()
    kind = {"Content-Type": "application/json"}
    one, other = (way.post("/v1/recommendations", content=given_body, headers=kind) for way in ways)
    assert_same(one, other)


EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"user_id": IDS, "item_id": IDS},
        optional={
            "event_id": st.one_of(st.sampled_from(["e1", "e2", "e3"]), IDS, st.none()),
            "timestamp": st.one_of(
                st.sampled_from([1, 10**9 - 1, 10**9, 10**10 - 1, 10**10, 2**53 - 1, 2**53, -1]),
                st.sampled_from([1_760_000_000_000, 4_000_000_000_000, "2026-01-02", "soon", 1.5]),
                st.none(),
            ),
            "type": st.one_of(st.sampled_from(["view", "", "x" * 64, "x" * 65, "a\tb"]), st.none()),
            "value": st.one_of(st.sampled_from([0, 1e9, 1.1e9, -1e9, -2e9, 3, True]), st.none()),
        },
    ),
    st.dictionaries(st.sampled_from(["user_id", "item_id", "more"]), JSON_VALUES, max_size=3),
    JSON_VALUES,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(event=EVENTS)
def test_events(ways: tuple[httpx.Client, httpx.Client], event: Any) -> None:
    """Accepted, a duplicate, in conflict with one of before, refused: the stores have the same past."""
    given_body = json.dumps(event).encode()
    kind = {"Content-Type": "application/json"}
    one, other = (way.post("/v1/events", content=given_body, headers=kind) for way in ways)
    assert_same(one, other)


CALLERS = st.one_of(
    st.sampled_from(
        [
            {},
            bearer(token("shop")),
            bearer(token("reader", "recommend")),
            bearer(token("writer", "events")),
            bearer(token("boss", "admin")),
            bearer(token("app", user_id="ann")),
            bearer(token("app", user_id="é")),
            bearer(claiming(exp=1_700_000_000)),
            bearer(token(secret=OTHER_SECRET)),
            bearer("x" * 10_240),
            {"Authorization": ""},
            {"Authorization": "Basic YTpi"},
        ]
    ),
    st.text("Bearer .=xé", max_size=12).map(lambda text: {"Authorization": text.strip().encode()}),
)
ABOUT = st.sampled_from(["ann", "é", "bob", ""])
PATHS = st.one_of(
    ABOUT.map(lambda user: (f"/v1/users/{quote(user)}/recommendations?k=2", None)),
    ABOUT.map(lambda user: ("/v1/recommendations", {"user_id": user})),
    ABOUT.map(lambda user: ("/v1/events", {"user_id": user, "item_id": "i1"})),
    st.sampled_from(
        [("/v1/recommendations", {"history": ["i1"]}), ("/v1/recommendations", {"k": 0})]
    ),
)


def told(way: httpx.Client, asked: tuple[str, Any], caller: dict[str, Any]) -> httpx.Response:
    path, given_body = asked
    if given_body is None:
        return way.get(path, headers=caller)
    return way.post(path, json=given_body, headers=caller)


@settings(
    max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=PATHS, caller=CALLERS)
def test_callers(guarded: Ways, asked: tuple[str, Any], caller: dict[str, Any]) -> None:
    one, other = (told(way, asked, caller) for way in guarded)
    assert_same(one, other)
    for name in ("WWW-Authenticate", "Content-Type"):
        assert one.headers.get(name) == other.headers.get(name)


def test_limits(tmp_path: Path) -> None:
    """The same requests are let in, and the same are refused in the same words."""
    asked: list[tuple[str, Any]] = [
        ("/v1/users/ann/recommendations", None),
        ("/v1/recommendations", {"user_id": "ann"}),
        ("/v1/recommendations", {"history": ["i1"]}),
        ("/v1/events", {"user_id": "ann", "item_id": "i1"}),
    ]
    with two_ways(tmp_path, user_rate=1e-9, user_burst=5) as ways:
        found = []
        for one in asked * 4:
            answers = [told(way, one, {}) for way in ways]
            assert [answer.status_code for answer in answers] in ([200] * 2, [202] * 2, [429] * 2)
            assert set(answers[0].headers) == set(answers[1].headers)
            assert content(answers[0]).get("code") == content(answers[1]).get("code")
            found.append(answers[0].status_code == 429)
    assert found.count(False) == 5 + 4, "five about the user, four about nobody"


def test_an_event_that_the_store_refuses(tmp_path: Path) -> None:
    for name in ("short", "long"):
        app = create_app(
            Settings.load(database_url=f"sqlite:///{tmp_path}/{name}/events.db"),
            bundle=toy_bundle(tmp_path / f"bundle-{name}"),
            engine=LocalEngineClient(ToyEngine("toy")),
        )
        with running(app, short_way=name == "short") as way:
            for file in (tmp_path / name).glob("events.db*"):
                file.unlink()
            (tmp_path / name / "events.db").mkdir()
            app.state.gateway.store.close()
            answer = way.post("/v1/events", json={"user_id": "ann", "item_id": "i1"})
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["code"] == "unavailable"


@pytest.mark.parametrize(
    "given_body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"history": ["\\ud800"]}',
        b'{"k": 1.0}',
        b'{"k": 1e1}',
        b'{"k": 3, "k": 4, "history": ["i1"]}',
        b'{"history": ["i1"]} ',
        b'{"history": ["i1"]}x',
        b'{"history": [NaN]}',
        b'{"k": 99999999999999999999}',
        b'{"exclude_seen": 1}',
        b'{"history": ["' + b'i1", "' * 999 + b'i1"]}',
        b'{"history": ["' + b'i1", "' * 1000 + b'i1"]}',
        b'{"history": ["' + b"x" * 2_000_000 + b'"]}',
    ],
)
def test_bodies_that_are_odd(ways: tuple[httpx.Client, httpx.Client], given_body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    one, other = (way.post("/v1/recommendations", content=given_body, headers=kind) for way in ways)
    assert_same(one, other)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=utf-8", "", "application/xml"]
)
def test_bodies_of_other_kinds(ways: tuple[httpx.Client, httpx.Client], kind: str) -> None:
    given_body = b'{"history": ["i1"]}'
    one, other = (
        way.post("/v1/recommendations", content=given_body, headers={"Content-Type": kind})
        for way in ways
    )
    assert_same(one, other)


def test_a_body_in_pieces_and_without_a_length(ways: tuple[httpx.Client, httpx.Client]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"history": '
        yield b'["i1"]}'

    kind = {"Content-Type": "application/json"}
    one, other = (way.post("/v1/recommendations", content=pieces(), headers=kind) for way in ways)
    assert_same(one, other)
    assert one.status_code == 200


def test_two_content_types(ways: tuple[httpx.Client, httpx.Client]) -> None:
    """The short way took the last one, FastAPI takes the first."""
    kinds = [("Content-Type", "text/plain"), ("Content-Type", "application/json")]
    one, other = (
        way.post("/v1/recommendations", content=b"{}", headers=httpx.Headers(kinds)) for way in ways
    )
    assert_same(one, other)


def test_both_ways_are_counted_alike(ways: tuple[httpx.Client, httpx.Client]) -> None:
    """The labels of a route do not tell which way its requests went."""
    counted = []
    for way in ways:
        way.get("/v1/users/ann/recommendations")
        way.post("/v1/recommendations", json={"history": ["i1"]})
        lines = way.get("/metrics").text.splitlines()
        counted.append(
            {line.rpartition(" ")[0] for line in lines if line.startswith("moerec_requests_total")}
        )
    for route, method in (
        ("/v1/users/{user_id}/recommendations", "GET"),
        ("/v1/recommendations", "POST"),
    ):
        label = f'moerec_requests_total{{method="{method}",route="{route}",status="200"}}'
        assert label in counted[0] & counted[1]


def test_the_callers_request_id_comes_back(ways: tuple[httpx.Client, httpx.Client]) -> None:
    for way in ways:
        for given_id, same in (("abc-1", True), ("x" * 129, False)):
            answer = way.get("/v1/users/ann/recommendations", headers={"X-Request-Id": given_id})
            assert (answer.headers["X-Request-Id"] == given_id) == same


def test_plain_requests_take_the_short_way(tmp_path: Path) -> None:
    """Or the other tests would compare the long way with itself: this gateway has no other one."""
    chosen = Settings.load(database_url=f"sqlite:///{tmp_path}/events.db", deadline_ms=5000)
    bundle = toy_bundle(tmp_path / "bundle")
    app = create_app(chosen, bundle=bundle, engine=LocalEngineClient(ToyEngine(bundle.version)))
    app.router.routes.clear()
    event = {"user_id": "ann", "item_id": "i1"}
    with running(app) as client:
        assert client.post("/v1/events", json=event).status_code == 202
        assert (
            client.post("/v1/events", json=event | {"value": 3, "type": "buy"}).status_code == 202
        )
        for query in ("", "?k=3", "?k=3&max_experts=2", "?max_experts=4"):
            answer = client.get(f"/v1/users/ann/recommendations{query}")
            assert answer.json()["fallback"] is None
        for budget in (None, 2):
            asked = {"user_id": "ann", "max_experts": budget}
            assert client.post("/v1/recommendations", json=asked).status_code == 200
        assert client.get("/v1/users/ann/recommendations?max_experts=1").status_code == 404
        assert client.get("/v1/users/ann/recommendations?k=0").status_code == 404
