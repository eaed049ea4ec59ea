"""The proof prints what really happened, and fails if a claim does not hold."""

import io

import pytest
from rich.console import Console

from moerec.errors import ServiceError
from moerec.process.demo.display import Display
from moerec.process.demo.proof import prove
from moerec.process.demo.viewer import Viewer
from moerec.types import ItemId
from tests.process.demo.conftest import FakeGateway

NAMES = {ItemId("alien"): "Alien (1979)", ItemId("ran"): "Ran (1985)"}


@pytest.fixture
def display() -> Display:
    return Display(Console(file=io.StringIO(), width=100), NAMES)


def printed(display: Display) -> str:
    assert isinstance(display.console.file, io.StringIO)
    return display.console.file.getvalue()


def test_three_requests_are_made_and_shown(
    viewer: Viewer, gateway: FakeGateway, display: Display
) -> None:
    prove(viewer, ItemId("alien"), display)
    path = "/v1/users/guest%2F1%20%C3%BC/recommendations?k=5"
    assert gateway.requests == [f"GET {path}", "POST /v1/events alien", f"GET {path}"]
    text = printed(display)
    assert text.count(f"$ curl -s '{viewer.rest.url}{path}'") == 2
    assert f"$ curl -s '{viewer.rest.url}/v1/events'" in text
    assert '{"event_id": "e", "status": "accepted", "number": 1}' in text
    assert "unknown_user: because" in text
    assert "layer 1: 0 3; layer 2: 1 2 5" in text
    assert "Alien (1979)" in text
    assert "new" in text


def test_a_list_that_does_not_change_fails_the_proof(
    viewer: Viewer, gateway: FakeGateway, display: Display
) -> None:
    gateway.learns = False
    with pytest.raises(ServiceError, match="the list did not change") as caught:
        prove(viewer, ItemId("alien"), display)
    assert caught.value.exit_code == 1


def test_a_viewer_who_is_known_already_fails_the_proof(
    viewer: Viewer, gateway: FakeGateway, display: Display
) -> None:
    gateway.watched[viewer.user_id] = ["up"]
    with pytest.raises(ServiceError, match="the unknown viewer's fallback is None"):
        prove(viewer, ItemId("alien"), display)


def test_a_rejected_event_fails_the_proof(
    viewer: Viewer, gateway: FakeGateway, display: Display
) -> None:
    gateway.rejects = True
    with pytest.raises(ServiceError, match="rejected: no such thing"):
        prove(viewer, ItemId("alien"), display)


def test_a_busy_engine_is_asked_again(
    viewer: Viewer, gateway: FakeGateway, display: Display
) -> None:
    gateway.busy = 2
    prove(viewer, ItemId("alien"), display)
    assert len(gateway.requests) == 5
