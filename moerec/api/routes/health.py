"""Is the process alive, can it answer, and what does it count?"""

import asyncio
from collections.abc import Mapping, Sequence
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
OTHERS_TIMEOUT_S: Final = 0.1
"""A probe of Kubernetes waits one second: an engine that hangs must not use it up when another is good."""


@router.get("/livez", summary="Is the process alive?")
async def get_livez() -> Live:
    """Says nothing of engine or store: restarting the gateway would not help them."""
    return Live()


@router.get("/readyz", responses=problem_responses(503), summary="Can it answer?")
async def get_readyz(gateway: GatewayDep) -> Ready:
    """Ready means: the bundle is loaded, an engine serves the same bundle, the event store answers.

    `engines` tells of each engine which model it serves, or why it is not asked for lists.
    """
    engines, store_fault = await asyncio.gather(_engines(gateway), _store_fault(gateway))
    for fault in (_common_fault(engines), store_fault):
        if fault is not None:
            raise ApiError(503, "not_ready", fault)
    return Ready(
        model_version=gateway.catalogue.version,
        engines={label: found.text for label, found in engines.items()},
    )


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


class _Found(NamedTuple):
    """What an engine serves, or why it cannot be asked; `answered` if it said it itself."""

    text: str
    answered: bool
    good: bool = False


async def _engines(gateway: Gateway) -> dict[str, _Found]:
    """What is found of each engine, by its label. Once one is good the others have `OTHERS_TIMEOUT_S`."""
    clients = gateway.engine.engines()
    version = gateway.catalogue.version
    probes = [asyncio.create_task(_probe(engine, version)) for engine in clients.values()]
    try:
        for first in asyncio.as_completed(probes):
            if (await first).good:
                break
        await asyncio.wait(probes, timeout=OTHERS_TIMEOUT_S)
        found = [probe.result() if probe.done() else _SILENT for probe in probes]
    finally:
        for unfinished in probes:
            unfinished.cancel()
    gateway.metrics.engine_up(any(one.answered for one in found))
    return dict(zip(engine_labels(list(clients)), found, strict=True))


def _common_fault(engines: Mapping[str, _Found]) -> str | None:
    """None if one engine is as it should be, else what is wrong with each."""
    if any(found.good for found in engines.values()):
        return None
    return " ".join(sorted(found.text for found in engines.values()))


_SILENT: Final = _Found("The engine has not answered yet.", answered=False)


async def _probe(engine: EngineClient, version: str) -> _Found:
    try:
        reply = await engine.ask(InfoRequest(), PROBE_TIMEOUT_S)
    except EngineUnavailableError as error:
        return _Found(error.message, answered=False)
    if not isinstance(reply, InfoReply):
        return _Found(f"The engine failed: {reply}", answered=True)
    if reply.model_version != version:
        text = f"The engine serves {reply.model_version}, this gateway {version}."
        return _Found(text, answered=True)
    return _Found(version, answered=True, good=True)


async def _store_fault(gateway: Gateway) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await asyncio.to_thread(gateway.store.last_number)
    except StorageError as error:
        return error.message
    except TimeoutError:
        return "The event store did not answer in time."
    return None
