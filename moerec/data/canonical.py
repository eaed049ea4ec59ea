"""A log in canonical order: users as they first appear, each user's events by time, ties in file order."""

from typing import Final

import polars as pl

_SHORT: Final = 3


def ordered(frame: pl.DataFrame, has_time: bool) -> tuple[pl.DataFrame, dict[str, int]]:
    """Sort a checked log; drop exact duplicates where there are times; number events where there are none.

    `frame` is in file order; without times its `timestamp`, if any, is the place. Returns the frame
    and the counts of the report. Time: one pass of hashing and one sort.
    """
    user = first_appearance_codes(frame.get_column("user_id"))
    order = _order(user, frame.get_column("timestamp") if "timestamp" in frame.columns else None)
    if order is not None:
        frame, user = frame[order], user.gather(order)
    found: dict[str, int] = {}
    if has_time:
        frame, user, found = _without_duplicates(frame, user)
    else:
        frame = _numbered(frame, user)
    sizes = user.rle().struct.field("len")
    found["users"] = len(sizes)
    found["items"] = frame.get_column("item_id").n_unique()
    found["short_users"] = int((sizes < _SHORT).sum())
    return frame, found


def first_appearance_codes(ids: pl.Series) -> pl.Series:
    """Each id's number (UInt32, from 0) in order of first appearance."""
    table = ids.unique(maintain_order=True).alias("id").to_frame().with_row_index("code")
    joined = ids.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return joined.get_column("code")


def _order(user: pl.Series, time: pl.Series | None) -> pl.Series | None:
    """The rows in canonical order, or None if they stand so already."""
    keys = pl.DataFrame(
        {"user": user.cast(pl.Int64), "time": user.cast(pl.Int64) * 0 if time is None else time}
    )
    low, high = keys.get_column("time").min(), keys.get_column("time").max()
    assert isinstance(low, int) and isinstance(high, int)  # noqa: S101, PT018 - a checked column
    span = high - low + 1
    one_key = pl.col("user") * span + (pl.col("time") - low)
    if (len(user) + 1) * span < 2**62:  # both fit into one number: several times faster
        keys = keys.select(one_key)
    if keys.width == 1 and keys.to_series().is_sorted():
        return None
    return keys.select(pl.arg_sort_by(keys.columns, maintain_order=True)).to_series()


def _without_duplicates(
    frame: pl.DataFrame, user: pl.Series
) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
    """Only events that share user and time can be duplicates, and they stand side by side."""
    tied = _tied(frame, user)
    near = tied | tied.shift(-1, fill_value=False)
    rows = near.arg_true()
    group = frame[rows].with_columns(user.gather(rows).alias("user_id"))
    repeated = rows.filter(~group.select(pl.struct(pl.all()).is_first_distinct()).to_series())
    if len(repeated):
        kept = pl.repeat(True, len(frame), eager=True).scatter(repeated, False)
        frame, user = frame.filter(kept), user.filter(kept)
        tied = _tied(frame, user)
    return frame, user, {"duplicate_rows": len(repeated), "tied_rows": int(tied.sum())}


def _tied(frame: pl.DataFrame, user: pl.Series) -> pl.Series:
    """Whether an event shares user and time with the one before."""
    time = frame.get_column("timestamp")
    return ((user == user.shift(1)) & (time == time.shift(1))).fill_null(False)


def _numbered(frame: pl.DataFrame, user: pl.Series) -> pl.DataFrame:
    """Without times an event's timestamp is its place in the user's history, from 0."""
    sizes = user.rle().struct.field("len").cast(pl.Int64)
    starts = (sizes.cum_sum() - sizes).alias("start").to_frame()
    row = pl.int_range(len(frame), dtype=pl.Int64, eager=True)
    repeated = starts.select(pl.col("start").repeat_by(sizes).explode()).to_series()
    columns = {
        "user_id": frame["user_id"],
        "item_id": frame["item_id"],
        "timestamp": row - repeated,
    }
    return pl.DataFrame(
        columns | {name: frame[name] for name in ("event", "value") if name in frame.columns}
    )
