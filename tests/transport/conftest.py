"""Where the engine of a test listens, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from moerec.transport.remote import RemoteEngineClient


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/engine.sock"


@pytest_asyncio.fixture
async def client(address: str) -> AsyncIterator[RemoteEngineClient]:
    client = RemoteEngineClient(address)
    yield client
    await client.close()
