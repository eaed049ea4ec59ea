"""The use case of a list, where the engine fails."""

import logging
from contextlib import closing
from pathlib import Path

import pytest

from moerec.api.catalogue import Catalogue
from moerec.api.recommend import RecommendService
from moerec.observability.logging import SparingLog
from moerec.observability.metrics import Metrics
from moerec.store.cache import AnswerCache
from moerec.store.sql import open_event_store
from moerec.transport.client import LocalEngineClient
from moerec.transport.frames import ErrorReply, ListReply, RecommendRequest
from tests.api.toy import toy_bundle


async def test_an_engine_that_fails_on_every_request_fills_no_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failed request wrote a line, however many there were."""
    engine = LocalEngineClient(lambda asked: [ErrorReply("ValueError: a fault") for _ in asked])
    cache: AnswerCache[ListReply] = AnswerCache(0.0)
    log = SparingLog(logging.getLogger("flood"), most=2, now=lambda: 5.0)
    catalogue = Catalogue.of(toy_bundle(tmp_path / "bundle"))
    with closing(open_event_store(f"sqlite:///{tmp_path}/events.db")) as store:
        service = RecommendService(catalogue, engine, store, Metrics(), cache, 5.0, log)
        for _ in range(20):
            answer = await service.recommend(RecommendRequest(None, ["i1"], 3))
            assert answer.fallback is not None
            assert answer.fallback.code == "engine_error"
        await engine.close()
    assert len(caplog.messages) == 2
