"""Log lines are JSON, and carry the request they belong to."""

import json
import logging
import subprocess
import sys

import pytest

from moerec.observability.logging import JsonFormatter, SparingLog, request_id


def line(record: logging.LogRecord) -> dict[str, str]:
    parsed: dict[str, str] = json.loads(JsonFormatter().format(record))
    return parsed


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, None)
    return logging.LogRecord("moerec.x", logging.WARNING, "x.py", 1, message, args, exc_info)


def test_a_line_has_time_level_logger_and_message() -> None:
    parsed = line(record("a %s\nover two lines", "message"))
    assert parsed.pop("time").endswith("Z")
    assert parsed == {
        "level": "warning",
        "logger": "moerec.x",
        "message": "a message\nover two lines",
    }


def test_a_line_within_a_request_names_it() -> None:
    token = request_id.set("r-1")
    assert line(record("m"))["request_id"] == "r-1"
    request_id.reset(token)
    assert "request_id" not in line(record("m"))


def test_an_exception_is_in_the_line() -> None:
    assert "ValueError: why" in line(record("m", error=ValueError("why")))["exception"]


def test_configured_logging_writes_one_json_object_a_line_and_keeps_to_its_level() -> None:
    code = (
        "import logging; from moerec.observability.logging import configure_logging;"
        "configure_logging('info'); logging.getLogger('uvicorn.error').info('from the server');"
        "logging.getLogger('moerec').debug('too small')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(each)["message"] for each in done.stderr.splitlines()] == ["from the server"]


def test_a_flood_of_warnings_is_a_few_lines_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever sent bad tokens wrote as many lines to the gateway's disk as they liked."""
    now = iter([5.0, 5.1, 5.2, 5.9, 6.0, 6.0, 6.1, 6.9, 8.0, 8.0])
    log = SparingLog(logging.getLogger("flood"), most=2, now=lambda: next(now))
    for number in range(10):
        log.warning("refused %d", number)
    assert caplog.messages == [
        "refused 0",
        "refused 1",
        "refused 4 (2 lines before this one were left out)",
        "refused 5",
        "refused 8 (2 lines before this one were left out)",
        "refused 9",
    ]
