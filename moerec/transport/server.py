"""The engine's door: answers frames with a handler, over a Unix socket or TCP."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc
import msgspec

from moerec.errors import SettingsError
from moerec.transport.client import MESSAGE_LIMIT_BYTES, Handler
from moerec.transport.frames import (
    METHOD,
    VERSION_KEY,
    ErrorReply,
    Reply,
    ReplyFrame,
    RequestFrame,
    decode_request,
    encode,
)

logger = logging.getLogger(__name__)

STREAM_LIMIT: Final = 64
"""Gateways that can be connected at once: each stream holds one thread while it lives."""


def serve(
    handler: Handler,
    address: str,
    before_first: Callable[[], None] = lambda: None,
    version: str | None = None,
) -> grpc.Server:
    """A started gRPC server that answers with `handler`; end it with `server.stop(grace_s).wait()`.

    `before_first` is called before the first frame of each gateway that connects: what it sent elsewhere
    until then, it sent before this frame. `version` is that of the bundle that answers; gateways with
    another one do not ask.

    The handler is called once a frame, from one thread for each connected gateway: it locks what it
    shares. An exception in it becomes an `ErrorReply` for each request of the frame. A frame whose
    budget ran out while it waited is answered with `ErrorReply`s, without the handler. Raises
    SettingsError if the address cannot be bound.
    """
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = grpc.server(
        ThreadPoolExecutor(STREAM_LIMIT, thread_name_prefix="engine-stream"),
        maximum_concurrent_rpcs=STREAM_LIMIT,
        options=[
            ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
            ("grpc.so_reuseport", 0),
        ],
    )

    named = () if version is None else ((VERSION_KEY, version.encode()),)

    def stream(frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata(named)  # tells the client at once that somebody listens
        for number, (frame, expires) in enumerate(_arrivals(frames)):
            if number == 0:
                before_first()
            yield encode(ReplyFrame(frame.frame_id, _replies(handler, frame, expires)))

    service, method = METHOD.removeprefix("/").split("/")
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                service, {method: grpc.stream_stream_rpc_method_handler(stream)}
            ),
        )
    )
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise SettingsError(
            f"The engine cannot listen on {address}: {error}",
            "Set MOEREC_ENGINE_ADDRESS to a free address.",
        ) from error
    server.start()
    return server


def _arrivals(frames: Iterator[bytes]) -> Iterator[tuple[RequestFrame, float]]:
    """Each frame with the monotonic time at which its last caller gives up.

    A thread of its own reads the stream, because a budget counts from a frame's arrival and not from
    the moment when the handler is free for it.
    """
    arrived: queue.SimpleQueue[tuple[RequestFrame, float] | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for data in frames:
                frame = decode_request(data)
                arrived.put((frame, time.monotonic() + frame.budget_ms / 1000))
        except grpc.RpcError:
            pass  # the gateway went away
        except msgspec.DecodeError as error:
            logger.warning("A gateway sent foreign bytes: %s", error)
        finally:
            arrived.put(None)

    threading.Thread(target=read, name="engine-stream-reader", daemon=True).start()
    return iter(arrived.get, None)


def _replies(handler: Handler, frame: RequestFrame, expires: float) -> list[Reply]:
    if time.monotonic() > expires:
        return [ErrorReply("The deadline had passed before the engine was free.")] * len(
            frame.requests
        )
    try:
        return handler(frame.requests)
    except Exception as error:
        logger.exception("The engine failed on a frame of %d requests", len(frame.requests))
        return [ErrorReply(f"{type(error).__name__}: {error}")] * len(frame.requests)
