"""A report of a bundle whose titles, categories and file name try to break out of the page."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from moerec.data.interactions import from_frame
from moerec.data.items import ItemTable
from moerec.evaluation.calibration import Predictions
from moerec.evaluation.relevance import Relevance
from moerec.evaluation.report import Report, evaluate_bundle, routing_of
from moerec.evaluation.routing import RoutingReport
from moerec.training.fit import FitOptions, fit_bundle
from tests.logs import walking_log

HOSTILE_TITLE = "</td><script>document.title = 'broken'</script>"
HOSTILE_CATEGORY = '"><img src=x onerror="document.title = 1">$x_$'
HOSTILE_SOURCE = "<b onclick=alert(1)>log & {{ 7 * 7 }}.csv"


@pytest.fixture(scope="package")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two epochs on a small log; with predictions of "liked" that no head has made."""
    torch.set_num_threads(1)
    log = replace(from_frame(walking_log()), source=HOSTILE_SOURCE)
    items = pl.DataFrame(
        {
            "item_id": [f"item{number}" for number in range(30)],
            "title": [HOSTILE_TITLE] * 29 + [None],
            "categories": [[HOSTILE_CATEGORY, "映画"]] * 15 + [["plain"]] * 14 + [[]],
        }
    )
    bundle = fit_bundle(
        log,
        tmp_path_factory.mktemp("page") / "bundle",
        items=ItemTable(items),
        options=FitOptions(epochs=2),
    )
    found = evaluate_bundle(bundle, log, "test")
    probability = np.linspace(0, 1, 50, dtype=np.float32)
    predictions = Predictions(probability, probability > 0.4)
    return replace(found, relevance=Relevance(3.0, 50, 0.6, [], predictions, log_loss=0.5))


@pytest.fixture(scope="package")
def routing(report: Report) -> RoutingReport:
    """Its experts."""
    found = routing_of(report)
    assert found is not None
    return found
