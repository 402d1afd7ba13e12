"""From a log of many rows to histories and a user-item matrix: this package beside RecTools, DuckDB, polars and pandas.

    PYTHONPATH=. python training/benchmarks/data_engine.py --rows 20000000 --peers path/to/peers/bin/python

The log is made on the spot from a seed: users and items by Zipf's law at random times, as Parquet with and without
dictionary pages and as CSV, with text ids and with integer ids. Each reading is a process of its own, and the engines take
turns. The peers run in an environment of their own, without recsys: ``pip install rectools==0.19.0 "numpy<2" duckdb pandas
"pyarrow<22" polars``. Measured are processor seconds, seconds and the greatest memory, from the start of the reading to a
user-item matrix and, except in RecTools, which keeps a frame, to items and times in time order user by user.

``--grow`` makes larger logs in pieces and imports them alone, for the growth of time and memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SPAN = (1_600_000_000, 1_700_000_000)
PIECE = 10_000_000


def _zipf(n: int, power: float) -> Any:
    share = 1 / np.arange(1, n + 1) ** power
    return np.cumsum(share / share.sum())


def events(rows: int, users: int, items: int, seed: int) -> pl.DataFrame:
    """Integer ids and times; ids are in no order."""
    random = np.random.default_rng(seed)
    columns = {}
    for name, n, power in (("user_id", users, 0.6), ("item_id", items, 0.9)):
        drawn = np.searchsorted(_zipf(n, power), random.random(rows)).clip(0, n - 1)
        columns[name] = np.random.default_rng(n).permutation(n)[drawn]
    return pl.DataFrame(columns | {"timestamp": random.integers(*SPAN, rows)})


def as_text(log: pl.DataFrame) -> pl.DataFrame:
    """With ids of 13 and of 10 letters."""
    user, item = (pl.col(name).cast(pl.String) for name in ("user_id", "item_id"))
    return log.with_columns(
        pl.format("user-{}", user.str.zfill(8)).alias("user_id"), pl.format("B{}", item.str.zfill(9)).alias("item_id")
    )


def make(folder: Path, rows: int, users: int, items: int) -> list[Path]:
    """Write the logs of the comparison."""
    import pyarrow.parquet as pq

    numbers = events(rows, users, items, 0)
    texts = as_text(numbers)
    files = [
        folder / name for name in ("texts.parquet", "texts-plain.parquet", "integers.parquet", "texts.csv", "integers.csv")
    ]
    pq.write_table(texts.to_arrow(), files[0], dictionary_pagesize_limit=1 << 24)
    pq.write_table(texts.to_arrow(), files[1], use_dictionary=False)
    pq.write_table(numbers.to_arrow(), files[2])
    texts.write_csv(files[3])
    numbers.write_csv(files[4])
    return files


def make_pieces(folder: Path, rows: int) -> Path:
    """Write a log with text ids as a folder of Parquet files; one user in a hundred rows, one item in a thousand."""
    (folder / f"log-{rows}").mkdir()
    for number, start in enumerate(range(0, rows, PIECE)):
        piece = events(min(PIECE, rows - start), rows // 100, rows // 1000, number)
        as_text(piece).write_parquet(folder / f"log-{rows}" / f"{number:04}.parquet", row_group_size=1 << 20)
    return folder / f"log-{rows}"


def _scan(file: str) -> pl.LazyFrame:
    return pl.scan_parquet(file) if file.endswith("parquet") else pl.scan_csv(file)


def _frame(file: str) -> Any:
    import pandas as pd

    return pd.read_parquet(file) if file.endswith("parquet") else pd.read_csv(file)


def _matrix(rows: Any, lengths: Any) -> Any:
    import scipy.sparse as sp

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), rows.copy(), offsets))
    matrix.sum_duplicates()
    return matrix


def _recsys(file: str) -> int:
    from recsys.data.read import read_interactions

    log = read_interactions(file)
    log.matrix()
    return len(log)


def _recsys_import(file: str) -> int:
    from recsys.data.importing import import_log

    with tempfile.TemporaryDirectory(dir=".") as folder:
        log = import_log(file, Path(folder) / "store")
        log.matrix()
        return len(log)


def _recsys_import_only(file: str) -> int:
    from recsys.data.importing import import_log

    return len(import_log(file, Path(f"{file}-store"), overwrite=True))


def _rectools(file: str) -> int:
    import pandas as pd
    from rectools.dataset import Dataset

    warnings.filterwarnings("ignore")
    frame = _frame(file)
    frame["datetime"], frame["weight"] = pd.to_datetime(frame.pop("timestamp"), unit="s"), 1.0
    data = Dataset.construct(frame)
    data.get_user_item_matrix()
    return len(data.interactions.df)


def _pandas(file: str) -> int:
    import pandas as pd

    frame = _frame(file)
    users, items = pd.factorize(frame.user_id)[0], pd.factorize(frame.item_id)[0]
    times = frame.timestamp.to_numpy()
    order = np.lexsort((times, users))
    rows, times = items[order], times[order]
    _matrix(rows, np.bincount(users))
    return len(times)


def _polars(file: str) -> int:
    frame = _scan(file).collect()
    numbered = [pl.col(name).rank("dense").cast(pl.Int32) - 1 for name in ("user_id", "item_id")]
    frame = frame.with_columns(numbered).sort("user_id", "timestamp", maintain_order=True)
    _matrix(frame["item_id"].to_numpy(), np.bincount(frame["user_id"].to_numpy()))
    return frame.height


def _polars_reading(file: str) -> int:
    return _scan(file).collect().height


def _duckdb(file: str) -> int:
    import duckdb

    source = f"read_{'parquet' if file.endswith('parquet') else 'csv'}('{file}')"
    numbered = "{0} as (select {1}, row_number() over (order by {1}) - 1 as n from (select distinct {1} from {2}))"
    users, items = numbered.format("u", "user_id", source), numbered.format("i", "item_id", source)
    query = "with {}, {} select u.n::int as user, i.n::int as item, timestamp from {} {} order by u.n, timestamp"
    found = duckdb.sql(query.format(users, items, source, "join u using (user_id) join i using (item_id)")).fetchnumpy()
    _matrix(found["item"], np.bincount(found["user"]))
    return len(found["timestamp"])


ENGINES: dict[str, Callable[[str], int]] = {
    "recsys, read_interactions": _recsys,
    "recsys, import": _recsys_import,
    "RecTools 0.19, Dataset.construct": _rectools,
    "pandas, factorize": _pandas,
    "DuckDB, join": _duckdb,
    "polars, rank": _polars,
    "polars, the file alone": _polars_reading,
    "import": _recsys_import_only,
}
COMPARED = list(ENGINES)[:-1]
HEAVY = {
    "recsys": ("recsys.data.importing", "recsys.data.read"),
    "RecTools": ("rectools.dataset",),
    "pandas": ("pandas",),
    "DuckDB": ("duckdb",),
}


def one(engine: str, file: str) -> None:
    """Read once in this process, and print what that took; imports of libraries are not counted."""
    for module in HEAVY.get(engine.replace(",", " ").split()[0], HEAVY["recsys"] if engine == "import" else ()):
        __import__(module)
    cpu, wall = time.process_time(), time.perf_counter()
    count = ENGINES[engine](file)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print("measured", cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, count)


def measured(python: str, engine: str, file: Path) -> list[float]:
    """Read once in a new process: processor seconds, seconds, MiB, events."""
    done = subprocess.run(
        [python, str(Path(__file__).resolve()), "--engine", engine, str(file)],
        env=os.environ, cwd=file.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("measured ")]
    if not found:
        raise SystemExit(f"{engine} cannot read {file.name}: {done.stderr[-2000:]}")
    return [float(figure) for figure in found[0]]


def compare(arguments: argparse.Namespace) -> None:
    """Make the logs, read them in turns, and print a table."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = make(Path(folder), arguments.rows, arguments.users, arguments.items)
        files = [file for file in files if not arguments.only or file.name in arguments.only]
        print(f"{arguments.rows:,} rows, {arguments.users:,} users, {arguments.items:,} items\n")
        print("| log | engine | CPU s | CPU of RecTools' / own | s | peak MiB | of RecTools' |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for file in files:
            best = dict[str, list[float]]()
            for _ in range(arguments.rounds):
                for engine in COMPARED:
                    python = sys.executable if engine.startswith("recsys") else arguments.peers
                    new = measured(python, engine, file)
                    best[engine] = min(best.get(engine, new), new)
            base = best["RecTools 0.19, Dataset.construct"]
            for engine, (cpu, wall, peak, count) in best.items():
                if count != arguments.rows:
                    raise SystemExit(f"{engine} read {count:,.0f} rows of {file.name}")
                print(
                    f"| {file.name} | {engine} | {cpu:.2f} | {base[0] / cpu:.1f} | {wall:.2f} | {peak:,.0f} | "
                    f"{peak / base[2]:.2f} |",
                    flush=True,
                )


def grow(arguments: argparse.Namespace) -> None:
    """Import larger and larger logs, and print a table."""
    print("| rows | CPU s | s | peak MiB |\n| --- | --- | --- | --- |")
    for rows in arguments.grow:
        log = Path(arguments.folder or ".") / f"log-{rows}"
        log = log if log.is_dir() else make_pieces(log.parent, rows)
        cpu, wall, peak, _ = measured(sys.executable, "import", log.resolve())
        print(f"| {rows:,} | {cpu:.1f} | {wall:.1f} | {peak:,.0f} |", flush=True)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of each log (default: 20000000)")
    parser.add_argument("--users", type=int, default=200_000, help="users (default: 200000)")
    parser.add_argument("--items", type=int, default=50_000, help="items (default: 50000)")
    parser.add_argument("--rounds", type=int, default=1, help="readings of each log by each engine (default: 1)")
    parser.add_argument("--only", nargs="*", help="names of the files to read (default: all)")
    parser.add_argument("--peers", help="the peers' Python")
    parser.add_argument("--folder", type=Path, help="where the logs go for the time being (default: a temporary folder)")
    parser.add_argument("--grow", nargs="*", type=int, help="rows of logs to import one after the other instead")
    parser.add_argument("--engine", nargs=2, metavar=("ENGINE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        one(*arguments.engine)
    elif arguments.grow:
        grow(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
