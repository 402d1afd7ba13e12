"""Read a table piece by piece, so that it need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import polars as pl

Reader: TypeAlias = Callable[[dict[str, str]], pl.DataFrame]
"""Our name → the table's: returns these columns of all rows."""
Pieces: TypeAlias = Callable[[dict[str, str], int], Iterator[tuple[pl.DataFrame, float]]]
"""Our name → the table's, and a number of rows: yields these columns of about so many rows, in order, and the share of the
table that is read by then."""

Prover: TypeAlias = Callable[[str, pl.Series], None]
"""The table's name of a column of ids, and the values that were read of it, each at least once: raises a DataError if they
contradict what the file tells of them."""


def nothing_to_prove(column: str, values: pl.Series) -> None:
    """The prover of a format that tells nothing of its columns."""


def one_piece(read: Reader) -> Pieces:
    """Read the whole table as one piece: its format allows no other way."""

    def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        yield read(wanted), 1.0

    return pieces


def gathered(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
    """Join small frames to pieces of so many rows or more; which share of the table they are, nobody knows: 0."""
    held, count = list[pl.DataFrame](), 0
    for frame in frames:
        held.append(frame)
        count += frame.height
        if count >= rows:
            yield pl.concat(held, how="vertical_relaxed"), 0.0
            held, count = [], 0
    if held:
        yield pl.concat(held, how="vertical_relaxed"), 0.0


def sliced(
    stored: pl.LazyFrame, wanted: Mapping[str, str], rows: int, groups: Sequence[int]
) -> Iterator[tuple[pl.DataFrame, float]]:
    """Read a stored table in slices, which end where its groups of rows end if these are not larger.

    Parameters
    ----------
    stored : LazyFrame
        Of a format that reads slices without the rest.
    wanted : mapping
        Our name → the table's.
    rows : int
        Rows of a piece.
    groups : sequence of int
        The rows of each group, in all those of the table.
    """
    chosen = stored.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items())
    total, done = max(sum(groups), 1), 0
    for size in _sizes(groups, rows):
        frame = chosen.slice(done, size).collect()
        done += size
        yield frame, done / total


def _sizes(groups: Sequence[int], rows: int) -> Iterator[int]:
    """The sizes of the slices: several small groups, or a part of a large one."""
    held = 0
    for group in groups:
        if held and held + group > rows:
            yield held
            held = 0
        left = group
        while held + left > rows:
            yield rows
            left -= rows
        held += left
    if held:
        yield held
