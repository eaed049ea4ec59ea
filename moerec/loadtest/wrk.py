"""The closed loop by wrk, where it is installed: a generated Lua script, and what wrk says at its end."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

from moerec.errors import ServiceError
from moerec.loadtest.plan import Target

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
SAID: Final = "moerec-result "

_SCRIPT: Final = Template("""\
-- Written by `moerec bench serving`: requests from a file, one a line, `user` or `user TAB item`.
local asks, place = {}, 0
local read_head, read_tail, event_head = $read_head, $read_tail, $event_head

function init(arguments)
  for line in io.lines($asks) do
    local user, item = line:match("^([^\\t]*)\\t?(.*)$$")
    asks[#asks + 1] = { user, item }
  end
end

function request()
  place = place % #asks + 1
  local user, item = asks[place][1], asks[place][2]
  if item == "" then
    return read_head .. user .. read_tail
  end
  local body = '{"user_id":"' .. user .. '","item_id":' .. item .. '}'
  return event_head .. #body .. "\\r\\n\\r\\n" .. body
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n$said{"requests":%d,"seconds":%.6f,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"max_ms":%.3f,"mean_ms":%.3f,"percentiles_ms":[$formats]}\\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect, errors.read, errors.write,
    errors.timeout, latency.max / 1e3, latency.mean / 1e3,
    $values))
end
""")


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk counted. `errors` by kind: "status" are answers of 400 and more."""

    requests: int
    seconds: float
    errors: dict[str, int]
    percentiles_ms: dict[str, float]


def find_wrk() -> str | None:
    """Where wrk is, if it is."""
    return shutil.which("wrk")


def script(asks: Path, target: Target, k: int) -> str:
    """The Lua of a load: the same requests in the same order as our own generator's."""
    more = "".join(f"{name}: {value}\r\n" for name, value in target.headers().items())
    host = f" HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n{more}"
    return _SCRIPT.substitute(
        asks=lua_string(str(asks)),
        read_head=lua_string("GET /v1/users/"),
        read_tail=lua_string(f"/recommendations?k={k}{host}\r\n"),
        event_head=lua_string(
            f"POST /v1/events{host}Content-Type: application/json\r\nContent-Length: "
        ),
        said=SAID,
        formats=",".join(["%.3f"] * len(PERCENTILES)),
        values=", ".join(f"latency:percentile({percent}) / 1e3" for percent in PERCENTILES),
    )


def lua_string(text: str) -> str:
    """Any text as a Lua literal.

    >>> lua_string('a"\\n')
    '"a\\\\034\\\\010"'
    """
    plain = (
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'


def command(wrk: str, lua: Path, target: Target, connections: int, seconds: float) -> list[str]:
    """wrk's command line: one thread, as the machine has few cores; whole seconds are all it knows."""
    return [
        wrk,
        "--threads=1",
        f"--connections={connections}",
        f"--duration={max(round(seconds), 1)}s",
        "--timeout=10s",
        f"--script={lua}",
        f"http://{target.host}:{target.port}",
    ]


def parse(output: str) -> WrkResult:
    """What the script's last line says; ServiceError, with what wrk wrote, if there is none."""
    found = [line for line in output.splitlines() if line.startswith(SAID)]
    if not found:
        raise ServiceError("wrk ended without a result.", output[-2000:])
    said: dict[str, Any] = json.loads(found[-1].removeprefix(SAID))
    kinds = ("status", "connect", "read", "write", "timeout")
    latencies = dict(zip(map(_name, PERCENTILES), said["percentiles_ms"], strict=True))
    return WrkResult(
        said["requests"],
        said["seconds"],
        {kind: said[kind] for kind in kinds},
        latencies | {"mean": said["mean_ms"], "max": said["max_ms"]},
    )


def _name(percent: float) -> str:
    return f"p{percent:g}"
