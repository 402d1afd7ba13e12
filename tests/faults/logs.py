"""Logs whose bytes were mutated: read row by row, or refused; no panic, and no row lost in silence.

Rows are counted by Python's own readers. By hand: ``python -m tests.faults.logs --rounds 1620``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl

import recsys
from recsys.data.interactions import Interactions
from tests.faults.tally import Tally, by_hand, judged

ROWS = 60
KINDS = ("csv", "tsv", "ndjson", "dat", "parquet")
_INSERTED = [b'"', b"'", b"\r", b"\n", b"\r\n", b"\0", b",", b"\t", b"::", b"\xff", b"\xc3", b"\xef\xbb\xbf"]
_INSERTED += [b"{", b"}", b"\\", b" "]


def write(file: Path) -> None:
    """A log of 60 events, in the format of the file's name."""
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n % 7}" for n in range(ROWS)],
            "item_id": [f"i{n % 11}" for n in range(ROWS)],
            "rating": [n % 5 + 1 for n in range(ROWS)],
            "timestamp": [1_700_000_000 + n for n in range(ROWS)],
        }
    )
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    elif file.suffix == ".ndjson":
        frame.write_ndjson(file)
    elif file.suffix == ".dat":
        file.write_text("".join("::".join(map(str, row)) + "\n" for row in frame.iter_rows()))
    else:
        frame.write_csv(file, separator="," if file.suffix == ".csv" else "\t")


def mutate(data: bytes, random: np.random.Generator) -> tuple[bytes, str]:
    """One to three changes of bytes."""
    done = []
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(0, len(data) + 1))
        how = int(random.integers(8))
        if how == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :]
        elif how in (1, 2):
            data = data[:at] + _INSERTED[int(random.integers(len(_INSERTED)))] + data[at:]
        elif how == 3:
            data = data[:at] + data[at + int(random.integers(1, 20)) :]
        elif how == 4:
            data = data[:at] + data[max(0, at - 30) : at] + data[at:]
        elif how == 5:
            data = data[:at]
        elif how == 6:
            data = data.replace(b"\n", b"\r", int(random.integers(1, ROWS)))
        else:
            data = data[:at] + bytes(min(32, len(data) - at)) + data[at + 32 :]
        done.append(f"{how}@{at}")
    return data, " ".join(done)


def counts(file: Path) -> set[int]:
    """How many events the file may be said to hold."""
    if file.suffix == ".parquet":
        return {ROWS}
    data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    texts = {data.decode("utf-8", "replace"), data.decode("latin-1")}
    found = set[int]()
    for text in texts:
        unified = text.replace("\r\n", "\n").replace("\r", "\n")
        if file.suffix == ".csv":
            for one in (text, unified):
                try:
                    rows = [row for row in csv.reader(io.StringIO(one, newline="")) if row]
                except csv.Error:
                    continue
                found.add(len(rows) - 1)
        for one in (text.replace("\r\n", "\n"), unified):
            lines = [line for line in one.split("\n") if line.strip(" \r\n")]
            found.add(len(lines) - (file.suffix in (".csv", ".tsv")))
    return found


def run(folder: Path, rounds: int, seed: int = 0) -> Tally:
    """Mutate and read ``rounds`` logs."""
    random, tally = np.random.default_rng(seed), Tally("mutated logs")
    base = dict[str, tuple[bytes, pl.DataFrame]]()
    for kind in KINDS:
        write(folder / f"base.{kind}")
        base[kind] = ((folder / f"base.{kind}").read_bytes(), recsys.read_interactions(folder / f"base.{kind}").frame())
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        data, frame = base[kind]
        file = folder / f"log.{kind}"
        changed, done = mutate(data, random)
        file.write_bytes(changed)
        read = list[Interactions]()
        outcome = judged(lambda: read.append(recsys.read_interactions(file)))  # noqa: B023
        if outcome == "same":
            found = read[0].frame()
            if found.equals(frame):
                outcome = "equal"
            elif len(read[0]) in (may := counts(file)):
                outcome = "row by row"
            else:
                outcome = f"LOST: {len(read[0])} rows, where {sorted(may)} stand there"
        tally.add(kind, outcome, f"seed {seed}, number {number}: {done}")
    return tally


if __name__ == "__main__":
    by_hand(run, 1620)
