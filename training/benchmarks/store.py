"""The store: seconds and memory of opening, of finding an id among ten million, and of appending one percent.

    python training/benchmarks/store.py --rows 20000000 --ids 10000000

Each step runs in a process of its own. The log is synthetic and seeded: text ids, 200 thousand users, 50 thousand items by
Zipf's law, times. One percent more rows come with the benchmark's append: a tenth of them late, and some of new users. The
memory is what a process holds more afterwards than before; Polars has read a small file first, and the page cache is warm.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

USERS, ITEMS = 200_000, 50_000


def made(rows: int, seed: int, *, after: int = 0, new_users: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    items = np.minimum(generator.zipf(1.2, rows), ITEMS) - 1
    users = generator.random(rows) ** 2 * (USERS + new_users)
    times = after + np.sort(generator.integers(0, max(rows // 10, 10), rows))
    if after:
        late = generator.random(rows) < 0.1
        times[late] = generator.integers(0, after, int(late.sum()))
    return pl.DataFrame({
        "user_id": pl.Series(users.astype(np.int64)).cast(pl.String) + "-user",
        "item_id": pl.Series(items).cast(pl.String) + "-item",
        "timestamp": 1_500_000_000 + times,
    })  # fmt: skip


def held() -> np.ndarray:
    """Megabytes that this process holds: its own, and pages of files, which processes share."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return np.array([int(told[name].split()[0]) / 1e3 for name in ("RssAnon", "RssFile")])


def step(name: str, folder: Path) -> None:
    import recsys
    from recsys.data import importing

    pl.DataFrame({"a": ["b"]}).write_parquet(folder / "warm.parquet")
    pl.scan_parquet(folder / "warm.parquet").slice(0, 1).collect()
    begun, cpu, before = time.monotonic(), time.process_time(), held()
    if name == "import":
        importing.write_import(folder / "old.parquet", folder / "store", overwrite=True)
    elif name == "rebuild":
        importing.write_import([folder / "old.parquet", folder / "new.parquet"], folder / "rebuilt", overwrite=True)
    elif name == "append":
        importing.write_import(folder / "new.parquet", folder / "store", append=True)
    elif name == "open, one part":
        recsys.open_store(folder / "rebuilt")
    elif name == "open, with a run":
        recsys.open_store(folder / "store")
    elif name == "first event, with a run":
        log = recsys.open_store(folder / "store")
        begun, cpu, before = time.monotonic(), time.process_time(), held()
        log.histories.rows[:1]
    else:
        log = recsys.open_store(folder / "ids")
        begun, cpu, before = time.monotonic(), time.process_time(), held()
        number = 7 * len(log.users) // 9
        if log.users.find_rows([f"{number}-user", "nobody"]).tolist() != [number, -1]:
            raise SystemExit("the look-up is wrong")
    seconds, cpu, more = time.monotonic() - begun, time.process_time() - cpu, held() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {name} | {seconds:.4f} | {cpu:.4f} | {more[0]:,.1f} | {more[1]:,.1f} | {peak:.2f} |", flush=True)


def prepare(folder: Path, rows: int, ids: int) -> None:
    from recsys.core.id_map import IdMap
    from recsys.core.ragged import Ragged
    from recsys.data.interactions import Interactions

    made(rows, 1).write_parquet(folder / "old.parquet")
    made(rows // 100, 2, after=rows // 10, new_users=USERS // 100).write_parquet(folder / "new.parquet")
    users = IdMap(pl.Series(np.arange(ids)).cast(pl.String) + "-user", "user", checked=True)
    items = IdMap(pl.Series([0]), "item", checked=True)
    Interactions(users, items, Ragged.from_lengths(np.ones(ids, np.int64), np.zeros(ids, np.int32))).save(folder / "ids")


STEPS = [
    "import",
    "append",
    "rebuild",
    "open, one part",
    "open, with a run",
    "first event, with a run",
    "look-up",
    "look-up",
]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where a prepared log is kept, or is to be (default: nowhere)")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step(given.step, given.folder)
        sys.exit()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "ids" / "manifest.json").is_file():
            folder.mkdir(exist_ok=True, parents=True)
            prepare(folder, given.rows, given.ids)
        print(f"{given.rows:,} rows, {given.ids:,} ids; {platform.system()}, {os.cpu_count()} processors")
        print(
            "| step | seconds | CPU seconds | own MB more | shared MB more | peak GB |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in STEPS:
            subprocess.run([sys.executable, __file__, "--folder", str(folder), "--step", name], check=True)
