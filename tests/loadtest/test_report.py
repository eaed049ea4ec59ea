"""The report: every figure in the table or a sentence, all of them in the file, faults named."""

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from moerec.loadtest.checks import Content, Form
from tests.loadtest.figures import a_load, a_report


def shown(width: int = 220) -> str:
    report, out = a_report(), io.StringIO()
    report.loads.append(a_load("bad", errors={"status 503": 7}, counters={"fallbacks": 12.0}))
    console = Console(file=out, width=width)
    for line in report.about():
        console.print(line)
    console.print(report.table())
    for note in report.notes():
        console.print(note, soft_wrap=True)
    return out.getvalue()


def test_everything_is_said() -> None:
    text = shown()
    for part in (
        "300 items", "busiest expert 14.0%", "2.26 experts a token (budget 2.25)", "loaded by an earlier run",
        "100 bytes an event", "open loop, 25%", "7 status 503", "gateway 90, engine 70, generator 30",
        "Zipf(1) among 50 users", "no pipelining", "not subtracted", "most frequent last",
        "reaches 100.0% of it", "3.1 ms (p50), 7.5 ms (p99)", "9 of 10", "engine 300 MiB",
        "engine, closed loop 9:1: arena hit rate 95.0%, memo hit rate 30.0%, arena 64 of 128 MiB, "
        "2,097,152 bytes a hot user",
        "29 equal, 1 within 0.0001, 0 different",
    ):  # fmt: skip
        assert part in text, part
    assert "rerouted" not in text, "all counters are in the file"
    row = next(line for line in text.splitlines() if line.startswith(" bad"))
    assert " 12 " in row
    assert "1,000" in row


def test_the_file_has_everything(tmp_path: Path) -> None:
    report = a_report()
    report.write_json(tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["loads"][0]["requests_per_second"] == 1_000
    assert found["loads"][1]["percentiles_ms"]["p99.9"] == 20.0
    assert found["ceiling_ratio"] == 1.0
    assert found["answer_bytes"] == 1_234.0
    assert found["content"] == {
        "lists": 30,
        "equal": 29,
        "close": 1,
        "different": 0,
        "tolerance": 1e-4,
    }
    assert {"hardware", "commit", "date", "python"} <= set(found["machine"])
    assert {"moerec", "torch", "uvicorn"} <= set(found["versions"])
    assert found["plan"]["mix"] == [9, 1]
    assert len(found["rules"]) == 7
    assert found["faults"] == []


def test_wrong_answers_are_faults() -> None:
    report = a_report()
    report.form = replace(report.form or Form(0, 0, 0.0), wrong=2)
    report.content = Content(30, 20, 9, 1)
    assert report.faults == [
        "2 of 20 lists under load had a wrong form",
        "1 of 30 lists differ from the model's own code",
    ]
