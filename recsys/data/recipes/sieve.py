"""What becomes of rows that cannot be used: they are counted, and left out, refused or set aside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.data.formats.text_lines import LineFinder
from recsys.data.quarantine import Quarantine
from recsys.data.recipes.waterfall import Waterfall
from recsys.errors import DataError

OnBadRow: TypeAlias = Literal["drop", "raise", "quarantine"]
ROW: Final = "\0row"
"""The column of a block's frame that tells the row of the file, from 1; null where a row is joined from several."""


@dataclass
class Sieve:
    """The counts of one table, and what is done about rows that cannot be used.

    Attributes
    ----------
    counted : Waterfall
    on_error : {"drop", "raise", "quarantine"}
    aside : Quarantine or None
        Where rows are set aside.
    shown : tuple of str
        The columns whose values are kept with a row that is set aside; all, where the recipe makes them later.
    file : str
        The file that is being read.
    lines : callable or None
        In which of its lines rows of the block begin; None: it is no text.
    """

    counted: Waterfall = field(default_factory=Waterfall)
    on_error: OnBadRow = "drop"
    aside: Quarantine | None = None
    shown: tuple[str, ...] = ()
    file: str = ""
    lines: LineFinder | None = None

    def at(self, file: Path, lines: LineFinder | None) -> None:
        """Say which block the next rows are of."""
        self.file, self.lines = str(file), lines

    def leave_out(self, frame: pl.DataFrame, bad: pl.Series, why: str, column: str) -> pl.DataFrame:
        """The other rows.

        Parameters
        ----------
        frame : DataFrame
            With the column ``ROW``.
        bad : Series of bool
        why : str
            For the counts.
        column : str
            The file's column that cannot be used.

        Raises
        ------
        DataError
            By the caller's wish, for the first of them.
        """
        count = int(bad.sum())
        if not count:
            return frame
        self.counted.dropped(why, count)
        rows = frame.filter(bad)
        if self.on_error == "raise":
            value = rows[column][0]
            told = "is empty" if value is None else f"holds {value!r}"
            self._refuse(rows[ROW][0], f"{why}, as the column {column!r} {told}")
        if self.aside is not None:
            known = set(self.shown) <= set(rows.columns)  # not before a recipe's step
            names = self.shown if known else [name for name in rows.columns if name != ROW]
            values = rows.select(pl.col(name).cast(pl.String) for name in names)
            self._put(rows[ROW], f"column {column!r}: {why}", pl.Series([None], dtype=pl.String), values)
        return frame.filter(~bad)

    def damaged(self, rows: pl.Series, why: str, texts: pl.Series) -> None:
        """Leave out rows that could not be read.

        Parameters
        ----------
        rows : Series of int
            Their numbers in the file.
        why : str
        texts : Series of str
            Each as a whole.

        Raises
        ------
        DataError
            By the caller's wish, for the first of them.
        """
        if not len(rows):
            return
        self.counted.dropped(why, len(rows))
        if self.on_error == "raise":
            self._refuse(rows[0], f"{why}: {texts[0][:100]!r}")
        if self.aside is not None:
            nothing = pl.Series(self.shown[0], [None], dtype=pl.String).new_from_index(0, len(rows))
            self._put(rows, f"damaged line: {why}", texts, nothing.to_frame())

    def _put(self, rows: pl.Series, reason: str, texts: pl.Series, values: pl.DataFrame) -> None:
        assert self.aside is not None  # noqa: S101 - the callers look
        numbers = rows.cast(pl.Int64)
        found = numbers.clear(len(rows))
        if self.lines is not None and not numbers.null_count():
            found = pl.Series(self.lines(numbers.to_numpy()), dtype=pl.Int64)
        self.aside.put(self.file, numbers, found, reason, texts, values)

    def _refuse(self, row: Any, what: str) -> None:
        where = "" if row is None else f" row {row}:"
        if row is not None and self.lines is not None:
            where = f" line {self.lines(np.array([row]))[0]}:"
        raise DataError(
            f"{self.file}:{where} {what}; mend it, or leave such rows out (--on-error drop) or set them aside "
            f"(--on-error quarantine)"
        )
