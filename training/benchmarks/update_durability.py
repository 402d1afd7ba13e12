"""Kill -9 at moments all over an update: the old bundle serves, and what lies at --out is whole or not there.

    python training/benchmarks/update_durability.py --kills 20 --out training/results

A process of its own updates a bundle with new events: in turn to a place of its own, and over the bundle itself. It is
killed at moments spread evenly over the time that an undisturbed update takes, from its first line to its end. Then every
byte of the bundle is verified and it answers a request; in place it must be the old bundle or the new one; elsewhere the
new one or nothing. Last, the same update is made again, to its end: it must give the bundle that it gives undisturbed, and
leave nothing else behind.
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
_server.set_forkserver_preload(["recsys.pipeline.update", "recsys.training.update.run", "recsys.serving.retriever"])

PLACES = ("beside", "in place")
_FROM = 1_700_000_000


def made(events: int, seed: int, start: int) -> pl.DataFrame:
    """So many events of walks along 200 items, over a week that begins at an instant."""
    generator = np.random.default_rng(seed)
    users = generator.integers(0, max(events // 20, 50), events)
    steps = pl.Series(users).to_frame("user").with_columns(step=pl.int_range(pl.len()).over("user"))["step"]
    return pl.DataFrame({
        "user_id": pl.Series(users).cast(pl.String) + "u",
        "item_id": pl.Series((users * 7 + steps.to_numpy()) % 200).cast(pl.String) + "i",
        "timestamp": np.sort(start + generator.integers(0, 7 * 86_400, events)),
    })  # fmt: skip


def work(run: Path, log: Path, out: Path, said: Connection) -> None:
    """In a process of its own: one update, after telling that it begins."""
    import recsys

    said.send("begun")
    recsys.update(run, recsys.read_interactions(log), out=out, force=True, overwrite=True, accept=["gap"])
    said.send("done")


def started(run: Path, log: Path, out: Path) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    hears, says = _server.Pipe(duplex=False)
    process = _server.Process(target=work, args=(run, log, out, says))
    process.start()
    says.close()
    hears.recv()
    return process, hears


def answer(bundle: Path) -> tuple[int, list[str]]:
    """How many events a bundle knows, and what it recommends, after all of its bytes were verified."""
    import recsys

    found = recsys.load(bundle)
    return len(found.histories.rows), found.recommend([found.users.ids[0]], k=5)["item_id"].to_list()


def run(folder: Path, kills: int, events: int, seed: int = 0, *, fast: bool = True) -> Counter[str]:
    """Kill so many processes, and count what was found; raises where a bundle is neither the one before nor the one after.

    Parameters
    ----------
    folder : Path
    kills, events, seed : int
    fast : bool
        The bundle is a transition memory; otherwise towers, whose training is killed too.
    """
    import recsys

    old = recsys.Interactions.from_frame(made(events, seed, _FROM))
    log = folder / "new.parquet"
    made(events // 5, seed + 1, _FROM + 7 * 86_400).write_parquet(log)
    model = recsys.TwoTower(fast=True) if fast else recsys.TwoTower(encoder=None, dim=16, max_length=16)
    how = {} if fast else {"training": recsys.Training(epochs=2)}
    model.fit(old, **how).retriever(index="exact").save(folder / "first")
    before = answer(folder / "first")
    begun = time.monotonic()
    process, hears = started(folder / "first", log, folder / "whole")
    begun = time.monotonic()
    hears.recv()
    seconds = time.monotonic() - begun
    process.join()
    after, outcomes = answer(folder / "whole"), Counter[str]()
    if after[0] <= before[0]:
        raise SystemExit("the undisturbed update took nothing in")
    for number in range(kills):
        place, where = folder / "killed", PLACES[number % 2]
        shutil.copytree(folder / "first", place / "run")
        out = place / ("run" if where == "in place" else "two")
        process, _ = started(place / "run", log, out)
        time.sleep(seconds * number / max(kills - 1, 1))
        process.kill()
        process.join()
        served = answer(place / "run")
        if served != before and not (where == "in place" and served == after):
            raise SystemExit(f"{where}, kill {number}: the bundle is neither the one before nor the one after")
        if where == "beside" and out.exists() and answer(out) != after:
            raise SystemExit(f"{where}, kill {number}: what lies at --out is not the new bundle")
        outcomes[f"{where}: {'after' if out.exists() and answer(out) == after else 'before'}"] += 1
        if where == "beside" or served == before:
            process, hears = started(place / "run", log, out)
            hears.recv()
            process.join()
        left = {one.name for one in place.iterdir()} - {"run", "two", f".{out.name}.lock"}
        if answer(out) != after or left:
            raise SystemExit(f"{where}, kill {number}: the next update gave something else, or left {left}")
        shutil.rmtree(place)
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", choices=["memory", "towers"], default=["memory", "towers"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    words = f"--kills {given.kills} --events {given.events} --models {' '.join(given.models)}"
    lines = [
        "# Kill -9 all over an update",
        "",
        f"`python training/benchmarks/update_durability.py {words} --out training/results`",
        "",
        f"{platform.system()}, {os.cpu_count()} processors, {given.events:,} events and a fifth as many new ones.",
        "After every kill the old bundle answered as before (in place: the old or the new one), all bytes verified;",
        "what lay at --out was the new bundle or nothing; the next update gave what an undisturbed one gives, and",
        "left nothing behind.",
        "",
        "| model | kills | found |",
        "|---|---|---|",
    ]
    for model in given.models:
        with tempfile.TemporaryDirectory() as temporary:
            outcomes = run(Path(temporary), given.kills, given.events, given.seed, fast=model == "memory")
        told = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items()))
        lines.append(f"| {model} | {given.kills} | {told} |")
        print(lines[-1], flush=True)
        if given.out:
            (given.out / "update-durability.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
