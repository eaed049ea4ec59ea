"""How the demo looks, on a terminal and in a file."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moerec.process.demo.titles import movements
from moerec.process.demo.viewer import Listing
from moerec.types import ItemId


class Display:
    """Prints lists and sentences. `names` are the films' titles with their years."""

    def __init__(self, console: Console, names: Mapping[ItemId, str]) -> None:
        self.console = console
        self._names = names
        encoding = console.encoding.lower()
        self._up, self._down = ("▲", "▼") if encoding.startswith("utf") else ("+", "-")

    def name(self, item_id: ItemId) -> str:
        """A film's title and year."""
        return self._names.get(item_id, item_id)

    def say(self, text: str, style: str = "") -> None:
        """One line, as it is: nothing in it is markup."""
        self.console.print(Text(text, style), soft_wrap=True)

    def heading(self, text: str) -> None:
        """A line that begins something."""
        self.console.print()
        self.say(text, "bold")

    def command(self, text: str) -> None:
        """A line that the reader may copy into a shell."""
        self.say(f"$ {text}", "cyan")

    def listing(
        self, listing: Listing, before: Sequence[ItemId] | None = None, length: int | None = None
    ) -> None:
        """The first `length` of a list; with `before`, the list it replaces, each film's movement too."""
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 1))
        table.add_column(justify="right", style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis")
        shown = listing.item_ids[:length]
        moves = movements(before, shown) if before is not None else None
        for place, item_id in enumerate(shown):
            movement = [self._movement(moves[place])] if moves else []
            table.add_row(str(place + 1), Text(self.name(item_id)), *movement)
        self.console.print(table)

    def footer(self, listing: Listing) -> None:
        """What it took to make the list: milliseconds and experts, or why it is a fallback."""
        engine = f", {listing.engine_ms:.1f} of them in the engine" if listing.engine_ms else ""
        self.say(f"   {listing.ms:.1f} ms{engine}{_experts(listing.experts)}", "dim")
        if listing.fallback is not None:
            self.say(f"   {listing.fallback['code']}: {listing.fallback['reason']}", "yellow")

    def _movement(self, move: int | None) -> Text:
        if move is None:
            return Text("new", "green")
        if move == 0:
            return Text("")
        return (
            Text(f"{self._up}{move}", "green") if move > 0 else Text(f"{self._down}{-move}", "red")
        )


def _experts(experts: Sequence[Sequence[int]]) -> str:
    if not experts:
        return ""
    layers = "; ".join(
        f"layer {layer}: {' '.join(map(str, awake))}"
        for layer, awake in enumerate(experts, start=1)
    )
    return f"; experts awake: {layers}"
