"""One toy gateway for all tests of a file that do not break it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.api.toy import ToyEngine, toy_gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, ToyEngine]]:
    with toy_gateway(tmp_path_factory.mktemp("gateway")) as both:
        yield both


@pytest.fixture
def client(served: tuple[httpx.Client, ToyEngine]) -> httpx.Client:
    return served[0]


@pytest.fixture
def engine(served: tuple[httpx.Client, ToyEngine]) -> Iterator[ToyEngine]:
    """The engine behind the gateway; well-behaved again after the test."""
    yield served[1]
    served[1].sleep_s = 0.0
    served[1].fault = None
    served[1].degraded = None
    served[1].confirmed = None
