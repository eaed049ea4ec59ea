"""What a page is made of: sections of sentences, figures and tables. Plain text, escaped when written."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """A place of a table. `heat` in [-1, 1] colours it: above 0 in one colour, below in another."""

    text: str
    heat: float | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` begin with their heading. With `folded` a reader unfolds it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: `colour` a variable of the style sheet, `line` a CSS border style, `width` px."""

    name: str
    colour: str
    line: str
    width: int = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """`svg` is markup that the plotting library made; `label` says to those who cannot see what it is."""

    svg: str
    label: str
    legend: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """* `shows` and `good`: a sentence each, what is to be seen and what it looks like when all is well;
    * `finding`: what this bundle's figures say; `well` whether that is good news (None: neither)."""

    key: str
    title: str
    shows: str
    good: str
    finding: str = ""
    well: bool | None = None
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


def cells(*texts: str | int | float) -> list[Cell]:
    """A row: whole numbers with commas, others with four digits."""
    return [Cell(shown(text)) for text in texts]


def shown(value: str | int | float) -> str:
    """A value as a table shows it."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
