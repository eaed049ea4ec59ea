"""wrk: its script and its result, by their text alone, so that it need not be installed."""

import json
import re
from pathlib import Path

import pytest

from moerec.errors import ServiceError
from moerec.loadtest.plan import Target
from moerec.loadtest.requests import Ask, event_body, raw_request
from moerec.loadtest.wrk import SAID, command, lua_string, parse, script

TARGET = Target("127.0.0.1", 8123, "to-ken")


def lua_text(literal: str) -> str:
    """What Lua reads from a literal of ours."""
    inner = literal[1:-1]
    return re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1])]), inner.encode()).decode()


def test_any_text_becomes_a_literal() -> None:
    for text in ("plain", 'quo"te', "back\\slash\r\n", "ä ✓", "$name %d"):
        assert lua_text(lua_string(text)) == text
        assert re.fullmatch(r'"[A-Za-z0-9\\]*"', lua_string(text))


def test_the_script_makes_the_requests_of_our_own_generator() -> None:
    made = script(Path("/tmp/a b/asks.txt"), TARGET, 10)  # noqa: S108
    assert f"io.lines({lua_string('/tmp/a b/asks.txt')})" in made  # noqa: S108
    heads = re.search(r'read_head, read_tail, event_head = ("\S*"), ("\S*"), ("\S*")', made)
    assert heads is not None
    read_head, read_tail, event_head = map(lua_text, heads.groups())
    read, event = Ask("u0000001"), Ask("u0000001", '"i1"')
    assert f"{read_head}{read.user}{read_tail}".encode() == raw_request(read, TARGET, 10)
    body = event_body(event)
    assert f"{event_head}{len(body)}\r\n\r\n{body}".encode() == raw_request(event, TARGET, 10)
    # What Lua is to read as a backslash is one in the file, and nothing is left to fill in.
    assert '"\\r\\n\\r\\n"' in made
    assert '"^([^\\t]*)\\t?(.*)$"' in made
    assert "$" not in made.replace('(.*)$"', "")


def test_the_command_line() -> None:
    line = command("wrk", Path("load.lua"), TARGET, 64, 14.6)
    assert line[0] == "wrk"
    assert {"--threads=1", "--connections=64", "--duration=15s", "--script=load.lua"} <= set(line)
    assert line[-1] == "http://127.0.0.1:8123"


def test_the_last_line_is_read() -> None:
    said = {
        "requests": 1000, "seconds": 2.5, "status": 3, "connect": 0, "read": 1, "write": 0, "timeout": 0,
        "max_ms": 9.5, "mean_ms": 2.0, "percentiles_ms": [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip
    found = parse(f"Running 2s test\n\n{SAID}{json.dumps(said)}\n")
    assert (found.requests, found.seconds) == (1000, 2.5)
    assert found.errors == {"status": 3, "connect": 0, "read": 1, "write": 0, "timeout": 0}
    assert found.percentiles_ms == {
        "p50": 1.0, "p90": 2.0, "p99": 3.0, "p99.9": 4.0, "mean": 2.0, "max": 9.5,
    }  # fmt: skip


def test_without_that_line_what_wrk_wrote_is_shown() -> None:
    with pytest.raises(ServiceError) as failed:
        parse("unable to connect to 127.0.0.1:8123 Connection refused\n")
    assert "Connection refused" in failed.value.remedy
