"""Every metric of a moerec process, in Prometheus' format.

| metric | type | labels | what it counts |
|---|---|---|---|
| `moerec_requests_total` | counter | route, method, status | answered HTTP requests, by route template |
| `moerec_request_seconds` | histogram | route | time from a request's head to the end of its answer |
| `moerec_events_total` | counter | outcome | events by `accepted`, `duplicate`, `rejected` |
| `moerec_items_changed_total` | counter | kind | items that were `put` or `removed` through this gateway |
| `moerec_event_pushes_failed_total` | counter | | stored events that the engine did not confirm in time |
| `moerec_auth_failures_total` | counter | code | requests refused with a 401 or 403, by problem code |
| `moerec_rate_limited_total` | counter | | requests beyond a user's limit; in a batch, users |
| `moerec_fallbacks_total` | counter | code | lists that the model did not make, by fallback code |
| `moerec_expert_activations_total` | counter | layer, expert | experts awake for an answer |
| `moerec_engine_up` | gauge | | 1 if the last question to the engine was answered |
| `moerec_store_write_seconds` | histogram | | time of one transaction of the event store |
| `moerec_cache_hits_total` | counter | | answers repeated from the cache |
| `moerec_cache_misses_total` | counter | | answers that the cache did not have |

Of each engine, asked when the metrics are read; counters count from the engine's start, and an engine that
does not answer in time has the first of them alone:

| metric | type | labels | what it counts |
|---|---|---|---|
| `moerec_engine_reachable` | gauge | engine | 1 if the engine answered when the metrics were read |
| `moerec_engine_users` | gauge | engine | users whose state is at hand |
| `moerec_engine_slots` | gauge | engine | users whose attention state has room in the arena |
| `moerec_engine_arena_used_bytes` | gauge | engine | memory of the attention states that are kept |
| `moerec_engine_arena_limit_bytes` | gauge | engine | the most that it can be |
| `moerec_engine_frames_total` | counter | engine | frames of up to 64 requests |
| `moerec_engine_requests_total` | counter | engine | requests in them |
| `moerec_engine_busy_seconds_total` | counter | engine | time spent on frames |
| `moerec_engine_states_hot_total` | counter | engine | users whose state was at hand when asked for |
| `moerec_engine_states_read_total` | counter | engine | users whose state was read from the event table |
| `moerec_engine_states_evicted_total` | counter | engine | states that went because others needed the place |
| `moerec_engine_answers_memo_total` | counter | engine | lists whose user's vector was known |
| `moerec_engine_answers_computed_total` | counter | engine | lists whose user's vector was computed |
| `moerec_engine_events_streamed_total` | counter | engine | events with which a kept state went on |
| `moerec_engine_rows_encoded_total` | counter | engine | events through the layers, rebuilt ones too |
| `moerec_engine_routing_epoch` | gauge | engine | changes of the experts that answers do without |
| `moerec_engine_query_rows_total` | counter | engine | rows worked out under a budget or a mask |
| `moerec_engine_budget_cuts_total` | counter | engine | those that woke fewer experts than the model would |
| `moerec_engine_load_cuts_total` | counter | engine | those of them for which the load set the budget |
| `moerec_engine_rerouted_rows_total` | counter | engine, layer, expert | rows that went past an expert |
| `moerec_engine_expert_masked` | gauge | engine, layer, expert | 1 while answers do without the expert |
| `moerec_engine_items_added` | gauge | engine | items added since the bundle |
| `moerec_engine_items_removed` | gauge | engine | items removed since the bundle |
| `moerec_engine_indexes_made_total` | counter | engine | indexes of the catalogue made anew |

Labels take few values: never a user or an item. Process metrics (`process_*`) come with them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

REQUEST_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1.0,
    2.5,
)
"""Seconds, with an edge on each promise (100 ms) and deadline (250 ms)."""

WRITE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

MOST_SETS: Final = 4096
"""Sets of experts that are counted as such before they are added up: there may be any number of them."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


ENGINE_GAUGES: Final = {
    "users_hot": ("moerec_engine_users", "Users whose state is at hand"),
    "slots": ("moerec_engine_slots", "Users whose attention state has room in the arena"),
    "arena_used_bytes": ("moerec_engine_arena_used_bytes", "Memory of kept attention states"),
    "arena_limit_bytes": ("moerec_engine_arena_limit_bytes", "The most that it can be"),
    "routing_epoch": ("moerec_engine_routing_epoch", "Changes of the experts answers do without"),
    "expert_masked": ("moerec_engine_expert_masked", "Whether answers do without the expert"),
    "items_added": ("moerec_engine_items_added", "Items added since the bundle"),
    "items_removed": ("moerec_engine_items_removed", "Items removed since the bundle"),
}
ENGINE_COUNTERS: Final = {
    "frames": ("moerec_engine_frames", "Frames of up to 64 requests"),
    "requests": ("moerec_engine_requests", "Requests in frames"),
    "busy_seconds": ("moerec_engine_busy_seconds", "Seconds spent on frames"),
    "states_hot": ("moerec_engine_states_hot", "Users whose state was at hand"),
    "states_read": ("moerec_engine_states_read", "Users whose state was read from the table"),
    "states_evicted": ("moerec_engine_states_evicted", "States that went for others"),
    "answers_memo": ("moerec_engine_answers_memo", "Lists whose user's vector was known"),
    "answers_computed": ("moerec_engine_answers_computed", "Lists whose vector was computed"),
    "events_streamed": ("moerec_engine_events_streamed", "Events a kept state went on with"),
    "rows_encoded": ("moerec_engine_rows_encoded", "Events that went through the layers"),
    "query_rows": ("moerec_engine_query_rows", "Rows worked out under a budget or a mask"),
    "budget_cuts": ("moerec_engine_budget_cuts", "Rows that woke fewer experts"),
    "load_cuts": ("moerec_engine_load_cuts", "Rows whose budget the load set"),
    "rerouted_rows": ("moerec_engine_rerouted_rows", "Rows that went past a masked expert"),
    "indexes_made": ("moerec_engine_indexes_made", "Indexes of the catalogue made anew"),
}
"""By the names in an engine's answer: what it is called here, without `_total`, and its text."""

BY_EXPERT: Final = {"expert_masked", "rerouted_rows"}
"""In an engine's answer "name/layer/expert" stands for a figure of one expert."""

_LABELS: Final = {False: (), True: ("layer", "expert")}

EngineFigures = Mapping[str, Mapping[str, float] | None]
"""What each engine says of itself, by its label; None of one that did not answer."""


class _EngineCollector(Collector):
    """The figures of engines, as they were handed over last."""

    def __init__(self) -> None:
        self.figures: EngineFigures = {}

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks."""
        reachable = GaugeMetricFamily(
            "moerec_engine_reachable", "Whether the engine answered now", labels=["engine"]
        )
        for engine, found in self.figures.items():
            reachable.add_metric([engine], float(found is not None))
        yield reachable
        for names, family in (
            (ENGINE_GAUGES, GaugeMetricFamily),
            (ENGINE_COUNTERS, CounterMetricFamily),
        ):
            for key, (name, text) in names.items():
                metric = family(name, text, labels=["engine", *_LABELS[key in BY_EXPERT]])
                for engine, found in self.figures.items():
                    for each, value in (found or {}).items():
                        kind, *labels = each.split("/")
                        if kind == key:
                            metric.add_metric([engine, *labels], value)
                yield metric


class _Tally(Collector):
    """What every request counts, in plain numbers of one thread: prometheus_client's own counters lock."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self.seconds: dict[str, _Spread] = defaultdict(_Spread)
        self.awake: dict[tuple[int, ...], int] = defaultdict(int)
        self._experts: dict[tuple[int, int], int] = defaultdict(int)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks."""
        requests = CounterMetricFamily(
            "moerec_requests", "Answered HTTP requests", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self.requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "moerec_request_seconds", "Seconds to answer a request", labels=["route"]
        )
        for route, spread in self.seconds.items():
            seconds.add_metric([route], *spread.cumulative())
        yield seconds
        experts = CounterMetricFamily(
            "moerec_expert_activations", "Experts awake for an answer", labels=["layer", "expert"]
        )
        self.add_up_experts()
        for (layer, expert), count in sorted(self._experts.items()):
            experts.add_metric([str(layer), str(expert)], count)
        yield experts

    def add_up_experts(self) -> None:
        """Counts each expert of the sets that were `awake` together, by which requests count."""
        for (layer, *experts), count in self.awake.items():
            for expert in experts:
                self._experts[layer, expert] += count
        self.awake.clear()


class _Spread:
    """A histogram over `REQUEST_BUCKETS`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(REQUEST_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(REQUEST_BUCKETS, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Upper edges with the count of values up to them; and the sum of all values."""
        edges = [*map(floatToGoString, REQUEST_BUCKETS), "+Inf"]
        counts: list[float] = list(accumulate(self._counts))
        return list(zip(edges, counts, strict=True)), self._sum


class Metrics:
    """The metrics of one process, in a registry of their own. Requests and answers are counted by one
    thread, the event loop's."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._engines = _EngineCollector()
        self._registry.register(self._engines)
        self._tally = _Tally()
        self._registry.register(self._tally)
        self._events = self._counter("moerec_events", "Events by outcome", "outcome")
        # `labels()` costs more than `inc()`: it is called once for what counts most.
        self._accepted, *_ = (
            self._events.labels(outcome) for outcome in ("accepted", "duplicate", "rejected")
        )
        self._items = self._counter("moerec_items_changed", "Items put or removed", "kind")
        self._fallbacks = self._counter("moerec_fallbacks", "Lists the model did not make", "code")
        self._auth_failures = self._counter(
            "moerec_auth_failures", "Requests refused for their token", "code"
        )
        self._rate_limited = self._counter("moerec_rate_limited", "Requests beyond a user's limit")
        self._engine_up = Gauge(
            "moerec_engine_up", "Whether the engine answered last time", registry=self._registry
        )
        self._pushes_failed = self._counter(
            "moerec_event_pushes_failed", "Stored events the engine did not confirm in time"
        )
        self._write_seconds = Histogram(
            "moerec_store_write_seconds",
            "Seconds of one transaction of the event store",
            buckets=WRITE_BUCKETS,
            registry=self._registry,
        )
        self._cache_hits = self._counter("moerec_cache_hits", "Answers repeated from the cache")
        self._cache_misses = self._counter("moerec_cache_misses", "Answers the cache did not have")
        self._is_up: bool | None = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._tally.requests[route, method, status] += 1
        self._tally.seconds[route].observe(seconds)

    def events(self, *, accepted: int, duplicate: int, rejected: int) -> None:
        """Events arrived."""
        self._accepted.inc(accepted)
        if duplicate or rejected:
            self._events.labels("duplicate").inc(duplicate)
            self._events.labels("rejected").inc(rejected)

    def item_changed(self, kind: Literal["put", "removed"]) -> None:
        """An item was put or removed."""
        self._items.labels(kind).inc()

    def pushes_failed(self, count: int) -> None:
        """The engine did not confirm so many events."""
        self._pushes_failed.inc(count)

    def auth_failure(self, code: str) -> None:
        """A request was refused because of its token."""
        self._auth_failures.labels(code).inc()

    def rate_limited(self, count: int) -> None:
        """So many requests were beyond their user's limit."""
        self._rate_limited.inc(count)

    def fallback(self, code: str) -> None:
        """A list came from the fallback."""
        self._fallbacks.labels(code).inc()

    def experts(self, layers: Sequence[Sequence[int]]) -> None:
        """So these experts were awake, layer by layer."""
        awake = self._tally.awake
        for layer, experts in enumerate(layers):
            awake[layer, *experts] += 1
        if len(awake) > MOST_SETS:
            self._tally.add_up_experts()

    def engine_up(self, up: bool) -> None:
        """The engine answered, or did not."""
        if up is not self._is_up:
            self._is_up = up
            self._engine_up.set(up)

    def write(self, seconds: float) -> None:
        """A transaction of the event store ended."""
        self._write_seconds.observe(seconds)

    def cache(self, *, hit: bool) -> None:
        """The cache was asked."""
        (self._cache_hits if hit else self._cache_misses).inc()

    def exposition(self, engines: EngineFigures) -> bytes:
        """All metrics as Prometheus reads them (`CONTENT_TYPE`), with what the engines say of themselves."""
        self._engines.figures = engines
        return generate_latest(self._registry)
