"""The table of items: who came and went since the bundle was made, by the number of their last change."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from moerec.store.tables import items, store_state
from moerec.types import ItemChange, ItemField, ItemId

CHANGE: Final = select(items.c.change_number, items.c.item_id, items.c.fields)
"""Items, in rows for `change`."""

CHANGES: Final = (
    CHANGE.where(items.c.change_number > bindparam("after"))
    .order_by(items.c.change_number)
    .limit(bindparam("limit"))
)
ITEM: Final = CHANGE.where(items.c.item_id == bindparam("item_id"))

_PUT: Final = insert(items)
_REPLACE: Final = _PUT.on_conflict_do_update(
    index_elements=[items.c.item_id],
    set_={"change_number": _PUT.excluded.change_number, "fields": _PUT.excluded.fields},
)


def change_items(
    connection: Connection, changes: Mapping[ItemId, Mapping[str, ItemField] | None]
) -> list[ItemChange]:
    """See `ItemTable`; at least one change. The caller's transaction is a writer's.

    A number that an item had before is never given again: the largest one stays in the table.
    """
    connection.execute(select(store_state.c.id).with_for_update())
    last: int = connection.scalars(select(func.coalesce(func.max(items.c.change_number), 0))).one()
    made = [
        ItemChange(number, item_id, None if fields is None else dict(fields))
        for number, (item_id, fields) in enumerate(changes.items(), start=last + 1)
    ]
    connection.execute(_REPLACE, list(map(_row, made)))
    return made


def change(row: Sequence[Any]) -> ItemChange:
    """A row of `CHANGE`."""
    number, item_id, fields = row
    return ItemChange(number, item_id, None if fields is None else json.loads(fields))


def _row(made: ItemChange) -> dict[str, object]:
    text = None
    if made.fields is not None:
        text = json.dumps(made.fields, ensure_ascii=False, allow_nan=False)
    return {"item_id": made.item_id, "change_number": made.number, "fields": text}
