"""`moerec bench serving` from beginning to end.

bundle, users --> service --> warm --> closed, open loops --> freshness --> quiet: content
              --> service without memo --> warm --> closed loop --> ceiling
"""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from moerec.artifacts.bundle import Bundle
from moerec.artifacts.files import held
from moerec.errors import UsageError
from moerec.loadtest.checks import check_content, check_form
from moerec.loadtest.freshness import Freshness, Watch
from moerec.loadtest.loads import Loads
from moerec.loadtest.model import prepared_bundle, routing_of
from moerec.loadtest.plan import LOADS, MIXED, Plan
from moerec.loadtest.report import Report
from moerec.loadtest.requests import Ask
from moerec.loadtest.service import Client, Service, ceiling, serving
from moerec.loadtest.traffic import popular_users
from moerec.loadtest.users import prepared_store, user_id, working_copy
from moerec.store.sql import open_event_store

CHECKED_SHARE: Final = 0.01
"""Fresh lists that are compared with the reference, of as many requests as the closed loop answered."""

FEWEST_CHECKED, MOST_CHECKED = 20, 1_000

FRESHNESS_LOAD: Final = 0.5
"""The share of the closed loop's throughput under which fresh events are watched."""

WARM_UP_S: Final = 5.0


def run_bench(plan: Plan, console: Console) -> Report:
    """Measure; raises what keeps it from being measured. Nothing is left running, whatever happens."""
    busy = UsageError(
        f"another bench is running in {plan.folder}",
        "Wait until it has ended: two at a time would measure each other.",
    )
    with suppress(OSError):  # a folder that cannot be made is the lock's error, in words
        plan.folder.mkdir(parents=True, exist_ok=True)
    with held(plan.folder / "running", busy):
        return _run(plan, console)


def _run(plan: Plan, console: Console) -> Report:
    bundle = prepared_bundle(plan, console)
    catalogue = list(bundle.id_map.ids)
    if plan.events_a_user[1] + plan.k > len(catalogue):
        raise UsageError(
            f"the bundle's {len(catalogue)} items are too few for {plan.events_a_user[1]} events a user",
            "Give fewer with --events-a-user, or another bundle.",
        )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Loading users")
        loaded = prepared_store(
            plan, catalogue, lambda done, total: bar.update(task, completed=done, total=total)
        )
    report = Report(plan, bundle.version, len(catalogue), loaded.to_dict(), routing_of(bundle))
    for line in report.about():
        console.print(line, highlight=False, soft_wrap=True)
    with (
        tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder,
        ExitStack() as leaving,
    ):
        loads = Loads(plan, catalogue, Path(folder))
        with console.status("Copying the store"):
            url = leaving.enter_context(working_copy(loaded))
        with ExitStack() as stopping:
            with console.status("Starting the service"):
                service = stopping.enter_context(serving(plan, bundle.path, url))
            _measure(plan, service, loads, report, console, bundle, url)
        with (
            console.status("Without the memo"),
            serving(plan, bundle.path, url, memo=False) as other,
        ):
            _warm_up(plan, other, loads, Console(quiet=True))
            memo_off = loads.closed(other, "closed loop, memo off", plan.mix, plan.seconds)
            report.loads.append(memo_off)
        with console.status("The ceiling"), ceiling(plan, round(report.answer_bytes)) as bare:
            report.ceiling = loads.closed(bare, "ceiling", plan.mix, plan.seconds)
    return report


def _measure(
    plan: Plan,
    service: Service,
    loads: Loads,
    report: Report,
    console: Console,
    bundle: Bundle,
    url: str,
) -> None:
    with closing(open_event_store(url)) as store:
        before = store.last_number()
        report.warm_up = _warm_up(plan, service, loads, console)
        with console.status("Closed loop"):
            saturated = loads.closed(service, "closed loop", plan.mix, plan.seconds)
            report.loads.append(saturated)
            if plan.mix != MIXED:
                report.loads.append(loads.closed(service, "closed loop", MIXED, plan.seconds))
        for share in LOADS:
            with console.status(f"Open loop at {share:.0%}"):
                rate = max(share * saturated.per_second, 1.0)
                name = f"open loop, {share:.0%}"
                report.loads.append(loads.open(service, name, plan.mix, rate, plan.seconds))
        with console.status("Fresh events under load"):
            rate = max(FRESHNESS_LOAD * saturated.per_second, 1.0)
            report.freshness = _freshness(plan, service, loads, rate)
        with console.status("Comparing lists with the model's own code"):
            report.form = check_form(loads.kept, plan.k, store, before)
            wanted = round(CHECKED_SHARE * saturated.requests)
            lists = min(max(wanted, FEWEST_CHECKED), MOST_CHECKED)
            report.content = check_content(plan, service, bundle, store, lists)


def _warm_up(plan: Plan, service: Service, loads: Loads, console: Console) -> dict[str, object]:
    """Every user of the skewed part asks once, the most frequent last; then a load that is not counted."""
    users = popular_users(plan)[::-1].tolist()
    with console.status(f"Warming up: {len(users):,} users ask once"):
        once = loads.once(service, [Ask(user_id(user)) for user in users])
        loads.closed(service, "warm-up", plan.mix, min(plan.seconds, WARM_UP_S))
    return {"users": len(users), "seconds": once.seconds, "engine": service.engine_info()}


def _freshness(plan: Plan, service: Service, loads: Loads, rate: float) -> Freshness:
    stop = threading.Event()
    with Client(service.target) as client, ThreadPoolExecutor(1) as thread:
        watching = thread.submit(Watch(plan, client).run, stop)
        try:
            loads.open(service, "freshness", plan.mix, rate, plan.seconds)
        finally:
            stop.set()
        return watching.result()
