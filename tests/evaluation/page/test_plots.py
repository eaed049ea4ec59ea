"""Plots at the edges of what they may be given: nothing at all, one of everything, very much."""

import re

import numpy as np
import pytest

from moerec.evaluation.page import plots
from moerec.evaluation.page.parts import Figure

NONE = np.zeros((2, 0))
K_SHARES = np.array([[0, 0, 1.0], [0, 0, 1.0]])
MANY = {f"<name {number}>": np.linspace(0, 1, 40) for number in range(20)}
FIGURES = {
    "no token with a loss": lambda: plots.experts_by_difficulty(NONE, K_SHARES),
    "one epoch without validation": lambda: plots.learning_curves([5.0], [None], [2.0], 1),
    "a large catalogue": lambda: plots.hit_rate_curves(
        MANY, np.geomspace(1, 3_000_000, 40).astype(np.int64)
    ),
    "one item": lambda: plots.hit_rate_curves({"x": np.ones(1)}, np.ones(1, np.int64)),
    "one group": lambda: plots.grouped_bars(["1-5"], {"x": np.array([0.5])}, "events", "NDCG@10"),
    "one expert": lambda: plots.heat_map(np.ones((1, 1))),
    "many experts": lambda: plots.heat_map(np.full((4, 64), 1 / 64)),
    "one bin": lambda: plots.reliability(np.array([0.5]), np.array([1.0]), np.array([3])),
}


@pytest.mark.parametrize("case", FIGURES)
def test_it_is_drawn_without_a_warning(case: str) -> None:
    figure = FIGURES[case]()
    assert figure.svg.startswith("<svg viewBox=")
    assert figure.svg.rstrip().endswith("</svg>")
    assert "nan" not in figure.svg.lower()


def test_names_are_not_drawn() -> None:
    """They are the page's own text, so that they are escaped and fit."""
    figure = FIGURES["a large catalogue"]()
    assert "name" not in figure.svg
    assert [key.name for key in figure.legend] == list(MANY)
    # Twenty lines and eight colours: no two may look the same.
    assert len({(key.colour, key.line) for key in figure.legend}) == 20


def test_the_same_numbers_give_the_same_drawing() -> None:
    assert FIGURES["one group"]() == FIGURES["one group"]()


def heights(figure: Figure) -> list[float]:
    """Of the bars, in drawing units, in the order of drawing."""
    bars = re.findall(
        r'd="M [\d.]+ ([\d.]+) \nL [\d.]+ [\d.]+ \nL [\d.]+ ([\d.]+) [^"]*" clip-path', figure.svg
    )
    return [float(bottom) - float(top) for bottom, top in bars]


def test_bars_are_as_high_as_their_values() -> None:
    values = {"a": np.array([0.1, 0.2]), "b": np.array([0.3, 0.4])}
    found = np.array(heights(plots.grouped_bars(["x", "y"], values, "events", "NDCG@10")))
    assert len(found) == 4
    assert found / found[0] == pytest.approx([1, 2, 3, 4], rel=1e-4)
