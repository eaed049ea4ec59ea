"""The item file: what an item is called, its categories, and any other columns."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class ItemTable:
    """Items by id: `item_id` String, `title` String and `categories` List(String) where there are
    such, and any other columns as they came. Every `item_id` is there once."""

    frame: pl.DataFrame
