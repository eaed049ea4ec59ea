"""Is the process alive, can it answer, and what does it count?"""

import asyncio
from typing import Final

from fastapi import APIRouter, Response

from moerec.api.errors import ApiError, problem_responses
from moerec.api.gateway import Gateway, GatewayDep
from moerec.api.schemas import Live, Ready
from moerec.errors import EngineUnavailableError, StorageError
from moerec.observability.metrics import CONTENT_TYPE
from moerec.transport.frames import InfoReply, InfoRequest

router = APIRouter(tags=["health"])

PROBE_TIMEOUT_S: Final = 1.0


@router.get("/livez", summary="Is the process alive?")
async def get_livez() -> Live:
    """Says nothing of engine or store: restarting the gateway would not help them."""
    return Live()


@router.get("/readyz", responses=problem_responses(503), summary="Can it answer?")
async def get_readyz(gateway: GatewayDep) -> Ready:
    """Ready means: the bundle is loaded, the engine serves the same bundle, the event store answers."""
    for fault in await asyncio.gather(_engine_fault(gateway), _store_fault(gateway)):
        if fault is not None:
            raise ApiError(503, "not_ready", fault)
    return Ready(model_version=gateway.catalogue.version)


@router.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
async def get_metrics(gateway: GatewayDep) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(gateway.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


async def _engine_fault(gateway: Gateway) -> str | None:
    try:
        reply = await gateway.engine.ask(InfoRequest(), PROBE_TIMEOUT_S)
    except EngineUnavailableError as error:
        gateway.metrics.engine_up(False)
        return error.message
    gateway.metrics.engine_up(True)
    if not isinstance(reply, InfoReply):
        return f"The engine failed: {reply}"
    if reply.model_version != gateway.catalogue.version:
        return f"The engine serves {reply.model_version}, this gateway {gateway.catalogue.version}."
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
