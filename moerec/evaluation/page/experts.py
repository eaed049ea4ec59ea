"""The page's sections about the model itself: how it learned, and how its experts are used."""

from dataclasses import replace

import numpy as np

from moerec.artifacts.bundle import Bundle
from moerec.evaluation.page import plots
from moerec.evaluation.page.parts import Cell, Section, Table, cells
from moerec.evaluation.routing import LARGEST_FAIR_SHARE, RoutingReport
from moerec.evaluation.routing_table import correlation
from moerec.evaluation.specialisation import Specialisation


def learning(bundle: Bundle) -> Section:
    """How the training went, epoch by epoch, from the bundle's manifest."""
    records = bundle.manifest.training.get("epoch_records", [])
    section = Section(
        key="learning",
        title="How did it learn?",
        shows="Loss on the training events, quality on the validation events, and experts that a token woke, "
        "after each epoch; the dotted line is the epoch whose weights were kept.",
        good="Loss falls, validation rises and levels off, and the experts a token stay near their budget.",
    )
    if not records:
        return replace(section, finding="This bundle does not say how its training went.")
    best = bundle.manifest.training["best_epoch"]
    stopped = " Validation was still rising: more epochs may help." if best == len(records) else ""
    columns = ("loss", "ndcg", "hit_rate", "mean_experts", "largest_share")
    values = [[record[name] for name in columns] for record in records]
    loss, ndcg, _, experts, _ = zip(*values, strict=True)
    return replace(
        section,
        finding=f"Epoch {best} of {len(records)} was kept; the budget is "
        f"{bundle.config.get('mean_experts')} experts a token.{stopped}",
        figures=[plots.learning_curves(loss, ndcg, experts, best)],
        tables=[
            Table(
                "Figures by epoch",
                ["epoch", "loss", "NDCG@10", "HR@10", "experts a token", "largest share"],
                [
                    cells(str(epoch), *("" if value is None else value for value in row))
                    for epoch, row in enumerate(values, start=1)
                ],
            )
        ],
    )


def load(routing: RoutingReport) -> Section:
    """Who does the work."""
    shares_LE = routing.shares_LE
    experts = shares_LE.shape[1]
    dead = ", ".join(f"expert {expert} of layer {layer}" for layer, expert in routing.dead)
    layer, expert = np.unravel_index(int(shares_LE.argmax()), shares_LE.shape)
    well = not dead and shares_LE.max() <= LARGEST_FAIR_SHARE
    return Section(
        key="load",
        title="Who does the work?",
        shows=f"The share of each layer's work that each expert does, over {routing.tokens:,} events.",
        good=f"All squares look alike: {1 / experts:.1%} is even, no expert above {LARGEST_FAIR_SHARE:.0%}, "
        "none at 0.",
        finding=f"{f'Dead: {dead}.' if dead else 'No expert is dead.'} The busiest is expert {expert + 1} of "
        f"layer {layer + 1}, with {shares_LE.max():.1%} of its layer's work.",
        well=bool(well),
        figures=[plots.heat_map(shares_LE)],
        tables=[
            Table(
                "Events that woke the expert",
                ["layer", *(f"E{expert + 1}" for expert in range(experts))],
                [cells(str(layer + 1), *row) for layer, row in enumerate(routing.load_LE.tolist())],
            )
        ],
    )


def difficulty(routing: RoutingReport) -> Section:
    """Do hard events wake more experts?"""
    found, held_out = routing.difficulty, routing.held_out
    layers = len(routing.mean_k_L)
    decile_rows = [
        cells(str(decile + 1), float(loss), *map(float, found.experts_LD[:, decile]))
        for decile, loss in enumerate(found.loss_D)
    ]
    layer_rows = [
        [
            *cells(str(layer + 1), float(routing.mean_k_L[layer])),
            Cell(correlation(found.spearman_L[layer])),
            Cell(correlation(held_out.spearman_L[layer])),
            *(Cell(f"{count / routing.tokens:.1%}") for count in routing.k_counts_LK[layer, 1:]),
        ]
        for layer in range(layers)
    ]
    most = routing.k_counts_LK.shape[1] - 1
    return Section(
        key="difficulty",
        title="Do hard events wake more experts?",
        shows="The mean number of experts awake, for tenths of the events by how surprising the next item "
        "was (its cross entropy), and how many events woke how many.",
        good="If the router spends its budget on hard events, the lines climb to the right and Spearman's "
        "correlation is clearly above 0.",
        finding=f"Spearman's correlation of experts and loss is {correlation(found.spearman)} over "
        f"{found.tokens:,} events within the histories, most of which were trained on, and "
        f"{correlation(held_out.spearman)} over the {held_out.tokens:,} held-out ones.",
        figures=[
            plots.experts_by_difficulty(found.experts_LD, routing.k_counts_LK / routing.tokens)
        ],
        tables=[
            Table(
                "Mean experts by tenth of the loss",
                ["tenth", "mean loss (nats)", *(f"layer {layer + 1}" for layer in range(layers))],
                decile_rows,
            ),
            Table(
                "Experts awake and correlation with the loss",
                ["layer", "mean", "Spearman", "held-out", *(f"k = {k + 1}" for k in range(most))],
                layer_rows,
            ),
        ],
    )


def specialisation(routing: RoutingReport) -> Section:
    """What each expert is for."""
    layers = len(routing.load_LE)
    return Section(
        key="specialisation",
        title="What do experts specialise in?",
        shows="How much more often than on average an expert is awake for a kind of event (lift: 2 is twice "
        "as often, 1 is no preference).",
        good="Strong colours, different ones in each column: experts that divide the work by meaning. An "
        "expert whose column is pale does the same as everybody.",
        finding=" ".join(_outstanding(table) for table in routing.specialisations),
        tables=[
            _lift_table(table, layer)
            for table in routing.specialisations
            for layer in range(layers)
        ],
    )


def _outstanding(table: Specialisation) -> str:
    found = [(layer, table.strongest(layer)) for layer in range(len(table.rate_LE))]
    known = [(one[2], layer, one) for layer, one in found if one is not None]
    if not known:
        return ""
    lift, layer, (expert, value, _) = max(known)
    return (
        f"By {table.attribute}: expert {expert + 1} of layer {layer + 1} is awake {lift:.1f} times as often "
        f'as on average for "{value}".'
    )


def _lift_table(table: Specialisation, layer: int) -> Table:
    rows = []
    for value, tokens, lift_E in zip(
        table.values, table.tokens_A.tolist(), table.lift_LAE[layer], strict=True
    ):
        if tokens:
            rows.append([*cells(value, tokens), *(_lift_cell(float(lift)) for lift in lift_E)])
    experts = table.rate_LE.shape[1]
    return Table(
        f"Lift by {table.attribute}, layer {layer + 1}",
        [table.attribute, "events", *(f"E{expert + 1}" for expert in range(experts))],
        rows,
        folded=False,
    )


def _lift_cell(lift: float) -> Cell:
    """Full colour at four times, or a quarter of, the average."""
    if np.isnan(lift):
        return Cell("-")
    return Cell(f"{lift:.2f}", heat=float(np.clip(np.log2(max(lift, 1e-9)) / 2, -1, 1)))
