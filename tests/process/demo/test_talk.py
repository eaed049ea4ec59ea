"""The conversation: what is typed, what is sent, what is shown."""

import io

import pytest
from rich.console import Console

from moerec.process.demo.display import Display
from moerec.process.demo.talk import Talk
from moerec.process.demo.titles import TitleSearch
from moerec.process.demo.viewer import Viewer
from moerec.types import ItemId
from tests.process.demo.conftest import FILMS, FakeGateway

NAMES = {ItemId(film): f"{film.title()} (19{number}0)" for number, film in enumerate(FILMS)}


class Conversation:
    """Types lines, keeps what is printed."""

    def __init__(self, viewer: Viewer) -> None:
        self.output = io.StringIO()
        self._display = Display(Console(file=self.output, width=100), NAMES)
        self._talk = Talk(viewer, TitleSearch(NAMES), self._display)

    def type(self, *lines: str) -> str:
        waiting = iter(lines)
        self._talk.run(lambda: next(waiting, None))
        return self.output.getvalue()


@pytest.fixture
def conversation(viewer: Viewer) -> Conversation:
    return Conversation(viewer)


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_film_is_watched_and_the_list_moves(
    conversation: Conversation, gateway: FakeGateway, viewer: Viewer
) -> None:
    text = conversation.type("heat\n", "\n", "alien\n")
    assert gateway.watched == {viewer.user_id: ["heat", "alien"]}
    assert "Watched Heat (1920), stored in " in text
    assert "1 Up (1960) ▲6" in rows(text)
    assert "3 Solaris (1940) ▲2" in rows(text)
    assert "6 Alien (1900) ▼5" in rows(text)
    assert "experts awake: layer 1: 0 3; layer 2: 1 2 5" in text


def test_numbers_pick_from_suggestions_and_from_the_list(
    conversation: Conversation, gateway: FakeGateway, viewer: Viewer
) -> None:
    text = conversation.type("al", "2", "list", "1")
    assert "Which one? Type its number." in text
    assert gateway.watched == {viewer.user_id: ["aliens", "up"]}


def test_unknown_films_are_told(conversation: Conversation, gateway: FakeGateway) -> None:
    assert "No film here is called 'zzzzzz' or nearly so." in conversation.type("zzzzzz", "99")
    assert gateway.watched == {}


def test_a_refused_event_does_not_end_the_conversation(
    conversation: Conversation, gateway: FakeGateway
) -> None:
    gateway.rejects = True
    assert "no such thing" in conversation.type("heat", "list")
    assert gateway.requests[-1].startswith("GET")


def test_similar_films_do_not_change_the_viewer(
    conversation: Conversation, gateway: FakeGateway
) -> None:
    text = conversation.type("similar heat", "similar nothing at all")
    assert "Near to Heat (1920):" in text
    assert "3 Ran (1930)" in rows(text)
    assert gateway.watched == {}


def test_a_new_viewer_begins_with_popular_films(
    conversation: Conversation, gateway: FakeGateway, viewer: Viewer
) -> None:
    text = conversation.type("heat", "new", "up")
    assert "unknown_user: because" in text
    first, second = gateway.watched
    assert first == viewer.user_id
    assert second.startswith("guest-")
    assert gateway.watched[second] == ["up"]


@pytest.mark.parametrize("end", ["quit", "EXIT", " q \n"])
def test_it_ends_when_asked(conversation: Conversation, gateway: FakeGateway, end: str) -> None:
    conversation.type("help", end, "heat")
    assert gateway.watched == {}


def test_a_terminal_without_unicode_gets_plain_signs(viewer: Viewer) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    talk = Talk(viewer, TitleSearch(NAMES), Display(Console(file=file, width=100), NAMES))
    lines = iter(["heat"])
    talk.run(lambda: next(lines, None))
    file.flush()
    assert "1 Up (1960) +6" in rows(raw.getvalue().decode("ascii"))
