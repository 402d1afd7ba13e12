"""Kill -9 at random moments of import and append: the store is whole before or whole after, and the next writer goes on.

    python training/benchmarks/store_durability.py --kills 30 --rows 1000000

A process of its own imports a log over a store that stands there, appends a tenth part of a percent to it (a run), or
appends so much that the store is written anew. It is killed at a random moment. Then every byte of the store is verified,
and its fingerprint must be the one from before or the one that an undisturbed process gives. Last, the same work is done
again to its end (after a kill within the merging of parts, the next append): it must give the expected store and leave
nothing else behind.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["recsys.data.importing"])


def made(rows: int, seed: int) -> pl.DataFrame:
    """A log of so many events, with text ids."""
    generator = np.random.default_rng(seed)
    return pl.DataFrame({
        "user_id": pl.Series(generator.integers(0, max(rows // 20, 3), rows)).cast(pl.String) + "u",
        "item_id": pl.Series(generator.integers(0, 500, rows)).cast(pl.String) + f"i{seed % 2}",
        "timestamp": generator.integers(0, 10**6, rows),
    })  # fmt: skip


def work(kind: str, log: Path, store: Path, said: Connection) -> None:
    """In a process of its own: do one piece of work, after telling that it begins."""
    from recsys.data.importing import import_log

    said.send("begun")
    import_log(log, store, append=kind != "import", overwrite=kind == "import")
    said.send("done")


def started(kind: str, log: Path, store: Path) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    hears, says = _server.Pipe(duplex=False)
    process = _server.Process(target=work, args=(kind, log, store, says))
    process.start()
    says.close()
    hears.recv()
    return process, hears


def digest(store: Path) -> str:
    """The fingerprint of the log in a store, every byte of which is verified."""
    import recsys

    return recsys.open_store(store, verify=True).fingerprint


def run(folder: Path, kills: int, rows: int, seed: int = 0) -> Counter[str]:
    """Kill so many processes, and count how the store was found; raises where it is neither before nor after."""
    from recsys.data.importing import import_log

    chance, outcomes = np.random.default_rng(seed), Counter[str]()
    logs = {"import": made(rows, 1), "append": made(max(rows // 1000, 1), 2), "merge": made(rows // 5, 3)}
    for name, frame in (*logs.items(), ("first", made(rows, 4))):
        frame.write_parquet(folder / f"{name}.parquet")
    import_log(folder / "first.parquet", folder / "first")
    before, after, seconds = digest(folder / "first"), {}, {}
    for kind in logs:
        shutil.copytree(folder / "first", folder / "whole" / kind)
        process, hears = started(kind, folder / f"{kind}.parquet", folder / "whole" / kind)
        begun = time.monotonic()
        hears.recv()
        seconds[kind] = time.monotonic() - begun
        process.join()
        after[kind] = digest(folder / "whole" / kind)
    shutil.copytree(folder / "whole" / "merge", folder / "whole" / "both")
    import_log(folder / "append.parquet", folder / "whole" / "both", append=True)
    after["both"] = digest(folder / "whole" / "both")
    for number in range(kills):
        kind = list(logs)[number % len(logs)]
        place = folder / "killed"
        shutil.copytree(folder / "first", place / "store")
        process, _ = started(kind, folder / f"{kind}.parquet", place / "store")
        time.sleep(chance.uniform(0, 1.1) * seconds[kind])
        process.kill()
        process.join()
        found = digest(place / "store")
        if found not in (before, after[kind]):
            raise SystemExit(f"{kind}, kill {number}: the store is neither the one before nor the one after")
        outcomes[f"{kind}: {'before' if found == before else 'after'}"] += 1
        again, wanted = kind, kind
        if kind == "merge" and found != before:  # killed while parts were merged, perhaps: the next writer does that
            again, wanted = "append", "both"
        if found == before or kind == "import" or wanted == "both":
            process, _ = started(again, folder / f"{again}.parquet", place / "store")
            process.join()
        left = [one.name for one in place.iterdir() if one.name not in ("store", ".store.lock")]
        runs = len(list((place / "store" / "runs").glob("*"))) if (place / "store" / "runs").is_dir() else 0
        if digest(place / "store") != after[wanted] or left or runs > 1 or (runs == 1 and kind == "import"):
            raise SystemExit(f"{kind}, kill {number}: the next process left {left}, {runs} runs")
        shutil.rmtree(place)
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = run(Path(temporary), given.kills, given.rows, given.seed)
    print(f"{given.kills} kills, {given.rows:,} rows, {platform.system()}, {os.cpu_count()} processors")
    for outcome, count in sorted(outcomes.items()):
        print(f"  {outcome:<20}{count}")
