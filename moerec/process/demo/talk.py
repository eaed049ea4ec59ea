"""The conversation after the proof: type a film, see the list move."""

from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex

from moerec.errors import ServiceError
from moerec.process.demo.display import Display
from moerec.process.demo.titles import TitleSearch
from moerec.process.demo.viewer import Listing, Viewer
from moerec.types import ItemId, UserId

LENGTH = 10
DEPTH = 100
"""Places of a list that are asked for, so that a film's way up from far below is seen too."""

HELP = "Type a film to watch it, or: list, similar FILM, new (another viewer), quit"

ReadLine = Callable[[], str | None]
"""The next line that was typed, None at the end."""


def new_user_id() -> UserId:
    """A viewer that nobody has met."""
    return UserId(f"guest-{token_hex(3)}")


class Talk:
    """One conversation. `shown` are the films that a number picks from: suggestions, or else the list."""

    def __init__(self, viewer: Viewer, search: TitleSearch, display: Display) -> None:
        self._viewer = viewer
        self._search = search
        self._display = display
        self._before: list[ItemId] | None = None
        self._shown: list[ItemId] = []

    def run(self, read_line: ReadLine) -> None:
        """Until `quit` or the end of the input."""
        self._display.heading(HELP)
        while (line := read_line()) is not None and line.strip().casefold() not in (
            "quit",
            "exit",
            "q",
        ):
            try:
                self._obey(line.strip())
            except ServiceError as error:
                self._display.say(str(error), "red")

    def _obey(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        match verb.casefold(), rest.strip():
            case "", "":
                return
            case (("help" | "?"), ""):
                self._display.say(HELP)
            case "list", "":
                self._show_list(self._viewer.ask(DEPTH))
            case "new", "":
                self._viewer = replace(self._viewer, user_id=new_user_id())
                self._before = None
                self._display.say(f"You are {self._viewer.user_id} now.")
                self._show_list(self._viewer.ask(DEPTH))
            case "similar", film if film:
                self._with_film(film, self._show_similar)
            case _:
                self._with_film(line, self._watch)

    def _with_film(self, typed: str, action: Callable[[ItemId], None]) -> None:
        """Do `action` with the film that was meant, or ask which one it was."""
        if typed.isdecimal() and 1 <= int(typed) <= len(self._shown):
            action(self._shown[int(typed) - 1])
            return
        found = self._search.find(typed)
        if len(found) == 1:
            action(found[0])
        elif found:
            self._shown = found
            self._display.say("Which one? Type its number.")
            for number, item_id in enumerate(found, start=1):
                self._display.say(f" {number:>2}  {self._display.name(item_id)}")
        else:
            self._display.say(f"No film here is called {typed!r} or nearly so.", "yellow")

    def _watch(self, item_id: ItemId) -> None:
        if self._before is None:
            self._before = self._viewer.ask(DEPTH).item_ids
        stored = self._viewer.watch(item_id)
        self._display.say(f"Watched {self._display.name(item_id)}, stored in {stored.ms:.1f} ms.")
        self._show_list(self._viewer.ask(DEPTH))

    def _show_list(self, listing: Listing) -> None:
        self._display.listing(listing, self._before, LENGTH)
        self._display.footer(listing)
        self._before = listing.item_ids
        self._shown = listing.item_ids[:LENGTH]

    def _show_similar(self, item_id: ItemId) -> None:
        listing = self._viewer.similar(item_id, LENGTH)
        self._display.say(f"Near to {self._display.name(item_id)}:")
        self._display.listing(listing)
        self._display.footer(listing)
        self._shown = listing.item_ids
