"""Times in any usual writing -> UTC milliseconds since 1970."""

from typing import Final

import polars as pl

_SECONDS_BELOW: Final = 10**11  # as seconds: the year 5138; as milliseconds: 1973
_MILLISECONDS_BELOW: Final = 10**14
_MICROSECONDS_BELOW: Final = 10**17
_FAR: Final = 2**62 // 1000

_ISO_FORMATS: Final = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M%#z",
)


def to_utc_ms(raw: pl.Series) -> pl.Series:
    """Times as Int64 UTC milliseconds; null where a value is none, or not a time.

    Numbers are an epoch in seconds, milliseconds, microseconds or nanoseconds: the unit is decided
    once for the column, by the middle value. Texts are such numbers, or ISO 8601 dates and
    date-times; without a zone they are UTC. Dates and date-times of Polars come as they are.
    """
    if raw.dtype == pl.Date or isinstance(raw.dtype, pl.Datetime):
        return raw.cast(pl.Datetime("ms")).cast(pl.Int64)
    if raw.dtype.is_integer():
        return _epoch_to_ms(raw.cast(pl.Int64, strict=False))
    if raw.dtype.is_numeric():
        return _epoch_to_ms(raw.cast(pl.Float64))
    if raw.dtype == pl.String:
        return _text_to_ms(raw)
    return _no_times(raw)


def _text_to_ms(raw: pl.Series) -> pl.Series:
    whole = raw.cast(pl.Int64, strict=False)
    if whole.null_count() == raw.null_count():
        return _epoch_to_ms(whole)
    text = raw.str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    if number.is_not_null().any():
        return _epoch_to_ms(number)
    return _iso_to_ms(text)


def _epoch_to_ms(number: pl.Series) -> pl.Series:
    if number.dtype == pl.Float64:
        number = number.set(~number.is_finite(), None)
    middle = number.abs().median()
    size = float(middle) if isinstance(middle, int | float) else 0.0
    if size < _SECONDS_BELOW:
        # Far beyond any date a product would overflow; such a row is left out as future anyway.
        scaled = number.clip(-_FAR, _FAR) * 1000
    elif size < _MILLISECONDS_BELOW:
        scaled = number
    elif size < _MICROSECONDS_BELOW:
        scaled = number // 1000
    else:
        scaled = number // 1_000_000
    return scaled.clip(-_FAR * 1000, _FAR * 1000).cast(pl.Int64)


def _iso_to_ms(text: pl.Series) -> pl.Series:
    """Each format is tried on what the ones before left; one format fits a whole log, as a rule."""
    done = _no_times(text)
    plain = text.str.replace("T", " ", literal=True)
    for style in _ISO_FORMATS:
        left = (done.is_null() & plain.is_not_null()).arg_true()
        if not len(left):
            break
        times = plain.gather(left).str.to_datetime(style, time_unit="ms", strict=False)
        done = done.scatter(left, times.cast(pl.Int64))
    return done


def _no_times(like: pl.Series) -> pl.Series:
    return pl.repeat(None, len(like), dtype=pl.Int64, eager=True).alias(like.name)
