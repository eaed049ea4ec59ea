"""A report as a run would leave it, for the tests of what is made of one."""

from moerec.loadtest.checks import Content, Form
from moerec.loadtest.freshness import Freshness
from moerec.loadtest.loads import Measured
from moerec.loadtest.plan import Plan
from moerec.loadtest.report import Report

LATENCIES = {"p50": 2.0, "p90": 4.0, "p99": 9.0, "p99.9": 20.0, "mean": 2.5, "max": 31.0}
STORE = {
    "users": 50, "events": 400, "file_bytes": 40_000, "bytes_an_event": 100.0,
    "seconds": None, "events_per_second": None,
}  # fmt: skip

COUNTERS = {
    "slots": 64, "arena_used_bytes": 32 * 8_192.0 * 256, "arena_limit_bytes": 64 * 8_192.0 * 256,
    "rerouted_rows/0/0": 17.0,
}  # fmt: skip
WORK = {"states_hot": 950.0, "states_read": 50.0, "answers_memo": 300.0, "answers_computed": 700.0}


def a_load(name: str, rate: float | None = None, **other: object) -> Measured:
    given: dict[str, object] = {
        "errors": {},
        "cpu_us": {"gateway": 90.4, "engine": 70.0, "generator": 30.0},
        "counters": {"fallbacks": 0.0, "pushes_failed": 0.0},
        **other,
    }
    return Measured(
        name=name,
        generator="own",
        mix=(9, 1),
        seconds=2.0,
        requests=2_000,
        percentiles_ms=LATENCIES,
        rss_bytes={"gateway": 100 << 20, "engine": 300 << 20},
        rate=rate,
        engine={"engine": {"hot_users": 50, "counters": COUNTERS}},
        engine_work={"engine": WORK},
        **given,  # type: ignore[arg-type]
    )


def a_report() -> Report:
    routing = {"largest_share": 0.14, "mean_experts": 2.26, "budget": 2.25}
    report = Report(Plan(items=300, users=50), "m-1", 300, STORE, routing)
    report.warm_up = {"users": 50, "seconds": 1.0, "engine": {"hot_users": 50}}
    report.loads = [a_load("closed loop")]
    report.loads += [a_load(f"open loop, {share}%", rate=10.0 * share) for share in (25, 50)]
    report.freshness = Freshness(10, 9, 0, 3.1, 7.5)
    report.form, report.content = Form(20, 0, 1_234.0), Content(30, 29, 1, 0)
    report.ceiling = a_load("ceiling", cpu_us={"ceiling": 30.0, "generator": 20.0}, counters={})
    return report
