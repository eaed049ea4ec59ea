"""An engine that has its answers ready, so that what is measured is the gateway.

    python -m _canned_engine ADDRESS VERSION

It counts its frames and requests as the real one does.
"""

import signal
import sys
import threading

import _machine  # noqa: F401 - makes the package beside it the one that is imported

from moerec.transport.frames import (
    EventPush,
    EventReply,
    InfoReply,
    InfoRequest,
    ItemsPush,
    ItemsReply,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
)
from moerec.transport.server import serve

ITEMS = 1000
LAYERS, EXPERTS = 2, [2, 5]

_counted = {"frames": 0.0, "requests": 0.0}
_lists: dict[int, ListReply] = {}


def item_id(number: int) -> str:
    """As in the catalogue that the gateway gets."""
    return f"item-{number:06}"


def answer(requests: list[Request]) -> list[Reply]:
    """A frame's replies."""
    _counted["frames"] += 1
    _counted["requests"] += len(requests)
    return [_reply(request) for request in requests]


def _reply(request: Request) -> Reply:
    match request:
        case RecommendRequest(k=k):
            if k not in _lists:
                items = [item_id(number * 7) for number in range(k)]
                scores = [4.123456789 - 0.0371 * number for number in range(k)]
                experts = [EXPERTS] * LAYERS
                _lists[k] = ListReply(items, scores, None, experts, 27, 0.4321)
            return _lists[k]
        case EventPush():
            return EventReply()
        case InfoRequest():
            return InfoReply(sys.argv[2], ITEMS, 0, dict(_counted))
        case ItemsPush(number=number):
            return ItemsReply(number)
        case _:
            raise NotImplementedError


def main() -> None:
    """Serves until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop.set).start())
    server = serve(answer, sys.argv[1], version=sys.argv[2])
    stop.wait()
    server.stop(0.1)


if __name__ == "__main__":
    main()
