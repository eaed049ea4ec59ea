"""The experts in a few lines, for a terminal."""

from collections.abc import Iterator

from rich.table import Table

from moerec.evaluation.routing import RoutingReport


def routing_table(routing: RoutingReport) -> Table:
    """A row a layer: how many experts a token wakes, who is overloaded, who is dead."""
    title = f"experts: {routing.tokens:,} events routed"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("layer")
    counts = range(routing.k_counts_LK.shape[1])
    woken = [k for k in counts if routing.k_counts_LK[:, k].any()]
    for heading in ("mean k", *(f"k={k}" for k in woken), "busiest", "dead", "k~loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer, shares_E in enumerate(routing.shares_LE):
        dead = [f"E{expert}" for place, expert in routing.dead if place == layer + 1]
        table.add_row(
            str(layer + 1),
            f"{routing.mean_k_L[layer]:.3f}",
            *(f"{routing.k_counts_LK[layer, k] / routing.tokens:.1%}" for k in woken),
            f"E{int(shares_E.argmax()) + 1} {shares_E.max():.1%}",
            ",".join(dead) or "none",
            correlation(routing.difficulty.spearman_L[layer]),
        )
    return table


def routing_notes(routing: RoutingReport) -> Iterator[str]:
    """What the columns' last one means, and what stands out most of each kind."""
    yield (
        "k~loss: rank correlation of the experts a token wakes with its loss; all layers "
        f"{correlation(routing.difficulty.spearman)}, held-out events "
        f"{correlation(routing.held_out.spearman)}"
    )
    for table in routing.specialisations:
        found = [table.strongest(layer) for layer in range(len(routing.load_LE))]
        parts = [
            f"layer {layer} E{one[0] + 1} x{one[2]:.2f} for {one[1]}"
            for layer, one in enumerate(found, start=1)
            if one is not None
        ]
        if parts:
            yield f"most special by {table.attribute}: {'; '.join(parts)}"


def correlation(value: float | None) -> str:
    """Two digits and a sign; "none" where there is no correlation to speak of."""
    return "none" if value is None else f"{value:+.2f}"
