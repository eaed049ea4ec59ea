"""The plots, as SVG that takes its colours and fonts from the page around it.

Matplotlib knows no CSS variables. It draws with placeholder colours, which `_svg` replaces by
variables: so one drawing serves the light and the dark page. Legends are the page's own, so that names
of any length fit and are escaped; no text from a log or an item file is drawn.
"""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from moerec.evaluation.page.parts import Figure, Key

INK: Final = "#0000f0"
MUTED: Final = "#0000f1"
GRID: Final = "#0000f2"
SERIES: Final = tuple(f"#0000a{number}" for number in range(8))
LINES: Final = ("solid", "dashed", "dotted")
VARIABLES: Final = {INK: "ink", MUTED: "muted", GRID: "grid"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "lines.linewidth": 1.8,
}
TICKS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000, 1_000_000)
"""Of an axis over ranks."""

WIDTH: Final = 8.2
"""Inches; as wide as the page's column, so that 9 points stay 9 points."""

Curves = Mapping[str, NDArray[np.floating]]


def learning_curves(
    loss: Sequence[float], ndcg: Sequence[float | None], experts: Sequence[float], best: int
) -> Figure:
    """By epoch, from 1; `best` is the epoch whose weights were kept."""
    epochs = np.arange(1, len(loss) + 1)
    validation = np.array([np.nan if value is None else value for value in ndcg], dtype=float)
    panels = (
        ("training loss (nats)", np.asarray(loss)),
        ("validation NDCG@10", validation),
        ("experts a token", np.asarray(experts)),
    )

    def draw(axes: Sequence[Axes]) -> None:
        for axis, (title, values), colour in zip(axes, panels, SERIES, strict=False):
            axis.plot(epochs, values, color=colour, marker="o", markersize=3.5)
            axis.axvline(best, color=MUTED, linewidth=1, linestyle=":")
            axis.set_title(title)
            axis.set_xlabel("epoch")
            axis.set_xticks(_whole_ticks(len(epochs)))
            axis.margins(y=0.15)
        _widen(axes[2], 0.5)

    label = "Training loss, validation NDCG@10 and experts a token, by epoch"
    return _figure("learning", label, draw, columns=3, height=2.5)


def hit_rate_curves(curves: Curves, k: NDArray[np.int64]) -> Figure:
    """HR@k over k, a line for each recommender."""

    def draw(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        for number, values in enumerate(curves.values()):
            axis.plot(k, values, **_line(number))
        axis.set_xscale("log")
        ticks = [tick for tick in TICKS if tick <= k[-1]]
        axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.set_ylim(0, None)
        axis.set_xlabel("k (logarithmic)")
        axis.set_ylabel("share of targets within the first k")

    label = "Share of targets within the first k places, by recommender"
    return _figure("ranks", label, draw, legend=_legend(curves))


def grouped_bars(groups: Sequence[str], values: Curves, xlabel: str, ylabel: str) -> Figure:
    """A bar for each group and name, as wide as there is room for."""
    width = 0.84 / max(len(values), 1)

    def draw(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        places = np.arange(len(groups))
        for number, heights in enumerate(values.values()):
            left = places - 0.42 + (number + 0.5) * width
            colour = SERIES[number % len(SERIES)]
            axis.bar(left, heights, width * 0.92, color=colour)
        axis.set_xticks(places, groups)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)

    legend = _legend(values, lines=False)
    return _figure(_slug(ylabel + xlabel), f"{ylabel} by {xlabel}", draw, legend=legend)


def heat_map(shares_LE: NDArray[np.float64]) -> Figure:
    """Share of each layer's work by expert; the fuller the colour, the larger the share."""
    layers, experts = shares_LE.shape
    written = experts <= 16

    def draw(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        for layer in range(layers):
            for expert in range(experts):
                share = float(shares_LE[layer, expert])
                # Twice the even share is the full colour.
                strength = min(share * experts / 2, 1.0)
                axis.barh(
                    layer, 0.96, 0.92, expert - 0.48, color=SERIES[0], alpha=0.06 + 0.64 * strength
                )
                if written:
                    axis.text(expert, layer, f"{share:.1%}", ha="center", va="center", color=INK)
        axis.set_xticks(range(experts), [f"E{expert + 1}" for expert in range(experts)])
        axis.set_yticks(range(layers), [f"layer {layer + 1}" for layer in range(layers)])
        axis.set_ylim(layers - 0.5, -0.5)
        axis.set_xlim(-0.55, experts - 0.45)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)

    label = "Heat map: each expert's share of its layer's work"
    return _figure("load", label, draw, height=0.6 + 0.42 * layers)


def experts_by_difficulty(
    experts_LD: NDArray[np.float64], k_shares_LK: NDArray[np.float64]
) -> Figure:
    """Left: mean experts of each tenth of the tokens, by loss. Right: how many tokens woke k experts."""
    deciles = np.arange(1, experts_LD.shape[1] + 1)
    woken = [k for k in range(k_shares_LK.shape[1]) if k_shares_LK[:, k].any()]
    width = 0.8 / len(k_shares_LK)

    def draw(axes: Sequence[Axes]) -> None:
        left, right = axes
        for layer, experts_D in enumerate(experts_LD):
            left.plot(deciles, experts_D, marker="o", **_line(layer))
            places = np.arange(len(woken)) - 0.4 + (layer + 0.5) * width
            colour = SERIES[layer % len(SERIES)]
            right.bar(places, k_shares_LK[layer, woken], width * 0.92, color=colour)
        left.set_title("mean experts awake")
        left.set_xlabel("tenth of the events by loss (1: the easiest)")
        left.set_xticks(deciles)
        left.margins(y=0.2)
        _widen(left, 0.5)
        right.set_title("share of events")
        right.set_xlabel("experts awake")
        right.set_xticks(range(len(woken)), [str(k) for k in woken])
        right.grid(axis="x", visible=False)

    label = "Mean number of experts by tenth of the loss, and how many events woke how many experts"
    legend = _legend([f"layer {layer + 1}" for layer in range(len(experts_LD))])
    return _figure("difficulty", label, draw, columns=2, ratios=(5, 3), legend=legend)


def decile_lines(curves: Curves, reference: NDArray[np.float64], name: str) -> Figure:
    """Share of what is shown by popularity decile, a line for each recommender and for a reference."""

    def draw(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        deciles = np.arange(1, len(reference) + 1)
        axis.plot(deciles, reference, color=INK, linewidth=5, alpha=0.3, solid_capstyle="round")
        for number, values in enumerate(curves.values()):
            axis.plot(deciles, values, marker="o", **_line(number))
        axis.set_xticks(deciles)
        axis.set_ylim(0, None)
        axis.set_xlabel("tenth of the catalogue (1: the most popular items)")
        axis.set_ylabel("share of places")

    legend = [*_legend(curves), Key(name, "muted", "solid", width=6)]
    label = "Share of list places by popularity decile"
    return _figure("popularity", label, draw, legend=legend)


def reliability(
    predicted_B: NDArray[np.float64], observed_B: NDArray[np.float64], count_B: NDArray[np.int64]
) -> Figure:
    """Observed share over predicted probability; a larger dot has more predictions."""

    def draw(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        axis.plot(predicted_B, observed_B, color=SERIES[0])
        axis.scatter(predicted_B, observed_B, 20 + 180 * count_B / count_B.max(), color=SERIES[0])
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("predicted probability of liked")
        axis.set_ylabel("share that was liked")

    return _figure("calibration", "Observed share of liked by predicted probability", draw)


def _figure(
    name: str,
    label: str,
    draw: Callable[[Sequence[Axes]], None],
    *,
    columns: int = 1,
    height: float = 3.0,
    ratios: Sequence[float] | None = None,
    legend: Sequence[Key] = (),
) -> Figure:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
        grid = canvas.subplots(1, columns, squeeze=False, width_ratios=ratios)
        draw(list(grid[0]))
        file = io.StringIO()
        canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return Figure(_svg(file.getvalue()), label, legend)


def _svg(text: str) -> str:
    """The drawing alone, without what belongs to a file of its own or would leak into the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    return re.sub(r"#0000[af]\d", lambda found: f"var(--{VARIABLES[found[0]]})", text)


def _line(number: int) -> dict[str, Any]:
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": LINES[number % len(LINES)],
        "markersize": 3.5,
        # The model is drawn first and must not lie under its baselines.
        "zorder": 3 - number / 100,
    }


def _legend(names: Iterable[str], *, lines: bool = True) -> list[Key]:
    """Keys in the order of drawing; those of bars are `lines=False`."""
    return [
        Key(
            name,
            VARIABLES[SERIES[number % len(SERIES)]],
            LINES[number % len(LINES)] if lines else "solid",
        )
        for number, name in enumerate(names)
    ]


def _widen(axis: Axes, span: float) -> None:
    """Let the axis span so much at least: a difference that is nothing must not look like one."""
    low, high = axis.get_ylim()
    if high - low < span:
        middle = (low + high) / 2
        axis.set_ylim(middle - span / 2, middle + span / 2)


def _whole_ticks(last: int) -> list[int]:
    """At most eight ticks from 1 to `last`."""
    return list(range(1, last + 1, -(-last // 8)))


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text)
