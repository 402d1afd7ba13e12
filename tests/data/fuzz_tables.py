"""Tables made by chance, written in every format, damaged by chance, and read by the standard library beside our readers.

Of each table it is checked that what is read equals what the standard library reads, row by row, or that the file is
refused by name; an undamaged table may not be refused. In delimited texts each line is a row, or is told.

By hand, for more cases than a test has time for::

    python -m tests.data.fuzz_tables 20000        # cases; a second number is the first seed
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.data.formats.dialect import Dialect
from recsys.data.formats.table import collect
from recsys.errors import RecsysError

MOVIELENS = ("user_id", "item_id", "note", "timestamp")
FORMATS = ("csv", "csv", "csv", "tsv", "tsv", "movielens", "ndjson", "parquet")
ENDINGS = {"csv": "csv", "tsv": "tsv", "movielens": "dat", "ndjson": "ndjson", "parquet": "parquet"}
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1")
ODD = (
    '"',
    "'",
    '""',
    ",",
    ";",
    "\t",
    "|",
    "::",
    "\n",
    "\r\n",
    " ",
    "  ",
    "é",
    "ÿ",
    "€",
    "😀",
    "\\N",
    "NULL",
    "NA",
    "\\",
    "#",
    "=",
)
WORDS = ("15", "screen", "x", "Hello", "world", "007", "-1", "4.0", "nan", "1e5")
Row = tuple[str | None, ...]


@dataclass(frozen=True)
class Case:
    """A file, how it is written, and whether it was damaged."""

    file: Path
    fmt: str
    columns: tuple[str, ...]
    wanted: tuple[str, ...]
    rows: list[Row]
    encoding: str
    separator: str = ","
    quote: str | None = '"'
    damaged: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def some(random: np.random.Generator, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def _cell(random: np.random.Generator, odd: bool) -> str | None:
    if random.random() < 0.06:
        return None
    parts = [some(random, WORDS) for _ in range(int(random.integers(1, 4)))]
    if odd:
        parts = [part + some(random, ODD) if random.random() < 0.5 else part for part in parts]
    return "".join(parts)


def _spelt(cell: str | None, fmt: str, separator: str, encoding: str) -> str | None:
    """A cell that a format without quotes, or an encoding, can hold."""
    if cell is None:
        return None
    if fmt == "tsv":
        cell = re.sub(r"[\r\n]", " ", cell).replace(separator, " ")
    if fmt == "movielens":
        cell = re.sub(r"[\r\n]", " ", cell).replace(":", " ")
    return cell.encode(encoding, "replace").decode(encoding) if encoding in ("cp1252", "latin-1") else cell


def make(seed: int, folder: Path) -> Case:
    """One case; equal seeds give equal files."""
    random = np.random.default_rng(seed)
    fmt = str(some(random, FORMATS))
    encoding = "utf-8" if fmt == "parquet" else str(some(random, ENCODINGS))
    if fmt == "movielens" and encoding == "latin-1":
        encoding = "utf-8"
    separator = {"csv": some(random, ",,,;\t|"), "tsv": some(random, "\t\t;|")}.get(fmt, ",")
    quote = {"csv": some(random, ['"', '"', '"', "'"])}.get(fmt)
    more = [f"c{n}" for n in range(int(random.integers(0, 3)))]
    columns = list(MOVIELENS) if fmt == "movielens" else [str(c) for c in random.permutation([*MOVIELENS, *more])]
    odd = random.random() < 0.7
    rows = [
        tuple(_spelt(_cell(random, odd), fmt, separator, encoding) for _ in columns)
        for _ in range(int(random.integers(1, 12)))
    ]
    wanted = tuple(str(c) for c in random.permutation(columns)[: int(random.integers(1, len(columns) + 1))])
    options: dict[str, Any] = {}
    if fmt in ("csv", "tsv") and random.random() < 0.4:
        options["separator"] = separator
    if quote == "'":
        options["quote"] = quote
    if encoding not in ("utf-8", "utf-8-sig", "utf-16") or (random.random() < 0.2 and fmt != "parquet"):
        options["encoding"] = encoding
    if any("\n" in (cell or "") for row in rows for cell in row) and len({separator, ","}) == 2:
        options["separator"] = separator
    case = Case(
        folder / f"{seed}.{ENDINGS[fmt]}", fmt, tuple(columns), wanted, rows, encoding, separator, quote, "", options
    )
    return _written(case, random)


def _written(case: Case, random: np.random.Generator) -> Case:
    if case.fmt == "parquet":
        pl.DataFrame(case.rows, schema=dict.fromkeys(case.columns, pl.String), orient="row").write_parquet(case.file)
        return case
    end = str(some(random, ["\n", "\n", "\r\n", "\r"]))
    text = _text(case, random, end)
    damaged = ""
    if random.random() < 0.5:
        text, damaged = _damaged(text, random, end)
    data = text.encode(case.encoding, "surrogatepass")
    if random.random() < 0.1:
        data = gzip.compress(data)
    case.file.write_bytes(data)
    return Case(*(getattr(case, name) for name in ("file", "fmt", "columns", "wanted", "rows", "encoding")), case.separator,
                case.quote, damaged, case.options)  # fmt: skip


def _text(case: Case, random: np.random.Generator, end: str) -> str:
    if case.fmt == "ndjson":
        inner = some(random, [None, {"a": [1, "x"]}, [1, 2], True, 3.5, "é", {"user_id": "inner"}])
        lines = [json.dumps(dict(zip(case.columns, row, strict=True)) | {"inner": inner}) for row in case.rows]
        return end.join(lines) + end
    if case.fmt == "movielens":
        return "".join("::".join(cell or "" for cell in row) + end for row in case.rows)
    if case.quote is None:
        table = [case.columns, *case.rows]
        return "".join(case.separator.join(cell or "" for cell in row) + end for row in table)
    out = io.StringIO(newline="")
    style = int(some(random, [csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, delimiter=case.separator, quotechar=case.quote, quoting=style, lineterminator=end)
    writer.writerows([case.columns, *case.rows])
    text = out.getvalue()
    return text if random.random() < 0.7 else text.removesuffix(end)


def _damaged(text: str, random: np.random.Generator, end: str) -> tuple[str, str]:
    at = int(random.integers(len(text)))
    match int(random.integers(8)):
        case 0:
            return text[:at] + '"' + text[at:], "a quote put in"
        case 1:
            return text[:at] + some(random, ",;\t|:") + text[at:], "a separator put in"
        case 2:
            return text[:at] + text[at + 1 :], "a character taken out"
        case 3:
            return text[:at], "cut off"
        case 4:
            ends = ["\r", "\n", "\r\n"]
            return re.sub(end, lambda _: str(some(random, ends)), text), "mixed line ends"
        case 5:
            return text.replace(end, end + end, int(random.integers(1, 4))), "blank lines"
        case 6:
            return text[:at] + some(random, ["\r", "\n"]) + text[at:], "a line end put in"
        case _:
            return text[:at] + text[at : at + 30] + text[at:], "a part twice"


def truth(case: Case) -> list[Row] | None:
    """What the standard library reads: the wanted columns, null and blank alike; None where it finds no table."""
    if case.fmt == "parquet":
        return _picked(list(case.columns), case.rows, case.wanted)
    data = case.file.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode(case.encoding).removeprefix("\ufeff")
    if case.fmt in ("csv", "tsv"):
        return _delimited(text, case)
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip(" \t")]
    if case.fmt == "movielens":
        lines = [line for line in re.split(r"\r\n|\r|\n", text) if line]
        rows: list[Row] = [tuple(line.split("::")) for line in lines]
        return (
            _picked(list(case.columns), rows, case.wanted) if all(len(row) == len(case.columns) for row in rows) else None
        )
    found = list[Row]()
    for line in lines:
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except ValueError:
            return None
        names = [name for name, _ in pairs] if isinstance(pairs, _Pairs) else None
        if names is None or any(names.count(name) > 1 for name in case.wanted):
            return None
        values = dict(pairs)
        found.append(tuple(values.get(name) or "" for name in case.wanted))
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object's pairs, told apart from a list."""


def _delimited(text: str, case: Case) -> list[Row] | None:
    if case.quote is None:
        table = [tuple(line.split(case.separator)) for line in re.split(r"\r\n|\r|\n", text) if line]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=case.separator, quotechar=case.quote, strict=True)
        try:
            table = [tuple(row) for row in reader if row]
        except csv.Error:
            return None
    if not table or any(len(row) != len(table[0]) for row in table):
        return None
    if any(table[0].count(name) != 1 for name in case.wanted):
        return None
    return _picked(list(table[0]), list(table[1:]), case.wanted)


def _picked(columns: list[str], rows: list[Row], wanted: tuple[str, ...]) -> list[Row]:
    places = [columns.index(name) for name in wanted]
    return [tuple(row[place] or "" for place in places) for row in rows]


class Ear(logging.Handler):
    """Keeps what is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.said.append(record.getMessage())

    def counted(self, words: str) -> int:
        """The number before some words, summed over the lines."""
        return sum(int(found[1].replace(",", "")) for line in self.said if (found := re.search(rf"([\d,]+) {words}", line)))


def check(case: Case) -> str:
    """Read a case; what came of it.

    Raises
    ------
    AssertionError
        The readers and the standard library do not agree.
    """
    refusal = ""
    ear, logger = Ear(), logging.getLogger("recsys")
    level, shown = logger.level, logger.propagate
    logger.addHandler(ear)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        frame = collect(case.file, None, MOVIELENS, {name: name for name in case.wanted}, Dialect(**case.options))
    except RecsysError as error:
        refusal = str(error)
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
        logger.propagate = shown
    expected = truth(case)
    if refusal:
        assert case.damaged or not expected, f"refused though well-formed: {refusal}"
        assert case.file.name in refusal, f"the file is not named: {refusal}"
        return "refused"
    assert expected is not None, f"read though it is no table: {frame.rows()}"
    found = [tuple("" if cell is None else str(cell) for cell in row) for row in frame.rows()]
    assert found == expected, f"read {found}\nnot  {expected}"
    if case.fmt in ("csv", "tsv"):
        _every_line_is_told(case, frame.height, ear)
    return "equal, damaged" if case.damaged else "equal"


def _every_line_is_told(case: Case, rows: int, ear: Ear) -> None:
    data = case.file.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode(case.encoding)
    if re.search(r"\r(?!\n)", text):
        return  # which of these are line ends depends on the quotes
    lines = text.count("\n") + (not text.endswith("\n"))
    told = ear.counted("blank lines left out") + ear.counted("line ends are within quoted fields")
    assert lines == rows + 1 + told, f"{lines} lines, but {rows} rows and {told} told: {ear.said}"


def main(cases: int, first: int = 0) -> Counter[str]:
    """Check so many cases; stop at the first that fails, and say its seed."""
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + cases):
            case = make(seed, Path(folder))
            try:
                outcomes[f"{case.fmt}: {check(case)}"] += 1
            except BaseException:
                print(f"seed {seed}: {case}\n{case.file.read_bytes()!r}", file=sys.stderr)
                raise
            case.file.unlink()
    return outcomes


if __name__ == "__main__":
    for what, count in sorted(main(*map(int, sys.argv[1:3])).items()):
        print(f"{count:7,} {what}")
