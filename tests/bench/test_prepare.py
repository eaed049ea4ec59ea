"""The benchmark of the preparation runs, small, and says what it measured."""

import json

from tests.bench.script import Done, run_script


def run(*options: str) -> Done:
    return run_script("prepare.py", "--rows", "3000", "--users", "50", "--items", "40", *options)


def test_json_has_the_figures_and_where_they_come_from() -> None:
    result = run("--json", "--seed", "3")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert (figures["rows"], figures["seed"]) == (3000, 3)
    assert 0 < figures["total_seconds"] < 60
    assert 0 < figures["peak_gib"] < 4
    assert set(figures["seconds"]) >= {"read and check", "id map", "histories", "hold out"}
    assert "3,000 rows read" in figures["report"]
    assert figures["hardware"]
    assert figures["date"]
    assert figures["commit"]


def test_text_names_each_figure() -> None:
    text = run().stdout
    for words in ("peak_gib", "read and check", "hardware", "commit", "seed"):
        assert words in text
