"""What the peers of `peers.py` have in common: FastAPI on uvicorn, histories in memory, micro-batches.

Runs in the peers' own environment and knows nothing of moerec:

    python -m _peer_NAME make FOLDER GIVEN.json      writes the model beside the world
    python -m _peer_NAME serve FOLDER GIVEN.json     serves until SIGTERM
    python -m _peer_NAME offline FOLDER GIVEN.json   prints the library's own lists for given histories

The world (`world.npz`): user_ids [U], item_ids [V], offsets [U + 1], items [E]. Histories are places in
`item_ids`.

Letters: B questions of a batch, U users, V items, E events, K places of a list.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Response
from numpy.typing import NDArray
from pydantic import BaseModel

HOST = "127.0.0.1"
Lists = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Places of the best items and their scores, [B, K] each, the best first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A user's place in the world, and their history when they asked, oldest first."""

    user: int
    history: list[int]


class Recommender(Protocol):
    """A model that makes lists without what the histories hold."""

    def best(self, questions: Sequence[Question], k: int) -> Lists:
        """The lists of a batch."""


class World:
    """Users, items and histories of a run."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "world.npz") as file:
            arrays = dict(file)
        self.item_ids: list[str] = arrays["item_ids"].tolist()
        self.users = {user: place for place, user in enumerate(arrays["user_ids"].tolist())}
        self.places = {item: place for place, item in enumerate(self.item_ids)}
        self.offsets: NDArray[np.int64] = arrays["offsets"]
        self.items: NDArray[np.int64] = arrays["items"]

    def histories(self) -> list[list[int]]:
        """A list for each user, to be appended to."""
        bounds = self.offsets.tolist()
        items = self.items.tolist()
        return [items[start:end] for start, end in pairwise(bounds)]


class Batcher:
    """Answers questions in a thread, at most `most` at a time: those that came during the last batch."""

    def __init__(self, recommender: Recommender, most: int) -> None:
        self._recommender = recommender
        self._most = most
        self._waiting: list[tuple[Question, int, asyncio.Future[tuple[Any, Any]]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Question, k: int) -> tuple[list[int], list[float]]:
        """One list."""
        found: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, k, found))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        items, scores = await found
        return items[:k].tolist(), scores[:k].tolist()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            questions, longest = [each[0] for each in batch], max(each[1] for each in batch)
            try:
                lists = await loop.run_in_executor(
                    self._thread, self._recommender.best, questions, longest
                )
            except Exception as error:
                for _, _, found in batch:
                    if not found.done():
                        found.set_exception(error)
                continue
            for (_, _, found), items, scores in zip(batch, *lists, strict=True):
                if not found.done():
                    found.set_result((items, scores))
        self._working = None


class Event(BaseModel):
    """The body of a new event."""

    user_id: str
    item_id: str


def make_app(world: World, recommender: Recommender, most: int) -> FastAPI:
    """The service: lists, events, and whether it is ready."""
    app = FastAPI()
    histories, batcher = world.histories(), Batcher(recommender, most)

    def place_of(user_id: str) -> int:
        if user_id not in world.users:
            raise HTTPException(404, "unknown user")
        return world.users[user_id]

    @app.get("/readyz")
    async def ready() -> Response:
        return Response()

    @app.get("/v1/users/{user_id}/recommendations")
    async def recommendations(user_id: str, k: int = 10) -> Response:
        user = place_of(user_id)
        items, scores = await batcher.ask(Question(user, histories[user].copy()), k)
        listed = [
            {"item_id": world.item_ids[item], "score": score}
            for item, score in zip(items, scores, strict=True)
        ]
        # Past FastAPI's own encoder, which would cost more than all else of the answer's way.
        body = msgspec.json.encode({"user_id": user_id, "items": listed})
        return Response(body, media_type="application/json")

    @app.post("/v1/events", status_code=202)
    async def event(event: Event) -> Response:
        if event.item_id not in world.places:
            raise HTTPException(422, "unknown item")
        histories[place_of(event.user_id)].append(world.places[event.item_id])
        return Response(status_code=202)

    return app


def without_seen(scores: NDArray[np.float32], questions: Sequence[Question], k: int) -> Lists:
    """The best of scores [B, V] that are not in the histories, by plain sorting: for the offline lists."""
    scores = scores.copy()
    for row, question in zip(scores, questions, strict=True):
        row[question.history] = -np.inf
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return items, np.take_along_axis(scores, items, axis=1)


def run(
    make: Callable[[World, Path, dict[str, Any]], None],
    load: Callable[[World, Path, dict[str, Any]], Recommender],
    offline: Callable[[World, Path, Sequence[Question], int], Lists],
    libraries: Callable[[], dict[str, str]],
) -> None:
    """A peer's command line."""
    word, folder, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    given, world = json.loads(file.read_text()), World(folder)
    if word == "make":
        make(world, folder, given)
        sys.stdout.write(json.dumps(libraries()) + "\n")
    elif word == "offline":
        asked = [Question(user, history) for user, history in given["asked"]]
        items, scores = offline(world, folder, asked, given["k"])
        lists = [[world.item_ids[item] for item in row] for row in items.tolist()]
        sys.stdout.write(json.dumps({"items": lists, "scores": scores.tolist()}) + "\n")
    else:
        app = make_app(world, load(world, folder, given), given["batch"])
        uvicorn.run(
            app, host=HOST, port=given["port"], loop="uvloop", http="httptools",
            access_log=False, log_level="warning", backlog=2048,
        )  # fmt: skip
