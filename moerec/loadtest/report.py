"""What a run found, as tables for a terminal and as plain figures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from moerec.artifacts.files import write_file
from moerec.loadtest.checks import Content, Form
from moerec.loadtest.freshness import Freshness
from moerec.loadtest.loads import Measured
from moerec.loadtest.machine import about, versions
from moerec.loadtest.plan import Plan


@dataclass(slots=True)
class Report:
    """The figures of a run, filled in while it goes on. `catalogue` is the number of items."""

    plan: Plan
    model_version: str
    catalogue: int
    store: dict[str, Any]
    routing: dict[str, float]
    warm_up: dict[str, Any] = field(default_factory=dict)
    loads: list[Measured] = field(default_factory=list)
    freshness: Freshness | None = None
    form: Form | None = None
    content: Content | None = None
    ceiling: Measured | None = None
    machine: dict[str, str] = field(default_factory=about)

    @property
    def answer_bytes(self) -> float:
        """Mean size of a list's body."""
        return self.form.mean_bytes if self.form and self.form.lists else 1_000.0

    @property
    def ceiling_ratio(self) -> float | None:
        """Throughput of the service's first closed loop over the ceiling's."""
        if self.ceiling is None or not self.loads:
            return None
        return self.loads[0].per_second / self.ceiling.per_second

    @property
    def faults(self) -> list[str]:
        """What must not be: answers that are wrong. Errors and fallbacks under load are figures."""
        found = []
        if self.form and self.form.wrong:
            found.append(
                f"{self.form.wrong} of {self.form.lists} lists under load had a wrong form"
            )
        if self.content and self.content.different:
            found.append(
                f"{self.content.different} of {self.content.lists} lists differ from the model's own code"
            )
        return found

    def about(self) -> Iterator[str]:
        """What is measured, in lines."""
        store = self.store
        yield " · ".join(f"{name}: {value}" for name, value in self.machine.items())
        yield f"model {self.model_version}, {self.catalogue:,} items"
        if self.routing:
            yield (
                f"router: busiest expert {self.routing['largest_share']:.1%} of its layer's work, "
                f"{self.routing['mean_experts']:.2f} experts a token (budget {self.routing['budget']:g})"
            )
        speed = (
            f"loaded at {store['events_per_second']:,.0f} events/s"
            if store["events_per_second"]
            else "loaded by an earlier run"
        )
        yield (
            f"store: {store['users']:,} users, {store['events']:,} events, {speed}, "
            f"{store['bytes_an_event']:.0f} bytes an event"
        )

    def table(self) -> Table:
        """A row a load."""
        table = Table(box=None, header_style="bold")
        numbers = ("offered/s", "answered/s", "p50 ms", "p90", "p99", "p99.9", "fallbacks")
        for heading in ("load", "by", "mix", *numbers, "errors", "CPU us a request"):
            table.add_column(
                heading, justify="right" if heading in numbers else "left", no_wrap=True
            )
        for load in [*self.loads, *([self.ceiling] if self.ceiling else [])]:
            table.add_row(*_cells(load))
        return table

    def notes(self) -> Iterator[str]:
        """What the table does not say, in sentences."""
        yield from self.plan.rules()
        if self.warm_up:
            yield (
                f"warm-up: {self.warm_up['users']:,} users of the skewed part asked once, the most frequent "
                f"last ({self.warm_up['seconds']:.0f} s), then a load that is not counted"
            )
        if self.ceiling is not None and self.ceiling_ratio is not None:
            yield (
                f"ceiling: {self.ceiling.per_second:,.0f} constant answers of {self.answer_bytes:.0f} bytes "
                f"a second from a bare application; the service reaches {self.ceiling_ratio:.1%} of it"
            )
        if self.freshness is not None:
            fresh = self.freshness
            yield (
                f"a fresh event under half the load: in the answers {fresh.p50_ms:.1f} ms (p50), "
                f"{fresh.p99_ms:.1f} ms (p99) after its acknowledgement, by the first answer in "
                f"{fresh.at_once} of {fresh.events}, never in {fresh.never}"
            )
        yield from self._memory()
        if self.form and self.content:
            yield (
                f"answers: {self.form.lists} lists under load looked at, {self.form.wrong} of a wrong form; "
                f"{self.content.lists} fresh ones compared with the model's own code: {self.content.equal} "
                f"equal, {self.content.close} within {self.content.tolerance:g}, "
                f"{self.content.different} different"
            )

    def _memory(self) -> Iterator[str]:
        if not self.loads:
            return
        first = self.loads[0]
        most = {name: max(load.rss_bytes[name] for load in self.loads) for name in first.rss_bytes}
        sizes = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in most.items())
        yield f"memory, the most after any of the loads: {sizes}"
        for engine in first.engine:
            if facts := ", ".join([*_hit_rates(first, engine), *_arena(first, engine)]):
                yield f"{engine}, {first.name} {first.mix[0]}:{first.mix[1]}: {facts}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "machine": self.machine,
            "versions": versions(),
            "plan": self.plan.to_dict(),
            "rules": self.plan.rules(),
            "model": {
                "version": self.model_version,
                "items": self.catalogue,
                "routing": self.routing,
            },
            "store": self.store,
            "warm_up": self.warm_up,
            "loads": [load.to_dict() for load in self.loads],
            "ceiling": self.ceiling.to_dict() if self.ceiling else None,
            "ceiling_ratio": self.ceiling_ratio,
            "answer_bytes": self.answer_bytes,
            "freshness": self.freshness.to_dict() if self.freshness else None,
            "form": self.form.to_dict() if self.form else None,
            "content": self.content.to_dict() if self.content else None,
            "faults": self.faults,
        }

    def write_json(self, path: Path) -> None:
        """StorageError if the disk refuses."""
        write_file(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())


def _hit_rates(load: Measured, engine: str) -> Iterator[str]:
    """Of the lists of a load: how often the user's state was at hand, and how often the vector was."""
    work = load.engine_work[engine]
    for name, hit, missed in (
        ("arena", "states_hot", "states_read"),
        ("memo", "answers_memo", "answers_computed"),
    ):
        if asked := work.get(hit, 0) + work.get(missed, 0):
            yield f"{name} hit rate {work[hit] / asked:.1%}"


def _arena(load: Measured, engine: str) -> Iterator[str]:
    """What the states of hot users take afterwards; nothing where none are kept."""
    said = load.engine[engine].get("counters", {})
    if slots := said.get("slots"):
        used, limit = said["arena_used_bytes"], said["arena_limit_bytes"]
        yield f"arena {used / 2**20:,.0f} of {limit / 2**20:,.0f} MiB"
        yield f"{limit / slots:,.0f} bytes a hot user"


def _cells(load: Measured) -> list[str]:
    times = [load.percentiles_ms.get(name) for name in ("p50", "p90", "p99", "p99.9")]
    errors = ", ".join(f"{count} {kind}" for kind, count in load.errors.items())
    return [
        load.name,
        load.generator,
        f"{load.mix[0]}:{load.mix[1]}",
        "-" if load.rate is None else f"{load.rate:,.0f}",
        f"{load.per_second:,.0f}",
        *("-" if time is None else f"{time:.1f}" for time in times),
        f"{load.counters['fallbacks']:.0f}" if "fallbacks" in load.counters else "-",
        errors or "0",
        ", ".join(f"{name} {spent:.0f}" for name, spent in load.cpu_us.items()),
    ]
