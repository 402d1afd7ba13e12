"""Rows of a log that cannot be used: set aside with the reason, instead of refusing the log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

import polars as pl

from recsys.core.arguments import choice, number, place
from recsys.core.destination import prove_folder
from recsys.core.files import atomic_folder
from recsys.core.progress import log
from recsys.core.schema import ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.formats.text_lines import LineFinder
from recsys.data.times.columns import MISSING_WORDS, unreadable
from recsys.errors import ConfigError, DataError

OnError = Literal["raise", "quarantine"]
_LARGEST: Final = 3.4028234663852886e38
"""What a float32 holds."""
_RAW: Final = "raw"
_NO_LINE: Final = pl.lit(None, pl.Int64).alias("line")


@dataclass
class Quarantine:
    """The rows that are set aside while a log is read.

    Attributes
    ----------
    folder : Path
        Where they are written once the log is read.
    limit : float
        The largest share of rows that may be set aside.
    keep_unordered : bool
        Whether rows without a time or an order are left to the reader, which drops them.
    rows : int
        Rows seen so far.
    parts : list of DataFrame
        What was set aside, by file.
    damaged : dict
        Rows of the file that was opened last which could not be read: why, and their text.
    """

    folder: Path
    limit: float
    keep_unordered: bool
    rows: int = 0
    parts: list[pl.DataFrame] = field(default_factory=list)
    damaged: dict[int, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, on_error: OnError, folder: object, limit: object, *, keep_unordered: bool) -> Quarantine | None:
        """Check the arguments of a reader, and that the folder can be written; None: errors are raised.

        Raises
        ------
        ConfigError
            They contradict each other, or the folder holds something or cannot be written.
        """
        choice(on_error, "on_error", get_args(OnError))
        share = number(limit, "quarantine_limit")
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"quarantine_limit (--quarantine-limit) must lie between 0 and 1, not {limit}")
        if on_error == "raise":
            if folder is not None:
                raise ConfigError('quarantine= (--quarantine) needs on_error="quarantine" (--on-error quarantine)')
            return None
        if folder is None:
            raise ConfigError(
                'on_error="quarantine" (--on-error quarantine) needs quarantine=FOLDER (--quarantine FOLDER), for the rows'
            )
        target = place(folder, "quarantine")
        if target.is_dir() and any(target.iterdir()):
            raise ConfigError(f"--quarantine {target} holds something already; name another folder, or remove it")
        prove_folder(target, option="--quarantine")
        return cls(target, share, keep_unordered)

    def apart_from(self, out: Path) -> None:
        """Refuse to set rows aside within the folder that is written, or around it: each comes into being as a whole.

        Raises
        ------
        ConfigError
            One lies in the other, or they are one.
        """
        here, there = self.folder.resolve(), out.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise ConfigError(f"one of --quarantine {self.folder} and --out {out} lies in the other; name folders apart")

    def tell(self, row: int, why: str, text: str) -> None:
        """Keep a row that could not be read; see :attr:`recsys.data.formats.dialect.Dialect.damaged`."""
        self.damaged[row] = (why, text)

    def sift(
        self, raw: pl.DataFrame, names: Mapping[str, str], source: str, *, words: bool | None, skipped: int = 0
    ) -> pl.DataFrame:
        """Set aside the rows of one file, or of a piece of it, that cannot be used.

        Parameters
        ----------
        raw : DataFrame
            Columns under our names, as they were read.
        names : mapping
            Our name → the file's.
        source : str
            The file.
        words : bool or None
            True: ids such as NULL cannot be used.
        skipped : int
            Rows of the file before those of ``raw``.

        Returns
        -------
        DataFrame
            The other rows.
        """
        self.rows += raw.height
        found = {name: self._bad(name, raw[name], words=words) for name in names}
        reasons = [
            pl.when(pl.lit(bad)).then(pl.lit(f"column {names[name]!r}: ") + why) for name, (bad, why) in found.items()
        ]
        marked = raw.select(pl.concat_str(reasons, separator="; ", ignore_nulls=True).alias("reason"))["reason"]
        texts = pl.Series("text", [None], dtype=pl.String).new_from_index(0, raw.height)
        here = [row for row in self.damaged if row <= skipped + raw.height]
        if here:
            places, told = [row - 1 - skipped for row in here], [self.damaged.pop(row) for row in here]
            marked = marked.scatter(places, [f"damaged line: {why}" for why, _ in told])
            texts = texts.scatter(places, [text for _, text in told])
        bad = marked != ""
        if not bad.any():
            return raw
        values = pl.DataFrame({theirs: _as_text(raw[name]) for name, theirs in names.items()}).to_struct(_RAW)
        row = pl.select(pl.int_range(skipped + 1, skipped + raw.height + 1, dtype=pl.Int64)).to_series()
        aside = pl.DataFrame({"row": row, "reason": marked, "text": texts, _RAW: values}).filter(bad)
        self.parts.append(aside.select(pl.lit(source).alias("file"), "row", _NO_LINE, "reason", "text", _RAW))
        return raw.filter(~bad)

    def put(
        self, source: str, rows: pl.Series, lines: pl.Series, reason: str, texts: pl.Series, values: pl.DataFrame
    ) -> None:
        """Set rows aside that another reader has judged.

        Parameters
        ----------
        source : str
            The file.
        rows, lines : Series of int64
            From 1; null where there is none.
        reason : str
        texts : Series of str
            The whole of damaged rows; or a single null.
        values : DataFrame
            The columns of the file that are kept, as texts.
        """
        told = pl.DataFrame({"row": rows, "line": lines}).with_columns(pl.lit(reason).alias("reason"))
        text = texts if len(texts) == len(rows) else texts.new_from_index(0, len(rows))
        aside = told.with_columns(text.alias("text"), values.to_struct(_RAW))
        self.parts.append(aside.select(pl.lit(source).alias("file"), "row", "line", "reason", "text", _RAW))

    def find_lines(self, source: str, lines: LineFinder | None) -> None:
        """Note in which lines of a file the rows begin that were set aside of it; None: it is no text of lines."""
        for at, part in enumerate(self.parts):
            if lines is not None and part["file"][0] == source and part["line"].null_count():
                found = pl.Series("line", lines(part["row"].to_numpy()), dtype=pl.Int64)
                self.parts[at] = part.with_columns(found)

    def empty(self) -> Quarantine:
        """One like this in which nothing is yet, for a table that another process reads."""
        return Quarantine(self.folder, self.limit, self.keep_unordered)

    def take(self, other: Quarantine) -> None:
        """Take over what another one set aside."""
        if other is not self:
            self.rows += other.rows
            self.parts += other.parts

    def _bad(self, name: str, column: pl.Series, *, words: bool | None) -> tuple[pl.Series, pl.Series]:
        """Which rows of a column cannot be used, and why."""
        missing, wrong, expected = column.is_null(), None, ""
        text = column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column
        if text.dtype == pl.String:
            missing = missing | (text.str.strip_chars() == "").fill_null(False)
        elif text.dtype.is_float() and name in (USER, ITEM):
            missing = missing | text.is_nan().fill_null(False)
        if name in (USER, ITEM) and words and text.dtype == pl.String:
            wrong, expected = text.is_in(list(MISSING_WORDS)).fill_null(False), "a word for a missing value"
        if name == TIMESTAMP:
            if text.dtype == pl.String:
                missing = missing | text.str.strip_chars().is_in(list(MISSING_WORDS)).fill_null(False)
            wrong, expected = unreadable(text), "not a time"
        if name in (WEIGHT, ORDER) and (text.dtype.is_numeric() or text.dtype == pl.String):
            parsed = (text.str.strip_chars() if text.dtype == pl.String else text).cast(pl.Float64, strict=False)
            most = _LARGEST if name == WEIGHT else float("inf")
            wrong = ~(parsed.is_finite() & (parsed.abs() <= most)).fill_null(False) & ~missing
            expected = "not a finite number"
        if self.keep_unordered and name in (TIMESTAMP, ORDER):
            missing = missing & False
            wrong = None if wrong is None else wrong & column.is_not_null()
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(column))
        if wrong is None:
            return missing, nothing.set(missing, "no value")
        return missing | wrong, nothing.set(wrong, expected).set(missing, "no value")

    def counts(self) -> dict[str, Any]:
        """How many rows were read, kept and set aside, and why: ready for JSON."""
        found = self.frame()["reason"].value_counts(sort=True)
        aside = sum(part.height for part in self.parts)
        reasons = dict(found.rows()) if aside else {}
        return {"rows": self.rows, "kept": self.rows - aside, "quarantined": aside, "reasons": reasons}

    def frame(self) -> pl.DataFrame:
        """What was set aside.

        Columns: ``file``; ``row``, from 1; ``line``, from 1, of a text, in which the row begins; ``reason``; ``text``, the
        whole of a damaged row; and the values, ``raw.COLUMN``.
        """
        if not self.parts:
            kinds = {"file": pl.String, "row": pl.Int64, "line": pl.Int64, "reason": pl.String, "text": pl.String}
            return pl.DataFrame(schema=kinds)
        return pl.concat([part.unnest(_RAW, separator=".") for part in self.parts], how="diagonal")

    def check(self) -> None:
        """Refuse a log of which too many rows were set aside: a wrong column is not dirt.

        Raises
        ------
        DataError
            The share is above the limit; the message names the commonest reason.
        """
        counts = self.counts()
        if counts["quarantined"] > self.limit * self.rows:
            reason, most = next(iter(counts["reasons"].items()))
            first = self.frame().filter(pl.col("reason") == reason).row(0, named=True)
            raise DataError(
                f"{counts['quarantined']:,} of {self.rows:,} rows cannot be used, which is more than the share "
                f"{self.limit:g} that may be quarantined; most often ({most:,} rows, the first is row {first['row']} of "
                f"{first['file']}): {reason}. Is it the right column? If so, raise quarantine_limit= (--quarantine-limit)"
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write ``rows.parquet`` and ``counts.json``, which take their folder's name once the block has ended well.

        Who is killed in the block leaves no folder; log the counts afterwards.

        Raises
        ------
        DataError
            The folder holds something by now.
        OSError
            It cannot be written, or there is no room.
        """
        counts = self.counts()
        with atomic_folder(self.folder) as target:
            self.frame().write_parquet(target / "rows.parquet")
            (target / "counts.json").write_text(json.dumps(counts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            yield
        why = "; ".join(f"{count:,}: {reason}" for reason, count in counts["reasons"].items())
        log(
            f"{counts['rows']:,} rows read: {counts['kept']:,} kept, {counts['quarantined']:,} quarantined in {self.folder}"
            f"{f' ({why})' if why else ''}"
        )


def refuse_all() -> NoReturn:
    """Refuse a log of which nothing is left."""
    raise DataError("every row was quarantined, so there is no log; look at what is read as user, item and time")


def _as_text(column: pl.Series) -> pl.Series:
    """The raw values as text, whatever they are."""
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError:
        return column.map_elements(str, return_dtype=pl.String)
