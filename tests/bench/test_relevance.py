"""The relevance row: from ratings in MovieLens' form to one line of figures."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from tests.bench.script import run_script
from tests.logs import rated_log


@pytest.mark.slow
def test_a_line_of_figures_from_ratings(tmp_path: Path) -> None:
    """The ratings come shuffled; those with pos -1, all of one film, must not be there."""
    log = rated_log(users=30)
    ratings = log.select(
        user="user_id",
        movie="item_id",
        rating=pl.col("rating").cast(pl.Int64),
        pos=pl.int_range(pl.len()).over("user_id"),
    )
    rare = ratings.head(5).with_columns(movie=pl.lit("rare"), pos=pl.lit(-1, dtype=pl.Int64))
    source, figures = tmp_path / "ratings.csv.gz", tmp_path / "runs.jsonl"
    shuffled = pl.concat([ratings, rare]).sample(fraction=1.0, shuffle=True, seed=0)
    source.write_bytes(gzip.compress(shuffled.write_csv().encode()))
    out = tmp_path / "out"
    options = ["--out", str(out), "--json", str(figures), "--", "--epochs", "1"]
    done = run_script("relevance.py", source, *options)
    assert done.returncode == 0, done.stderr
    written = pl.read_csv(out / "ratings.csv").sort("user_id", maintain_order=True)
    wanted = log.select("user_id", "item_id", "rating").sort("user_id", maintain_order=True)
    assert written["item_id"].to_list() == wanted["item_id"].to_list()
    (line,) = figures.read_text().splitlines()
    found = json.loads(line)
    assert found["relevance"]["users"] == 30
    assert found["relevance"]["liked_from"] == 3
    assert found["epochs"] == 1
    assert set(found["relevance"]["results"]) == {
        "moerec",
        "matrix factorisation",
        "item's share liked",
        "chance",
    }
