"""Read whole numbers that are written dates, such as 20240531 or 20240531180000."""

from __future__ import annotations

import polars as pl

COMPACT = {8: "dates such as 20240531", 12: "minutes such as 202405311800", 14: "seconds such as 20240531180000"}
"""Digits of whole numbers that are written dates; years 1900 to 2100."""


def written_range(digits: int) -> tuple[int, int]:
    """The first whole number of so many digits that may be a date, and the first after it that may not."""
    tail = 10 ** (digits - 4)
    return 1900 * tail, 2101 * tail


def written(values: pl.Series, digits: int) -> pl.Series:
    """Parse whole numbers such as 20240531 as Datetime; null if a number is not a date."""
    text = values.set(~values.is_between(*written_range(digits), closed="left"), None).cast(pl.String)
    parts = [text.str.slice(at, 2) for at in range(4, digits, 2)]
    parts += [pl.repeat("00", len(text), eager=True) for _ in range(5 - len(parts))]
    names = dict(zip("mdHMS", parts, strict=True))
    frame = pl.DataFrame({"y": text.str.slice(0, 4), **names})
    joined = frame.select(pl.format("{}-{}-{} {}:{}:{}", *(pl.col(name) for name in ("y", *"mdHMS"))).alias("t"))["t"]
    return joined.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
