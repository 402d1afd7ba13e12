"""Make one table of a prepared data set from its files, block by block, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.core.progress import log
from recsys.core.schema import ITEM, USER
from recsys.data.recipes.blocks import BLOCK
from recsys.data.recipes.places import Chosen
from recsys.data.recipes.quirks import STEPS, MostCommon, Step
from recsys.data.recipes.shape import kept, readable, shaped
from recsys.data.recipes.sieve import Sieve
from recsys.data.recipes.spec import TABLES
from recsys.data.recipes.tables import frames
from recsys.data.recipes.waterfall import Waterfall
from recsys.errors import DataError

_LINE_EVERY = 10.0
"""Seconds between two lines about the progress."""


@dataclass(frozen=True)
class Made:
    """A table that was written.

    Attributes
    ----------
    counted : Waterfall
    files : tuple of str
        The files that it was read from.
    columns : tuple of str
    catalogue : DataFrame or None
        The items that the log itself describes.
    """

    counted: Waterfall
    files: tuple[str, ...]
    columns: tuple[str, ...]
    catalogue: pl.DataFrame | None = None


def make_table(table: str, way: Chosen, out: Path, scratch: Path, sieve: Sieve, size: int = BLOCK) -> Made:
    """Write one table as Parquet.

    Parameters
    ----------
    table : str
        log, items or users.
    way : Chosen
    out : Path
        The Parquet file.
    scratch : Path
        A folder for parts, which is emptied again.
    sieve : Sieve
        Without counts yet.
    size : int
        Bytes of a block.

    Raises
    ------
    DataError
        A file cannot be read, no row is left, or too many rows are set aside.
    """
    counted, common = sieve.counted, MostCommon(dict(way.source.common))
    parts, seen = list[Path](), Seen(table)
    item = way.source.take[ITEM].source if ITEM in way.source.take else ""
    for frame in _blocks(way, scratch, sieve, size):
        rows = readable(kept(frame, way.source, counted), way.source, TABLES[table], sieve)
        made = seen.first(shaped(rows, way.source, counted.written), counted)
        if way.source.common:
            common.rows(rows, item)
        counted.written += made.height
        if made.height:
            parts.append(scratch / f"{table}-{len(parts):06}.parquet")
            made.write_parquet(parts[-1])
    if sieve.aside is not None:
        sieve.aside.rows = counted.read
        sieve.aside.check()
    if not parts:
        raise DataError(
            f"no row of {', '.join(map(str, way.members))} is left: {_told(counted)}; is it the file as published?"
        )
    pl.scan_parquet(parts, glob=False).sink_parquet(out, compression_level=6)
    for part in parts:
        part.unlink()
    catalogue = common.catalogue(ITEM) if way.source.common else None
    return Made(counted, tuple(one.name for one in way.members), tuple(way.source.take), catalogue)


def _told(counted: Waterfall) -> str:
    return ", ".join(f"{why} {count:,}" for why, count in counted.lines())


def _blocks(way: Chosen, scratch: Path, sieve: Sieve, size: int) -> Iterator[pl.DataFrame]:
    """The rows of all files of a table, transformed by the recipe's step."""
    step: Step | None = STEPS[way.source.step]() if way.source.step else None
    told = time.monotonic()
    for member in way.members:
        for frame in frames(member.unpacked(scratch / "unpacked"), way.source, sieve, size):
            if time.monotonic() - told > _LINE_EVERY:
                told = time.monotonic()
                log(f"{member.name}: {sieve.counted.read:,} rows read")
            yield frame if step is None else step.rows(frame, sieve)
    if step is not None and (rest := step.end(sieve)) is not None:
        yield rest


class Seen:
    """The ids that a table of items or users has had: a second row of one is left out."""

    def __init__(self, table: str) -> None:
        self.column = {"items": ITEM, "users": USER}.get(table)
        self.ids: pl.Series | None = None

    def first(self, frame: pl.DataFrame, counted: Waterfall) -> pl.DataFrame:
        """The rows whose id is new."""
        if self.column is None:
            return frame
        new = frame[self.column].is_first_distinct()
        if self.ids is not None:
            new &= ~frame[self.column].is_in(self.ids.implode())
        counted.dropped(f"the {self.column} occurs before; its first row counts", int((~new).sum()))
        fresh = frame.filter(new)
        self.ids = fresh[self.column] if self.ids is None else pl.concat([self.ids, fresh[self.column]])
        return fresh
