"""The Python face: frames in, lists out, and the same bundle as the server's."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moerec.artifacts.bundle import read_bundle
from moerec.data.interactions import from_frame
from moerec.data.items import ItemTable
from moerec.data.sequences import History
from moerec.errors import UsageError
from moerec.evaluation.report import evaluate_bundle
from moerec.recommender import Recommender
from tests.logs import rated_log, walking_log
from tests.tiny import SMALL

LOG = walking_log()


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    torch.set_num_threads(1)
    return Recommender.fit(LOG, epochs=2, verbose=False, settings=SMALL.settings)


def test_lists_are_ranked_and_without_seen_items(fitted: Recommender) -> None:
    lists = fitted.recommend(["user0", "user5"], k=4)
    assert lists.columns == ["user_id", "item_id", "title", "rank", "score"]
    assert lists["user_id"].to_list() == ["user0"] * 4 + ["user5"] * 4
    assert lists["rank"].to_list() == [1, 2, 3, 4] * 2
    for user in ("user0", "user5"):
        mine = lists.filter(user_id=user)
        seen = LOG.filter(user_id=user)["item_id"].to_list()
        assert not set(mine["item_id"].to_list()) & set(seen)
        assert mine["score"].is_sorted(descending=True)


def test_seen_items_may_be_kept(fitted: Recommender) -> None:
    everything = fitted.recommend(["user0"], k=100, exclude_seen=False)
    assert len(everything) == 30


def test_unknown_users_get_no_rows_and_nobody_gets_an_empty_frame(fitted: Recommender) -> None:
    assert fitted.recommend(["stranger", "user1"], k=2)["user_id"].to_list() == ["user1"] * 2
    assert fitted.recommend([], k=2).is_empty()


def test_a_history_of_item_ids(fitted: Recommender) -> None:
    seen = LOG.filter(user_id="user3")["item_id"].to_list()
    named = fitted.recommend(["user3"], k=5)["item_id"].to_list()
    given = fitted.recommend_for([*seen[:-1], "never heard of", seen[-1]], k=5)
    assert [item.item_id for item in given] == named
    with pytest.raises(UsageError, match="knows none"):
        fitted.recommend_for(["never heard of"])


def test_ids_that_are_numbers_in_the_frame_may_be_asked_for_as_numbers(fitted: Recommender) -> None:
    """They are strings inside; asking with the frame's own numbers used to give an empty list."""
    numbers = LOG.with_columns(
        pl.col("user_id").str.strip_prefix("user").cast(pl.Int64),
        pl.col("item_id").str.strip_prefix("item").cast(pl.Int64),
    )
    ids = fitted.bundle.id_map.ids
    recommender = Recommender.fit(numbers, epochs=2, verbose=False, settings=SMALL.settings)
    assert [f"item{item}" for item in recommender.bundle.id_map.ids] == ids
    lists = recommender.recommend(numbers["user_id"].unique(maintain_order=True)[:2].to_list(), k=3)
    assert lists["user_id"].to_list() == ["0"] * 3 + ["1"] * 3
    assert recommender.recommend_for([3], k=2) == recommender.recommend_for(["3"], k=2)


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_of_nothing_is_refused(fitted: Recommender, k: int) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        fitted.recommend(["user0"], k=k)


def test_pandas_in_the_same_bundle_out(fitted: Recommender) -> None:
    again = Recommender.fit(LOG.to_pandas(), epochs=2, verbose=False, settings=SMALL.settings)
    assert again.bundle.manifest.files == fitted.bundle.manifest.files


def test_saved_and_loaded_gives_the_same_lists(fitted: Recommender, tmp_path: Path) -> None:
    path = fitted.save(tmp_path / "bundle")
    loaded = Recommender.load(path, from_frame(LOG))
    users = ["user0", "user1"]
    assert loaded.recommend(users).equals(fitted.recommend(users))


def test_lists_equal_those_of_the_evaluation(fitted: Recommender) -> None:
    """The evaluation asks for the list before the last event; so does a recommender that knows no more."""
    shorter = LOG.group_by("user_id", maintain_order=True).head(13)
    offline = Recommender(fitted.bundle, from_frame(shorter)).recommend(["user7"], k=10)
    report = evaluate_bundle(fitted.bundle, from_frame(LOG), "test")
    row = report.histories.users.index("user7")  # type: ignore[arg-type]
    place = report.questions.users.tolist().index(row)
    listed = report.bundle.id_map.ids_of(report.results[0].lists[place, :10].tolist())
    assert offline["item_id"].to_list() == listed


def test_a_bundle_on_disk_where_it_was_asked_for(tmp_path: Path) -> None:
    made = Recommender.fit(
        LOG, out=tmp_path / "here", epochs=1, verbose=False, fit_all=True, settings=SMALL.settings
    )
    assert read_bundle(tmp_path / "here").version == made.bundle.version
    assert made.bundle.manifest.held_out == "none"


def test_a_bundle_without_a_name_goes_with_its_recommender() -> None:
    made = Recommender.fit(LOG, epochs=1, verbose=False, settings=SMALL.settings)
    path = made.bundle.path
    assert path.is_dir()
    del made
    gc.collect()
    assert not path.parent.exists()


def test_titles_come_with_the_items() -> None:
    from moerec.data.items import ItemTable

    items = ItemTable(pl.DataFrame({"item_id": ["item1"], "title": ["One"]}))
    made = Recommender.fit(LOG, items=items, epochs=1, verbose=False, settings=SMALL.settings)
    titles = made.recommend(["user0"], k=40, exclude_seen=False)
    assert titles.filter(item_id="item1")["title"].to_list() == ["One"]
    assert titles["title"].null_count() == 29


def test_items_that_the_caller_names_are_ranked(fitted: Recommender) -> None:
    """By the score of the lists; unknown ones are left out, and repeated ones are one."""
    asked = ["item3", "item9", "item3", "nowhere", "item20"]
    ranked = fitted.rank(["item1", "item2"], asked)
    assert sorted(item.item_id for item in ranked) == ["item20", "item3", "item9"]
    assert [item.rank for item in ranked] == [1, 2, 3]
    everything = fitted.recommend_for(["item1", "item2"], k=30, exclude_seen=False)
    scores = {item.item_id: item.score for item in everything}
    assert [item.score for item in ranked] == pytest.approx(
        sorted((scores[item.item_id] for item in ranked), reverse=True)
    )


def test_a_log_without_values_says_nothing_of_what_is_liked(fitted: Recommender) -> None:
    with pytest.raises(UsageError, match="does not know what is"):
        fitted.rank(["item1"], ["item2"], by="liked")


def test_items_are_ranked_by_what_is_liked() -> None:
    log = rated_log(users=80)
    recommender = Recommender.fit(log, epochs=1, liked=4, verbose=False, settings=SMALL.settings)
    assert recommender.bundle.config["liked_from"] == 4
    items = np.arange(1, 9, dtype=np.int32)
    pasts = [
        History(items, items * 1_000, np.where(items % 2 == kind, 5.0, 1.0).astype(np.float32))
        for kind in (0, 1)
    ]
    asked = [f"item{number}" for number in range(30)]
    one, other = (recommender.rank(past, asked, by="liked") for past in pasts)
    assert {item.item_id for item in one} == set(asked)
    assert all(0 < item.score < 1 for item in one)
    assert [item.item_id for item in one] != [item.item_id for item in other]


def test_items_that_came_later_are_placed_by_their_content(fitted: Recommender) -> None:
    names = [f"item{number}" for number in range(30)]
    groups = [[f"group{number % 15}"] for number in range(30)]
    items = ItemTable(pl.DataFrame({"item_id": names, "categories": groups}))
    recommender = Recommender.fit(
        LOG, items=items, epochs=1, verbose=False, settings=SMALL.settings
    )
    later = pl.DataFrame({"item_id": ["a", "b"], "categories": [["group3"], ["never seen"]]})
    placed = recommender.item_vectors_of(ItemTable(later))
    assert np.linalg.norm(placed, axis=1).tolist() == pytest.approx([1.0, 0.0])
    with pytest.raises(UsageError, match="without the content"):
        fitted.item_vectors_of(ItemTable(later))


def test_a_fit_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    """The temporary folder of the bundle used to stay."""
    program = (
        "from moerec.recommender import Recommender; from tests.logs import walking_log; "
        "Recommender.fit(walking_log(), liked=3, epochs=1, verbose=False)"
    )
    failed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no different values" in failed.stderr
    assert list(tmp_path.iterdir()) == []
