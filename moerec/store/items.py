"""The table of items: who came and went since the bundle was made, by the number of their last change."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from moerec.store.tables import items, store_state
from moerec.types import ItemChange, ItemField, ItemId

CHANGE: Final = select(items.c.change_number, items.c.item_id, items.c.fields, items.c.removed)
"""Items, in rows for `change`."""

_CHANGED: Final = CHANGE.where(items.c.change_number > bindparam("after")).order_by(
    items.c.change_number
)
CHANGES: Final = _CHANGED.limit(bindparam("limit"))
ITEM: Final = CHANGE.where(items.c.item_id == bindparam("item_id"))

_PUT: Final = insert(items)
_REPLACE: Final = _PUT.on_conflict_do_update(
    index_elements=[items.c.item_id],
    set_={
        "change_number": _PUT.excluded.change_number,
        # What is removed keeps what it had.
        "fields": func.coalesce(_PUT.excluded.fields, items.c.fields),
        "removed": _PUT.excluded.removed,
    },
)


def change_items(
    connection: Connection, changes: Mapping[ItemId, Mapping[str, ItemField] | None]
) -> list[ItemChange]:
    """See `ItemTable`; at least one change. The caller's transaction is a writer's.

    A number that an item had before is never given again: the largest one stays in the table.
    """
    connection.execute(select(store_state.c.id).with_for_update())
    last: int = connection.scalars(select(func.coalesce(func.max(items.c.change_number), 0))).one()
    rows = [
        {
            "item_id": item_id,
            "change_number": number,
            "fields": None if fields is None else _json(fields),
            "removed": fields is None,
        }
        for number, (item_id, fields) in enumerate(changes.items(), start=last + 1)
    ]
    connection.execute(_REPLACE, rows)
    return [change(row) for row in connection.execute(_CHANGED, {"after": last})]


def change(row: Sequence[Any]) -> ItemChange:
    """A row of `CHANGE`."""
    number, item_id, fields, removed = row
    return ItemChange(number, item_id, None if fields is None else json.loads(fields), removed)


def _json(fields: Mapping[str, ItemField]) -> str:
    return json.dumps(dict(fields), ensure_ascii=False, allow_nan=False)
