"""Is the process alive, can it answer, and what does it count?"""

import asyncio
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

from fastapi import APIRouter, Response

from moerec.api.errors import ApiError, problem_responses
from moerec.api.gateway import Gateway, GatewayDep
from moerec.api.schemas import Live, Ready
from moerec.errors import EngineUnavailableError, StorageError
from moerec.observability.metrics import CONTENT_TYPE
from moerec.transport.client import EngineClient
from moerec.transport.frames import InfoReply, InfoRequest

router = APIRouter(tags=["health"])

PROBE_TIMEOUT_S: Final = 1.0


@router.get("/livez", summary="Is the process alive?")
async def get_livez() -> Live:
    """Says nothing of engine or store: restarting the gateway would not help them."""
    return Live()


@router.get("/readyz", responses=problem_responses(503), summary="Can it answer?")
async def get_readyz(gateway: GatewayDep) -> Ready:
    """Ready means: the bundle is loaded, an engine serves the same bundle, the event store answers."""
    for fault in await asyncio.gather(_engine_fault(gateway), _store_fault(gateway)):
        if fault is not None:
            raise ApiError(503, "not_ready", fault)
    return Ready(model_version=gateway.catalogue.version)


@router.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
async def get_metrics(gateway: GatewayDep) -> Response:
    """All metrics in Prometheus' text format; those of an engine that is away are missing."""
    clients = gateway.engine.engines()
    found = await asyncio.gather(*map(_figures, clients.values()))
    figures = dict(zip(engine_labels(list(clients)), found, strict=True))
    return Response(gateway.metrics.exposition(figures), headers={"Content-Type": CONTENT_TYPE})


def engine_labels(addresses: Sequence[str]) -> list[str]:
    """What metrics call engines: their addresses, of sockets the file alone where that tells them apart.

    >>> engine_labels(["unix:run/engine-1.sock", "unix:run/engine-2.sock"])
    ['engine-1', 'engine-2']
    """
    short = [
        PurePath(address.removeprefix("unix:")).stem if address.startswith("unix:") else address
        for address in addresses
    ]
    return short if len(set(short)) == len(short) else list(addresses)


async def _figures(engine: EngineClient) -> dict[str, float] | None:
    try:
        reply = await engine.ask(InfoRequest(), PROBE_TIMEOUT_S)
    except EngineUnavailableError:
        return None
    return reply.counters if isinstance(reply, InfoReply) else None


async def _engine_fault(gateway: Gateway) -> str | None:
    """None as soon as one engine is as it should be, else what is wrong with each."""
    version = gateway.catalogue.version
    probes = [
        asyncio.create_task(_fault_of(engine, version))
        for engine in gateway.engine.engines().values()
    ]
    try:
        faults = []
        for probe in asyncio.as_completed(probes):
            fault = await probe
            if fault is None:
                gateway.metrics.engine_up(True)
                return None
            faults.append(fault)
    finally:
        for unfinished in probes:
            unfinished.cancel()
    gateway.metrics.engine_up(any(fault.answered for fault in faults))
    return " ".join(sorted(fault.text for fault in faults))


class _Fault(NamedTuple):
    """What is wrong with an engine; `answered` if it could say something at all."""

    text: str
    answered: bool


async def _fault_of(engine: EngineClient, version: str) -> _Fault | None:
    try:
        reply = await engine.ask(InfoRequest(), PROBE_TIMEOUT_S)
    except EngineUnavailableError as error:
        return _Fault(error.message, answered=False)
    if not isinstance(reply, InfoReply):
        return _Fault(f"The engine failed: {reply}", answered=True)
    if reply.model_version != version:
        text = f"The engine serves {reply.model_version}, this gateway {version}."
        return _Fault(text, answered=True)
    return None


async def _store_fault(gateway: Gateway) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await asyncio.to_thread(gateway.store.last_number)
    except StorageError as error:
        return error.message
    except TimeoutError:
        return "The event store did not answer in time."
    return None
