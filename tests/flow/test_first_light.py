"""From a log to live answers: train, import, serve as real processes, and compare with offline."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from moerec.artifacts.bundle import Bundle
from moerec.data.interactions import ColumnNames, Interactions, read_interactions
from moerec.data.sequences import Histories, build_histories
from moerec.data.split import HoldOut, leave_one_out
from moerec.models.loading import load_model
from moerec.store.importing import import_events
from moerec.store.sql import open_event_store
from moerec.training.fit import FitOptions, fit_bundle
from tests.serving import Served, serving
from tests.tiny import item_events

USERS, ITEMS = 60, 50
MARGIN = 1e-4
"""An expert that joins or stays away by a rounding moves a score by so much at most."""


@dataclass
class Flow:
    """One log on its way."""

    bundle: Bundle
    histories: Histories
    held: HoldOut
    served: Served

    def offline(self, items: Sequence[str], k: int) -> list[tuple[str, float]]:
        """The model itself on a history, what was seen left out."""
        with torch.inference_mode():
            model = load_model(self.bundle.config, self.bundle.weights())
            indexes = torch.as_tensor(self.bundle.id_map.indexes(list(items)).astype(np.int64))
            user = model.user_vectors(
                item_events(indexes), torch.tensor([0]), torch.tensor([len(items)])
            )
            scores = model.score(user.vectors, user.recent, model.item_vectors())[0]
            scores[0] = -torch.inf
            scores[indexes] = -torch.inf
            best = scores.topk(k)
        ids = self.bundle.id_map.ids_of(best.indices.tolist())
        return list(zip(ids, best.values.tolist(), strict=True))

    def before_test(self, user: int) -> list[str]:
        """Item ids of a user's events before the test event."""
        place = self.held.test_at[user]
        items = self.histories.items_of(user)
        return [
            str(item) for item in self.bundle.id_map.ids_of(items[: place if place >= 0 else None])
        ]


def write_log(path: Path) -> None:
    """Users walk a ring of items; timeless, so that the stored time is the place in the history."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        place = int(rng.integers(ITEMS))
        for _ in range(int(rng.integers(3, 25))):
            place = (place + int(rng.integers(1, 4))) % ITEMS
            rows.append(f"user{user},item{place}")
    path.write_text("user_id,item_id\n" + "\n".join(rows) + "\n")


def trained(folder: Path) -> tuple[Interactions, Bundle]:
    torch.set_num_threads(1)
    write_log(folder / "log.csv")
    interactions = read_interactions(folder / "log.csv", ColumnNames(timestamp="none"))
    bundle = fit_bundle(interactions, folder / "bundle", options=FitOptions(epochs=1, device="cpu"))
    return interactions, bundle


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    folder = tmp_path_factory.mktemp("flow")
    interactions, bundle = trained(folder)
    histories = build_histories(interactions, bundle.id_map)
    held = leave_one_out(histories)
    url = f"sqlite:///{folder}/events.db"
    with closing(open_event_store(url)) as store:
        import_events(store, interactions, held)
    # Unrounded states: live answers are then the offline ones, digit for digit.
    settings = {"MOEREC_DEADLINE_MS": "5000", "MOEREC_STATE_TYPE": "float32"}
    with serving(bundle.path, url, folder / "log", **settings) as served:
        yield Flow(bundle, histories, held, served)


def assert_equal_lists(live: dict[str, object], offline: list[tuple[str, float]]) -> None:
    """The same items in the same order; neighbours nearer than `MARGIN` in score may change places."""
    items = live["items"]
    assert isinstance(items, list)
    assert len(items) == len(offline)
    scores = dict(offline)
    for item, (item_id, score) in zip(items, offline, strict=True):
        assert item["score"] == pytest.approx(score, abs=MARGIN)
        same = item["item_id"] == item_id
        assert same or abs(scores.get(item["item_id"], np.inf) - score) < MARGIN


def test_live_answers_equal_the_model_offline(flow: Flow) -> None:
    for user in range(USERS):
        live = flow.served.get(f"/v1/users/user{user}/recommendations?k=10")
        assert live["fallback"] is None
        assert live["model"]["version"] == flow.bundle.version
        assert_equal_lists(live, flow.offline(flow.before_test(user), 10))


def test_an_event_changes_the_next_answer_to_that_of_the_longer_history(flow: Flow) -> None:
    path = "/v1/users/user7/recommendations?k=10"
    before = flow.served.get(path)
    film = before["items"][0]["item_id"]
    result = flow.served.post("/v1/events", {"user_id": "user7", "item_id": film})["results"][0]
    history = flow.before_test(7)
    assert result == {**result, "status": "accepted", "number": len(history) + 1}
    after = flow.served.get(path)
    assert film not in [item["item_id"] for item in after["items"]]
    assert after["items"] != before["items"]
    assert_equal_lists(after, flow.offline([*history, film], 10))


def test_a_stranger_gets_popular_items_then_a_list_of_their_own(flow: Flow) -> None:
    path = "/v1/users/stranger/recommendations?k=5"
    before = flow.served.get(path)
    assert before["fallback"]["code"] == "unknown_user"
    assert [item["item_id"] for item in before["items"]] == [
        item.item_id for item in flow.bundle.popular[:5]
    ]
    for event_id in ("e1", "e1"):
        event = {"event_id": event_id, "user_id": "stranger", "item_id": "item3"}
        assert flow.served.post("/v1/events", event)["results"][0]["number"] == 1
    after = flow.served.get(path)
    assert after["fallback"] is None
    assert_equal_lists(after, flow.offline(["item3"], 5))


def test_a_history_in_the_request_is_answered_and_not_stored(flow: Flow) -> None:
    history = ["item1", "item2", "item5"]
    live = flow.served.post(
        "/v1/recommendations", {"history": history, "k": 7, "user_id": "passer-by"}
    )
    assert_equal_lists(live, flow.offline(history, 7))
    again = flow.served.get("/v1/users/passer-by/recommendations?k=3")
    assert again["fallback"]["code"] == "unknown_user"
