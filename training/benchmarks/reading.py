"""Reading a log of many rows: seconds of processor, time and peak memory, of this package against another checkout's.

    PYTHONPATH=. python training/benchmarks/reading.py --against ../older --rows 20000000

The log is made on the spot: integer ids and text ids, with a timestamp, as CSV, as CSV with quoted fields, and as Parquet.
Each reading is a process of its own; the two packages take turns, round by round, so that what else the machine does meets
both alike. The figures are of the fastest round of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

_READ = """
import resource, sys, time
import polars, numpy
from recsys.data.read import read_interactions
import recsys.data.interactions
cpu, wall = time.process_time(), time.perf_counter()
log = read_interactions(sys.argv[1])
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(len(log), cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, log.fingerprint)
"""


class Reading(NamedTuple):
    """One reading: events, seconds of processor, seconds, MiB at most, and the log's fingerprint."""

    events: int
    cpu: float
    wall: float
    peak: float
    fingerprint: str


def make(folder: Path, rows: int) -> list[Path]:
    """Write the logs."""
    random = np.random.default_rng(0)
    users, items = max(rows // 10, 1), max(rows // 400, 1)
    numbers = pl.DataFrame(
        {
            "user_id": random.integers(0, users, rows),
            "item_id": (random.pareto(1.0, rows) * 100).astype(np.int64) % items,
            "timestamp": np.sort(random.integers(1_600_000_000, 1_700_000_000, rows)),
        }
    )
    texts = numbers.with_columns(
        pl.format("user-{}", pl.col("user_id").cast(pl.String).str.zfill(8)).alias("user_id"),
        pl.format("B{}", pl.col("item_id").cast(pl.String).str.zfill(9)).alias("item_id"),
    )
    for name, frame in (("integers", numbers), ("texts", texts)):
        frame.write_csv(folder / f"{name}.csv")
        frame.write_parquet(folder / f"{name}.parquet")
    texts.write_csv(folder / "texts-quoted.csv", quote_style="non_numeric")
    return [
        folder / name for name in ("integers.csv", "texts.csv", "texts-quoted.csv", "integers.parquet", "texts.parquet")
    ]


def read(package: Path, file: Path) -> Reading:
    """Read a log once, in a new process, with the package of a checkout."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(file)],
        env=os.environ | {"PYTHONPATH": str(package)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{package} cannot read {file.name}: {done.stderr[-2000:]}")
    events, cpu, wall, peak, fingerprint = done.stdout.split()[-5:]
    return Reading(int(events), float(cpu), float(wall), float(peak), fingerprint)


def main() -> None:
    """Make the logs, read them in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="another checkout, whose package is read with in turns")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of each log (default: 20000000)")
    parser.add_argument("--rounds", type=int, default=3, help="readings of each log by each package (default: 3)")
    parser.add_argument("--folder", type=Path, help="where the logs go for the time being (default: a temporary folder)")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    found: dict[tuple[str, Path], list[Reading]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = make(Path(folder), arguments.rows)
        for turn in range(arguments.rounds):
            for file in files:
                for package in (here, arguments.against.resolve())[:: 1 if turn % 2 else -1]:
                    found[file.name, package].append(read(package, file))
    print(f"{arguments.rows:,} rows, the fastest of {arguments.rounds} rounds in turns, polars {pl.__version__}\n")
    print("| log | CPU s | CPU s before | ratio | s | s before | peak MiB | peak MiB before |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for file in files:
        new, old = found[file.name, here], found[file.name, arguments.against.resolve()]
        if len({one.events for one in (*new, *old)}) > 1:
            raise SystemExit(f"{file.name}: the two packages do not read equally many events")
        cpu, before = min(one.cpu for one in new), min(one.cpu for one in old)
        walls, peaks = ([min(one[place] for one in side) for side in (new, old)] for place in (2, 3))
        print(
            f"| {file.name} | {cpu:.2f} | {before:.2f} | {cpu / before:.2f} | {walls[0]:.2f} | {walls[1]:.2f} | "
            f"{peaks[0]:,.0f} | {peaks[1]:,.0f} |"
        )


if __name__ == "__main__":
    main()
