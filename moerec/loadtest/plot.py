"""Latency against rate, as a picture."""

import importlib.util
from pathlib import Path
from typing import Final

from moerec.artifacts.files import storage_error
from moerec.errors import UsageError
from moerec.loadtest.report import Report

SHOWN: Final = ("p50", "p90", "p99", "p99.9")


def require_matplotlib() -> None:
    """UsageError where it is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--plot needs matplotlib, which is not installed.",
            "Install it: pip install 'moerec[report]'",
        )


def write_plot(path: Path, report: Report) -> None:
    """The open loops of a report: latencies in ms over requests a second. The file's ending says which
    kind of picture; UsageError for one that there is not, StorageError if the disk refuses."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    loads = [load for load in report.loads if load.percentiles_ms]
    rates = [load.rate for load in loads if load.rate is not None]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name in SHOWN:
        times = [load.percentiles_ms[name] for load in loads if load.rate is not None]
        axes.plot(rates, times, marker="o", label=name)
    axes.set_xlabel("requests offered a second")
    axes.set_ylabel("latency from the due time, ms")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend()
    reads, events = report.plan.mix
    axes.set_title(
        f"{report.catalogue:,} items, {report.store['users']:,} users, reads:events {reads}:{events}",
        fontsize=10,
    )
    try:
        figure.savefig(path)
    except ValueError as error:
        raise UsageError(f"--plot {path}: {error}", "Name a file like latency.png.") from error
    except OSError as error:
        raise storage_error(error, path) from error
