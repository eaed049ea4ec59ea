"""The printed proof: three requests, really made, and what came back. It asserts what it claims."""

import json

from moerec.errors import ServiceError
from moerec.process.demo.display import Display
from moerec.process.demo.viewer import Listing, Viewer
from moerec.types import ItemId

LENGTH = 5


def prove(viewer: Viewer, film: ItemId, display: Display) -> Listing:
    """Unknown viewer, one event, changed list; returns that list. Raises ServiceError if a claim fails."""
    url = viewer.rest.url
    asking = f"curl -s '{url}{viewer.list_path(LENGTH)}'"
    display.heading("1. Nobody knows this viewer: popular films, and the answer says why")
    display.command(asking)
    before = viewer.ask(LENGTH)
    display.listing(before)
    display.footer(before)
    _claim(_code(before) == "unknown_user", f"the unknown viewer's fallback is {_code(before)}")

    display.heading(f"2. The viewer watches {display.name(film)}")
    body = json.dumps(viewer.event(film))
    display.command(f"curl -s '{url}/v1/events' -H 'Content-Type: application/json' -d '{body}'")
    stored = viewer.watch(film)
    display.say(f"   {json.dumps(stored.body)}")
    display.say(f"   {stored.ms:.1f} ms, durable before it was answered", "dim")

    display.heading("3. The same question again: the model has taken over")
    display.command(asking)
    after = viewer.ask(LENGTH)
    display.listing(after, before.item_ids)
    display.footer(after)
    _claim(after.fallback is None, f"the list is still a fallback ({_code(after)})")
    _claim(after.item_ids != before.item_ids, "the list did not change")
    _claim(film not in after.item_ids, "the film that was watched is in the list")
    return after


def _code(listing: Listing) -> str | None:
    return listing.fallback["code"] if listing.fallback else None


def _claim(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ServiceError(f"The proof failed: {otherwise}.", "Please report this, with serve.log.")
