"""The use case of items that come and go: durable first, then this gateway, then the engines' lists."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from moerec.api.catalogue import Catalogue, categories_of, title_of
from moerec.api.errors import ApiError
from moerec.api.item_schemas import ItemChanged, ItemOut
from moerec.errors import EngineAwayError, EngineUnavailableError
from moerec.observability.logging import SparingLog
from moerec.observability.metrics import Metrics
from moerec.store.interfaces import ItemTable
from moerec.transport.client import EngineClient
from moerec.transport.frames import ItemsPush, ItemsReply
from moerec.types import ItemChange, ItemField, ItemId

logger = logging.getLogger(__name__)

LIVE_WITHIN_S: Final = 1.0
"""How long a change waits for the engines' lists before it is answered without them."""

ASK_AGAIN_S: Final = 0.002
"""Engines are asked again after so long, then twice as long, until `SELDOM_S`: most are ready at once."""

SELDOM_S: Final = 0.02
FOLLOW_S: Final = 1.0
"""How often the table is looked at for changes of other gateways."""

PAGE: Final = 200
"""Items may be large: a body of a PUT has a megabyte."""

OWN_FIELDS: Final = ("title", "categories")
"""Fields that stand beside the others in an answer."""


@dataclass(slots=True)
class ItemService:
    """Changes items, and follows what other gateways change. From one event loop."""

    catalogue: Catalogue
    engine: EngineClient
    store: ItemTable
    metrics: Metrics
    live_within_s: float = LIVE_WITHIN_S
    log: SparingLog = field(default_factory=lambda: SparingLog(logger))
    _position: int = 0

    async def item(self, item_id: str) -> ItemOut:
        """An item as it stands; a 404 (ApiError) if nobody knows it, StorageError if the table does not
        answer."""
        return self._described(item_id, await self._known(item_id))

    async def put(self, item_id: str, fields: Mapping[str, ItemField]) -> ItemChanged:
        """Puts an item, known or new, with these fields in place of all that it had; StorageError, and
        nothing is changed, if the table refuses."""
        return await self._changed(await self._stored(item_id, fields))

    async def remove(self, item_id: str) -> ItemChanged:
        """Takes an item out of all lists. What is removed already stays so; errors as of `item`, `put`."""
        before = await self._known(item_id)
        if before is not None and before.removed:
            return await self._changed(before)
        return await self._changed(await self._stored(item_id, None))

    async def catch_up(self) -> None:
        """Reads what has changed since the last time; StorageError if the table does not answer."""
        while page := await asyncio.to_thread(self.store.item_changes, self._position, PAGE):
            self.catalogue.apply(page)
            self._position = page[-1].number
            if len(page) < PAGE:
                return  # what comes meanwhile is for the next time: else this took as long as items come

    async def follow(self) -> None:
        """Catches up again and again, and finds out when the engines have; until it is cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.catch_up()
                if not self.catalogue.is_settled:
                    await self._is_live(self.catalogue.number, FOLLOW_S / 2)
            except Exception as error:  # whatever it was, the next time may do
                self.log.warning("Changes of items could not be followed: %s", error)

    async def _known(self, item_id: str) -> ItemChange | None:
        """The item's last change, None of an item of the bundle that never changed."""
        change = await asyncio.to_thread(self.store.item, ItemId(item_id))
        if change is None and not self.catalogue.is_trained(item_id):
            raise ApiError(404, "unknown_item", f"There is no item {item_id!r}.")
        return change

    async def _stored(self, item_id: str, fields: Mapping[str, ItemField] | None) -> ItemChange:
        (change,) = await asyncio.to_thread(self.store.change_items, {ItemId(item_id): fields})
        self.metrics.item_changed("removed" if fields is None else "put")
        return change

    async def _changed(self, change: ItemChange) -> ItemChanged:
        self.catalogue.apply([change])
        live = await self._is_live(change.number, self.live_within_s)
        described = self._described(change.item_id, change)
        return ItemChanged(**described.model_dump(), live=live)

    def _described(self, item_id: str, change: ItemChange | None) -> ItemOut:
        catalogue = self.catalogue
        status: Literal["trained", "added", "removed"] = "added"
        if change is not None and change.removed:
            status = "removed"
        elif catalogue.is_trained(item_id):
            status = "trained"
        fields = None if change is None else change.fields
        if fields is None:
            title, categories = catalogue.titles.get(item_id), catalogue.categories.get(item_id, [])
        else:
            title, categories = title_of(fields), categories_of(fields)
        others = {name: value for name, value in (fields or {}).items() if name not in OWN_FIELDS}
        return ItemOut(
            item_id=item_id, title=title, categories=categories, fields=others, status=status
        )

    async def _is_live(self, number: int, within_s: float) -> bool:
        """Whether all engines that can be reached, at least one, confirm the changes up to this number."""
        deadline = asyncio.get_running_loop().time() + within_s
        asked = (_confirms(engine, number, deadline) for engine in self.engine.engines().values())
        found = [each for each in await asyncio.gather(*asked) if each is not None]
        if not found:
            return False
        if not all(found):
            self.log.warning(
                "Engines' lists are without the newest changes of items, up to %d", number
            )
            return False
        self.catalogue.confirmed = max(self.catalogue.confirmed, number)
        return True


async def _confirms(engine: EngineClient, number: int, deadline: float) -> bool | None:
    """Whether an engine has the changes up to this number in its lists, by a time of the loop; None if it
    is away."""
    time, pause_s = asyncio.get_running_loop().time, ASK_AGAIN_S
    while (left_s := deadline - time()) > 0:
        try:
            reply = await engine.ask(ItemsPush(number), left_s)
        except EngineAwayError:
            return None
        except EngineUnavailableError:
            pass  # too slow or too busy: asked again while there is time
        else:
            if isinstance(reply, ItemsReply) and reply.number >= number:
                return True
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, SELDOM_S)
    return False
