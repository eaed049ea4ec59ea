"""The experts on a terminal, with a dead one and a fixed number of them."""

import numpy as np
from rich.console import Console

from moerec.evaluation.difficulty import difficulty
from moerec.evaluation.routing import RoutingReport
from moerec.evaluation.routing_table import routing_notes, routing_table
from moerec.evaluation.specialisation import Specialisation

LOAD = np.array([[60, 0, 100, 40], [50, 50, 50, 50]])
TOP_2 = np.full((2, 100), 2, np.int8)
LOSS = np.arange(100, dtype=np.float32)
REPORT = RoutingReport(
    tokens=100,
    load_LE=LOAD,
    k_counts_LK=np.array([[0, 0, 100, 0, 0]] * 2),
    difficulty=difficulty(TOP_2, LOSS),
    held_out=difficulty(TOP_2[:, :0], LOSS[:0]),
    specialisations=[
        Specialisation(
            "category", ["[red]"], np.array([50]), np.array([[[45, 0, 40, 15]]] * 2), LOAD / 100
        )
    ],
)


def test_the_table() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(routing_table(REPORT))
    lines = captured.get().splitlines()
    assert lines[0].startswith("experts: 100 events routed")
    assert lines[1].split() == ["layer", "mean", "k", "k=2", "busiest", "dead", "k~loss"]
    assert lines[2].split() == ["1", "2.000", "100.0%", "E3", "50.0%", "E2", "none"]
    assert lines[3].split() == ["2", "2.000", "100.0%", "E1", "25.0%", "none", "none"]


def test_the_notes() -> None:
    correlation, special = routing_notes(REPORT)
    assert correlation.endswith("all layers none, held-out events none")
    assert special == (
        "most special by category: layer 1 E1 x1.50 for [red]; layer 2 E1 x1.80 for [red]"
    )
