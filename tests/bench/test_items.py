"""The benchmark of items that come and go: each part is measured, and lists find the new ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moerec.artifacts.bundle import UserSample
from moerec.engine.index import LEAST_ITEMS
from tests.bench.script import run_script
from tests.tiny import tiny_bundle

SMALL = ("--users=60", "--asked=40", "--pages=3", "--seconds=1", "--rounds=1", "--repeats=2")


def measured(bundle: Path, folder: Path, *parts: str) -> dict[str, Any]:
    out = folder / "out.json"
    done = run_script("items.py", "synthetic", bundle, "--parts", *parts, *SMALL, "--json", out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert "| ms | longest |" in done.stdout or "insert" not in parts
    assert isinstance(found, dict)
    return found


def test_an_engine_takes_changes_in_and_a_small_catalogue_has_no_index(tmp_path: Path) -> None:
    found = measured(tiny_bundle(tmp_path / "bundle", 300).path, tmp_path, "lists", "insert")
    assert found["lists"] == []
    assert len(found["insert"]["changes"]) == 5
    for row in found["insert"]["changes"]:
        assert 0 < row["ms"] <= row["longest_ms"]
    (quiet,) = found["insert"]["frames"]
    assert quiet["frames"] > 0


@pytest.mark.slow
def test_lists_through_an_index_find_new_items_and_it_is_made_anew(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2_000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    recent = draw.integers(1, LEAST_ITEMS, (2_000, 10))
    sample = UserSample(vectors.astype(np.float16), recent.astype(np.int32))
    bundle = tiny_bundle(tmp_path / "bundle", LEAST_ITEMS + 100, users=sample)
    found = measured(bundle.path, tmp_path, "lists", "insert")
    lists = found["lists"]
    assert [row["items"].split(" ")[0] for row in lists] == ["0", "100", "1,000"] + ["4,000"] * 3
    assert all(row["recall"] >= 0.99 and row["us"] > 0 for row in lists)
    assert lists[0]["new_share"] == 0 < lists[3]["new_share"] == lists[5]["new_share"]
    assert [row["meanwhile"] for row in found["insert"]["frames"]] == [
        "nothing",
        "the index is made anew",
    ]


@pytest.mark.slow
def test_items_are_put_while_lists_are_asked_for(tmp_path: Path) -> None:
    found = measured(tiny_bundle(tmp_path / "bundle", 300).path, tmp_path, "live")["live"]
    assert [row["live"] for row in found["puts"]] == [1, 1]
    assert all(0 < row["median_ms"] <= row["p99_ms"] for row in found["puts"])
    assert [row["errors"] for row in found["lists"]] == [0, 0]
    assert all(row["a_second"] > 0 for row in found["lists"])
