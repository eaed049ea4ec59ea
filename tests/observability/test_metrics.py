"""The metrics that exist are those that the module's table names."""

import re

from moerec.observability import metrics
from moerec.observability.metrics import Metrics


def test_the_table_names_every_metric_and_nothing_else() -> None:
    own = Metrics()
    own.request("/x", "GET", 200, 0.1)
    own.events(accepted=1, duplicate=1, rejected=1)
    own.fallback("anonymous")
    own.experts([[0], [1]])
    text = own.exposition({}).decode()
    exposed = set(re.findall(r"^# TYPE (moerec_\w+) ", text, re.MULTILINE))
    named = set(re.findall(r"^\| `(moerec_\w+)`", metrics.__doc__ or "", re.MULTILINE))
    assert exposed == named


def test_two_registries_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.fallback("anonymous")
    assert b'code="anonymous"' not in second.exposition({})


def test_the_promise_and_the_deadline_are_bucket_edges() -> None:
    """An edge elsewhere would make a share of requests under 100 ms an interpolation."""
    assert {0.1, 0.25} <= set(metrics.REQUEST_BUCKETS)


def test_a_value_on_an_edge_counts_below_it() -> None:
    own = Metrics()
    for seconds in (0.1, 0.05, 99.0):
        own.request("/x", "GET", 200, seconds)
    text = own.exposition({}).decode()
    name = "moerec_request_seconds"
    found = re.findall(rf'^{name}_bucket{{le="([^"]+)",route="/x"}} (\S+)$', text, re.MULTILINE)
    counted = {edge: float(count) for edge, count in found}
    assert len(counted) == len(metrics.REQUEST_BUCKETS) + 1
    assert [counted[edge] for edge in ("0.025", "0.05", "0.1", "2.5", "+Inf")] == [0, 1, 2, 2, 3]
    assert f'{name}_count{{route="/x"}} 3.0' in text
    assert f'{name}_sum{{route="/x"}} 99.15' in text
    assert 'moerec_requests_total{method="GET",route="/x",status="200"} 3.0' in text


def test_experts_are_counted_one_by_one_however_they_come_together() -> None:
    """Requests count sets of experts, of which there may be any number: not all of them are kept."""
    own = Metrics()
    for number in range(2 * metrics.MOST_SETS):
        own.experts([[0, number + 1], [0]])
    for _ in range(2):
        lines = own.exposition({}).decode().splitlines()
        counts = dict(line.split() for line in lines if line.startswith("moerec_expert_activ"))
        assert counts['moerec_expert_activations_total{expert="0",layer="0"}'] == "8192.0"
        assert counts['moerec_expert_activations_total{expert="0",layer="1"}'] == "8192.0"
        assert counts['moerec_expert_activations_total{expert="77",layer="0"}'] == "1.0"
