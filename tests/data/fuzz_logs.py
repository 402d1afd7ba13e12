"""Logs made by chance, written in every format with times of every unit, and read back event by event."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.read import read_interactions
from recsys.errors import DataError
from tests.data.fuzz_tables import some

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FORMS = (*UNITS, *UNITS, "iso", "iso with fractions", "iso with a zone", "dates", "compact dates", "none")
_FIRST, _LAST = (int(datetime(year, 1, 2, tzinfo=UTC).timestamp()) for year in (1990, 2090))


@dataclass(frozen=True)
class Log:
    """A file, and each user's items with their seconds, oldest first."""

    file: Path
    histories: dict[str, list[tuple[str, int | None]]]
    refused: str = ""


def make_log(seed: int, folder: Path) -> Log:
    """One log; equal seeds give equal files."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 30))
    users, items = (_ids(random, count) for _ in range(2))
    nanoseconds = random.integers(_FIRST, _LAST, count).astype(np.int64) * 10**9 + random.integers(0, 10**9, count)
    nanoseconds[random.random(count) < 0.2] = nanoseconds[0]  # ties keep the order of the file
    form = str(some(random, FORMS))
    written, seconds, refused = _times(nanoseconds, form, random)
    file = folder / f"{seed}.{some(random, ['csv', 'tsv', 'dat', 'ndjson', 'parquet'])}"
    if seconds is None and file.suffix == ".dat":
        file = file.with_suffix(".csv")
    _write(file, users, items, written)
    order = range(count) if seconds is None else sorted(range(count), key=lambda row: _instant(nanoseconds[row], form))
    histories: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
    for row in order:
        histories[users[row].removesuffix(".0")].append(
            (items[row].removesuffix(".0"), None if seconds is None else seconds[row])
        )
    return Log(file, dict(histories), refused)


def _ids(random: np.random.Generator, count: int) -> list[str]:
    kind = int(random.integers(5))
    few = random.integers(0, 8, count)
    shape = ["{}", "u{}", "0{}", "90071992547409{}", "{}.0"][kind]  # the last one is what pandas writes beside a gap
    return [shape.format(n + 10) for n in few]


def _instant(nanoseconds: int, form: str) -> int:
    per = {"s": 10**9, "iso": 10**9, "ms": 10**6, "iso with fractions": 10**6, "iso with a zone": 10**9, "us": 10**3}
    if form in ("dates", "compact dates"):
        return int(nanoseconds) // (86_400 * 10**9)
    return int(nanoseconds) // per.get(form, 1)


def _times(
    nanoseconds: np.ndarray[tuple[int], np.dtype[np.int64]], form: str, random: np.random.Generator
) -> tuple[list[str] | None, list[int] | None, str]:
    seconds = [int(one) // 10**9 for one in nanoseconds]
    if form == "none":
        return None, None, ""
    if form in UNITS:
        written = [str(int(one) * UNITS[form] // 10**9) for one in nanoseconds]
        if len(written) > 4 and random.random() < 0.15:
            written[-1] = str(int(written[-1]) * 1000 if form == "s" else int(written[-1]) // 1000)
            return written, seconds, "a mixture of units"
        return written, seconds, ""
    moments = [datetime.fromtimestamp(one, UTC) for one in seconds]
    if form == "dates":
        return [f"{m:%Y-%m-%d}" for m in moments], [one // 86_400 * 86_400 for one in seconds], ""
    if form == "compact dates":
        return [f"{m:%Y%m%d}" for m in moments], [one // 86_400 * 86_400 for one in seconds], ""
    if form == "iso with a zone":
        return [f"{m:%Y-%m-%dT%H:%M:%S}Z" for m in moments], seconds, ""
    if form == "iso":
        return [f"{m:%Y-%m-%d %H:%M:%S}" for m in moments], seconds, ""
    thousandths = [int(one) // 10**6 % 1000 for one in nanoseconds]
    return [f"{m:%Y-%m-%dT%H:%M:%S}.{f:03d}" for m, f in zip(moments, thousandths, strict=True)], seconds, ""


def _write(file: Path, users: list[str], items: list[str], times: list[str] | None) -> None:
    names = ["user_id", "item_id", *([] if times is None else ["timestamp"])]
    rows = list(zip(users, items, *([] if times is None else [times]), strict=True))
    if file.suffix == ".dat":
        file.write_text("".join(f"{user}::{item}::5::{when}\n" for user, item, when in rows), "utf-8")
    elif file.suffix == ".ndjson":
        table = [dict(zip(names, row, strict=True)) for row in rows]
        numbers = times is not None and all(when.isdigit() for when in times)
        typed = [row | ({"timestamp": int(row["timestamp"])} if numbers else {}) for row in table]
        file.write_text("".join(json.dumps(row) + "\n" for row in typed), "utf-8")
    elif file.suffix == ".parquet":
        frame = pl.DataFrame(rows, schema=names, orient="row")
        if times is not None and all(when.isdigit() for when in times):
            frame = frame.with_columns(pl.col("timestamp").cast(pl.Int64))
        frame.write_parquet(file)
    else:
        separator = "," if file.suffix == ".csv" else "\t"
        file.write_text("".join(separator.join(row) + "\n" for row in [names, *rows]), "utf-8")


def check_log(log: Log) -> str:
    """Read a log; what came of it.

    Raises
    ------
    AssertionError
        An event is lost, changed, or out of order, or what must be refused was read.
    """
    refusal = ""
    try:
        found = read_interactions(log.file).frame()
    except DataError as error:
        refusal = str(error)
    if refusal:
        assert log.refused, f"{log.file.name} refused: {refusal}"
        assert log.file.name in refusal
        return "refused"
    assert not log.refused, f"{log.file.name} read, though it is {log.refused}"
    timed = "timestamp" in found.columns
    histories: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
    for row in found.iter_rows(named=True):
        histories[str(row["user_id"])].append((str(row["item_id"]), row["timestamp"] if timed else None))
    assert dict(histories) == log.histories, f"{log.file.name}: {dict(histories)}\nnot {log.histories}"
    return "equal"
