"""What `peers.py` found, a row a service, as a table and as plain figures."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from _peer_checks import Checked

from moerec.loadtest.loads import Measured

OURS: Final = "moerec"


@dataclass(slots=True)
class Row:
    """What is known of one service. `tried` is requests a second by settings."""

    name: str
    versions: dict[str, str]
    settings: str
    checked: Checked
    tried: dict[str, float] = field(default_factory=dict)
    runs: list[Measured] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Median of the runs."""
        return statistics.median(run.per_second for run in self.runs)

    @property
    def middle(self) -> Measured:
        """The run of the median, the lower one of two."""
        return sorted(self.runs, key=lambda run: run.per_second)[(len(self.runs) - 1) // 2]

    @property
    def cpu_us(self) -> float:
        """Of a request, over all processes of the service, without the generator."""
        spent = self.middle.cpu_us
        return sum(cost for process, cost in spent.items() if process != "generator")

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        content = self.checked.content
        found = [f"{self.name}: {run.errors} under load" for run in self.runs if run.errors]
        if content.different:
            found.append(f"{self.name}: {content.different} of {content.lists} lists are wrong")
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "versions": self.versions,
            "settings": self.settings,
            "tried": self.tried,
            "checked": self.checked.to_dict(),
            "requests_per_second": self.per_second,
            "cpu_us": self.cpu_us,
            "runs": [run.to_dict() for run in self.runs],
        }


def best_peer(rows: Sequence[Row]) -> Row | None:
    """The fastest of the peers whose answers know of the last click."""
    peers = [row for row in rows if row.name != OURS and row.checked.knows_last_click]
    return max(peers, key=lambda row: row.per_second, default=None)


def show(rows: Sequence[Row]) -> None:
    """A Markdown table, and the ratio."""
    headings = (
        "", "settings", "requests/s, median", "least to most", "p50 ms", "p99 ms",
        "CPU us a request", "lists that took a click in", "lists as offline: equal, close, different",
    )  # fmt: skip
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for row in rows:
        speeds = [run.per_second for run in row.runs]
        times, content = row.middle.percentiles_ms, row.checked.content
        cells = (
            row.name, row.settings, f"{row.per_second:,.0f}",
            f"{min(speeds):,.0f} to {max(speeds):,.0f}", f"{times['p50']:.1f}", f"{times['p99']:.1f}",
            f"{row.cpu_us:,.0f}", f"{row.checked.moved} of {row.checked.clicks}",
            f"{content.equal}, {content.close}, {content.different}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    for row in rows:
        print(f"{row.name}: " + ", ".join(f"{key} {value}" for key, value in row.versions.items()))
    best, ours = best_peer(rows), rows[-1]
    if best is not None:
        ratio = ours.per_second / best.per_second
        print(f"{OURS} against {best.name}, whose answers know of the last click: {ratio:.2f}x")
