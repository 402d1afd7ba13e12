"""Read CSV and TSV files without losing a row: the rows that polars reads are compared with an independent count."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.core.progress import log, warn
from recsys.core.ragged import Int64
from recsys.data.formats.damaged_rows import without_damaged
from recsys.data.formats.dialect import SEPARATORS, Damaged, Dialect, fields_of_any_length
from recsys.data.formats.row_proof import Flaw, NotPlainError, Proof, prove
from recsys.data.formats.text_bytes import Bytes, TextBytes, open_text, refuse_bad_utf8
from recsys.data.formats.text_lines import Lines, lines_of
from recsys.data.formats.text_pieces import in_rows
from recsys.errors import DataError

_LF, _CR = 10, 13


@dataclass(frozen=True, eq=False)
class Delimited:
    """An opened CSV or TSV file.

    Attributes
    ----------
    text : TextBytes
    kind : str
        csv or tsv.
    separator : str
    quote : str or None
        None: quotes are ordinary characters.
    columns : list of str
        The fields of its first row.
    damaged : callable, optional
        See :class:`~recsys.data.formats.dialect.Dialect`.
    sifted_lines : Lines
        Of the rows of a text with damaged ones, once it was read.
    """

    text: TextBytes
    kind: str
    separator: str
    quote: str | None
    columns: list[str]
    damaged: Damaged | None = None
    sifted_lines: Lines = field(default_factory=Lines)

    @classmethod
    def open(cls, file: Path, kind: str, dialect: Dialect) -> Delimited:
        """Find out from the first rows how a file is written.

        Raises
        ------
        DataError
            The file is empty, or cannot be decoded.
        """
        text = open_text(file, dialect.encoding)
        head, whole = text.first_lines()
        return cls(text, kind, *dialect.resolved(file, kind, head, whole=whole), dialect.damaged)

    def refuse_repeated(self, column: str) -> None:
        """Raise a DataError if the header names a wanted column twice."""
        places = [place + 1 for place, name in enumerate(self.columns) if name == column]
        if len(places) > 1:
            raise DataError(
                f"{self.text.file}: the header (row 1) names the column {column!r} twice, as columns "
                f"{' and '.join(map(str, places))}; rename one of them"
            )

    def read(self, wanted: dict[str, str]) -> pl.DataFrame:
        """Read the wanted columns of all rows, under our names.

        Parameters
        ----------
        wanted : dict
            Our name → the file's.

        Raises
        ------
        DataError
            A row has more or fewer fields than the header, a quote is where none may be, or polars read another number of
            rows than the file holds.
        """
        for theirs in wanted.values():
            self.refuse_repeated(theirs)
        text, proof = self._proven()
        if proof is None:
            parts = [frame for frame, _ in self._sifted(text, wanted, None)]
            return pl.concat(parts, rechunk=False)
        if proof.blank:
            text = _without_blank_lines(text, self.quote)
        frame = self._scanned(text.file if text.data is None else text.data, wanted, proof)
        self._check_height(frame.height, proof)
        if self.quote is None and self.kind == "tsv":
            self._warn_of_quotes(frame, wanted)
        return frame

    def pieces(self, wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        """Read the wanted columns piece by piece: about so many rows each, and the share of the text that is read by then.

        Raises
        ------
        DataError
            As for :meth:`read`, though what was read is compared with the count of rows after the last piece.
        """
        for theirs in wanted.values():
            self.refuse_repeated(theirs)
        text, proof = self._proven()
        if proof is None:
            yield from self._sifted(text, wanted, rows)
            return
        quote = self.quote if proof.quotes else None
        size, height, header = text.size(), 0, True
        for piece, end in in_rows(text, quote, max(size * rows // max(proof.rows, 1), 1)):
            part = _without_blank_lines(piece, self.quote) if proof.blank else piece
            if end == size and not part.whole():
                continue
            frame = self._scanned(part.whole(), wanted, proof, header=header)
            header, height = False, height + frame.height
            if self.quote is None and self.kind == "tsv":
                self._warn_of_quotes(frame, wanted)
            yield frame, end / size
        self._check_height(height, proof)

    def _scanned(self, source: Path | bytes, wanted: dict[str, str], proof: Proof, *, header: bool = True) -> pl.DataFrame:
        """The wanted columns of a file or of bytes, whose first row may be the header."""
        names = _made_different(self.columns)
        lazy = pl.scan_csv(
            source,
            has_header=header,
            separator=self.separator,
            quote_char=self.quote if proof.quotes else None,
            infer_schema=False,
            glob=False,
            with_column_names=lambda _: names,
        )
        try:
            return lazy.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()
        except pl.exceptions.PolarsError:
            refuse_bad_utf8(self.text, self.kind)
            raise

    def _check_height(self, height: int, proof: Proof) -> None:
        if height != proof.rows - 1:
            raise DataError(
                f"{self.text.file} cannot be read as {self.kind}: it holds {proof.rows - 1:,} rows, but {height:,} "
                f"were read; does it hold quotes or line ends that belong to a text? Say quote= (--quote), or rewrite it"
            )

    def _warn_of_quotes(self, frame: pl.DataFrame, wanted: dict[str, str]) -> None:
        if '"' not in self.text.first_lines()[0]:
            return
        whole = pl.all().str.len_bytes().gt(1) & pl.all().str.starts_with('"') & pl.all().str.ends_with('"')
        for ours, count in frame.select(whole.sum()).row(0, named=True).items():
            if count:
                warn(
                    f"{self.text.file}: {count:,} of {frame.height:,} values in the column {wanted[ours]!r} begin and end "
                    f"with a quote, which is kept, as TSV is read without quoting; to remove the quotes, set quote='\"' "
                    f"(--quote '\"')"
                )

    def lines(self, rows: Int64) -> Int64:
        """The lines, from 1, in which rows begin that were read before; see :func:`lines_of`."""
        if self.sifted_lines:
            return self.sifted_lines.of(rows)
        return lines_of(self.text, self.quote, rows, header=True)

    def _proven(self) -> tuple[TextBytes, Proof | None]:
        """Find a text that polars reads as it is meant, and count what it holds; None: it holds damaged rows to be told."""
        width = len(self.columns)
        text = self.text
        try:
            proof = prove(text, self.separator, self.quote, width)
        except NotPlainError:
            text = _without_lone_returns(text, self.quote)
            log(f"{text.file}: some lines end in a carriage return alone; each is taken as a line end")
            proof = prove(text, self.separator, self.quote, width)
        if proof.flaw is not None and self.damaged is not None:
            refuse_bad_utf8(text, self.kind)
            return text, None
        if proof.flaw is not None and proof.flaw.kind == "stray":
            text, proof = self._rewritten(text, proof.flaw)
        if proof.flaw is not None:
            raise DataError(self._message(text, proof.flaw))
        if proof.inner_ends:
            log(f"{text.file}: {proof.inner_ends:,} line ends are within quoted fields and do not end a row")
        if proof.suspect:
            warn(
                f"{text.file}: {proof.suspect:,} lines within quoted fields look like rows (the last such field opens in "
                f"line {proof.opened}) but are not; if a quote there is an ordinary character, set quote='' "
                f"(--quote none)"
            )
        if proof.blank:
            log(f"{text.file}: {proof.blank:,} blank lines left out")
        return text, proof

    def _message(self, text: TextBytes, flaw: Flaw) -> str:
        where = f"{text.file} cannot be read as {self.kind}: "
        line = _line(text, flaw.line)
        opened = f" (the last quote before it opens in line {flaw.opened})" if flaw.opened else ""
        if flaw.kind == "nul":
            return f"{where}line {flaw.line} holds NUL bytes; is it UTF-16? Say encoding='utf-16' (--encoding)"
        if flaw.kind == "open":
            return (
                f"{where}the quote that opens in line {flaw.opened} does not close; if quotes are ordinary characters in "
                f"this file, set quote='' (--quote none): {_line(text, flaw.opened)!r}"
            )
        if flaw.kind == "stray":
            return (
                f"{where}line {flaw.line} has a quote within a field{opened}; double it, or set quote='' (--quote none) "
                f"if quotes are ordinary characters: {line!r}"
            )
        width = len(self.columns)
        if flaw.fields > width:
            cause = f"does a text without quotes hold a {SEPARATORS.get(self.separator, repr(self.separator))}?"
            if self.quote is None and b'"' in text.whole():
                cause = "if fields are quoted, set quote='\"' (--quote '\"')"
            return (
                f"{where}line {flaw.line} has more fields than the header, {flaw.fields} instead of {width}{opened}; "
                f"{cause} {line!r}"
            )
        return (
            f"{where}line {flaw.line} has fewer fields than the header, {flaw.fields} instead of {width}{opened}; is it "
            f"cut off, or does a text without quotes hold a line end? {line!r}"
        )

    def _sifted(self, text: TextBytes, wanted: dict[str, str], rows: int | None) -> Iterator[tuple[pl.DataFrame, float]]:
        """Read with those rows emptied that cannot be read, and tell of each; at most so many rows at a time."""
        assert self.damaged is not None  # noqa: S101 - the caller looks
        self.sifted_lines.clear()
        header = True
        how = (self.separator, self.quote, len(self.columns), self.damaged, self.sifted_lines, rows)
        for part in without_damaged(text, *how):
            proof = Proof(part.rows + (not header), quotes=self.quote is not None)
            frame = self._scanned(part.text.encode(), wanted, proof, header=header)
            self._check_height(frame.height, proof)
            header = False
            yield frame, part.share

    def _rewritten(self, text: TextBytes, flaw: Flaw) -> tuple[TextBytes, Proof]:
        """Quote all fields again, so that quotes within unquoted fields (``15" screen``) are ordinary characters.

        This works row by row; few files need it.
        """
        assert self.quote is not None  # noqa: S101 - if quotes are ordinary, none is stray
        refuse_bad_utf8(text, self.kind)
        source = io.StringIO(text.whole().decode("utf-8"), newline="")
        reader = csv.reader(source, delimiter=self.separator, quotechar=self.quote, strict=True)
        out, rows, blank = io.StringIO(newline=""), 0, 0
        writer = csv.writer(out, delimiter=self.separator, quotechar=self.quote, lineterminator="\n")
        begun = 1
        try:
            with fields_of_any_length():
                for row in reader:
                    if row and len(row) != len(self.columns):
                        raise DataError(self._message(text, Flaw("fields", begun, len(row), flaw.line)))
                    if row:
                        writer.writerow(row)
                    rows, blank, begun = rows + bool(row), blank + (not row), reader.line_num + 1
        except csv.Error as error:
            kind = "open" if "unexpected end" in str(error) else "stray"
            raise DataError(self._message(text, Flaw(kind, reader.line_num, opened=begun))) from error
        log(f"{text.file}: line {flaw.line} is the first with a quote within an unquoted field; such quotes are kept")
        if inner := reader.line_num - rows - blank:
            log(f"{text.file}: {inner:,} line ends are within quoted fields and do not end a row")
        if blank:
            log(f"{text.file}: {blank:,} blank lines left out")
        return TextBytes(text.file, out.getvalue().encode()), Proof(rows, quotes=True)


def _made_different(columns: Sequence[str]) -> list[str]:
    """The columns' names; a number is added to repeated ones."""
    seen, names = dict[str, int](), list[str]()
    for name in columns:
        again = seen[name] = seen.get(name, -1) + 1
        names.append(f"{name}\0{again}" if again else name)
    return names


def _line(text: TextBytes, number: int, most: int = 100) -> str:
    """A line for a message, shortened."""
    start, data = 0, text.whole()
    for _ in range(number - 1):
        start = data.find(b"\n", start) + 1
    end = data.find(b"\n", start)
    line = data[start : end if end >= 0 else None].decode("utf-8", "replace").rstrip("\r")
    return line if len(line) <= most else line[:most] + "..."


def _outside(data: Bytes, places: npt.NDArray[np.intp], quote: str | None) -> npt.NDArray[np.intp]:
    """Select the places outside quotes."""
    if quote is None:
        return places
    quotes_before = np.searchsorted(np.flatnonzero(data == ord(quote)), places)
    outer: npt.NDArray[np.intp] = places[quotes_before % 2 == 0]
    return outer


def _without_lone_returns(text: TextBytes, quote: str | None) -> TextBytes:
    data = np.frombuffer(text.whole(), np.uint8).copy()
    returns = np.flatnonzero(data == _CR)
    follows = np.append(data[1:], np.uint8(_LF))[returns]
    data[_outside(data, returns[follows != _LF], quote)] = _LF
    return TextBytes(text.file, data.tobytes())


def _without_blank_lines(text: TextBytes, quote: str | None) -> TextBytes:
    whole = text.whole()
    data = np.frombuffer(whole if whole.endswith(b"\n") else whole + b"\n", np.uint8)
    ends = np.flatnonzero(data == _LF)
    begins = np.concatenate([[0], ends[:-1] + 1])
    length = ends - begins
    blank = (length == 0) | ((length == 1) & (data[np.minimum(begins, len(data) - 1)] == _CR))
    blank &= np.isin(ends, _outside(data, ends, quote), assume_unique=True)
    keep = np.ones(len(data), bool)
    keep[ends[blank]] = False
    keep[begins[blank]] = False  # the carriage return, or the line feed once more
    return TextBytes(text.file, data[keep].tobytes())
