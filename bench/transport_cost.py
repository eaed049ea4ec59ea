"""What a frame costs the gateway's side of the connection to an engine: processor time and context switches.

    python bench/transport_cost.py [--seconds 3] [--callers 8 32 64 128]

An engine in its own process has its answers ready (`_canned_engine.py`). So many callers ask it for lists,
each again as soon as it has its answer, in one event loop as a gateway's; nothing else is in their process.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from _machine import ROOT, about

from moerec.errors import EngineUnavailableError
from moerec.transport.frames import InfoReply, InfoRequest, RecommendRequest
from moerec.transport.remote import RemoteEngineClient

VERSION = "canned"


async def counted(client: RemoteEngineClient) -> tuple[float, float]:
    """Frames and requests that the engine has counted, as soon as it is there."""
    while True:
        try:
            reply = await client.ask(InfoRequest(), 1.0)
        except EngineUnavailableError:
            await asyncio.sleep(0.05)
            continue
        if not isinstance(reply, InfoReply):
            sys.exit(f"the engine answers {reply}")
        return reply.counters["frames"], reply.counters["requests"]


async def load(client: RemoteEngineClient, callers: int, seconds: float) -> None:
    """Everybody asks until the time is over."""
    end = time.monotonic() + seconds

    async def caller(number: int) -> None:
        request = RecommendRequest(f"u{number:07}", None, 10)
        while time.monotonic() < end:
            await client.ask(request, 5.0)

    await asyncio.gather(*(caller(number) for number in range(callers)))


async def measure(address: str, seconds: float, callers: list[int]) -> None:
    client = RemoteEngineClient(address, VERSION)
    for count in callers:
        before, spent = await counted(client), usage()
        await load(client, count, seconds)
        after, now = await counted(client), usage()
        frames, requests = after[0] - before[0], after[1] - before[1]
        cpu_us, switches = 1e6 * (now[0] - spent[0]), now[1] - spent[1]
        print(
            f"{count:4} callers  {requests / frames:5.1f} requests a frame  "
            f"{cpu_us / frames:6.1f} us a frame  {cpu_us / requests:5.1f} us a request  "
            f"{switches / frames:5.1f} context switches a frame"
        )
    await client.close()


def usage() -> tuple[float, int]:
    """Seconds of processor time, and context switches, of this process."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime, found.ru_nvcsw + found.ru_nivcsw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--callers", type=int, nargs="+", default=[8, 32, 64, 128])
    options = parser.parse_args()
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    print(about())
    with tempfile.TemporaryDirectory() as scratch:
        address = f"unix:{scratch}/engine.sock"
        engine = subprocess.Popen(
            [sys.executable, "-m", "_canned_engine", address, VERSION],
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            uvloop.run(measure(address, options.seconds, options.callers))
        finally:
            engine.terminate()
            engine.wait()


if __name__ == "__main__":
    main()
