"""Batch recommendations for a million users: pace, memory, and a run that is killed twice against one that is not.

    python training/benchmarks/batch.py runs/beauty --users 1000000 --items 100000 --out training/results

The items are those of a trained bundle's towers, repeated with some noise up to the number asked for; users are made-up
histories of 5 to 50 of these items. Everything else is the real thing: user tower, index, seen filter, shards; but for a
transition memory, which is a random table (``--entries`` an item; 0: none).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from retrieval import jittered
from transitions import table as random_memory


def retriever_of(run: Path, n_users: int, n_items: int, entries: int) -> Any:
    """The bundle's towers over more items, with users of its own; the same at every call."""
    import torch

    import recsys
    from recsys.bundle.contents import Bundle
    from recsys.bundle.corpus import Corpus
    from recsys.core.id_map import IdMap
    from recsys.core.ragged import Ragged
    from recsys.data.catalog import Catalog
    from recsys.index.item_index import ItemIndex
    from recsys.models.towers import ItemTables
    from recsys.serving.retriever import Retriever

    towers, rng = recsys.load(run).towers, np.random.default_rng(0)
    items = IdMap(pl.Series(np.arange(n_items)), "item")
    users = IdMap(pl.Series(np.arange(n_users)), "user")
    vectors = jittered(towers.vectors, n_items, 0)
    tables = ItemTables.of(torch.from_numpy(jittered(towers.table.numpy(), n_items, 0)), torch.from_numpy(vectors))
    large = replace(towers, users=users, items=items, tables=tables)
    lengths = rng.integers(5, 51, n_users)
    histories = Ragged.from_lengths(lengths, rng.integers(0, n_items, int(lengths.sum())).astype(np.int32))
    memory = random_memory(n_items, entries) if entries else None
    corpus = Corpus(large, ItemIndex.build(vectors), Catalog.without_text(items), n_items, transitions=memory)
    return Retriever(Bundle(corpus, users, histories))


def work(run: str, users: str, items: str, k: str, entries: str, out: str) -> None:
    """One session of the batch, in a process of its own."""
    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger("recsys").setLevel(logging.INFO)
    from recsys.serving.batch.run import recommend_to_parquet

    retriever = retriever_of(Path(run), int(users), int(items), int(entries))
    begun = time.perf_counter()
    done = recommend_to_parquet(retriever, out, k=int(k), shard_users=50_000)
    seconds = time.perf_counter() - begun
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(f"{done.rows} {done.resumed_shards} {seconds} {peak}")


def session(arguments: argparse.Namespace, out: Path, shards: int | None) -> list[float] | None:
    """Run until so many shards are there and then kill; or to the end, and tell what it told."""
    given = [str(arguments.run), str(arguments.users), str(arguments.items), str(arguments.k)]
    given += [str(arguments.entries), str(out)]
    child = subprocess.Popen([sys.executable, __file__, "work", *given], stdout=subprocess.PIPE, text=True)
    while shards is not None and child.poll() is None:
        if len(list(out.glob("part-*.parquet"))) >= shards:
            time.sleep(1.5)  # in the middle of the next one
            child.send_signal(signal.SIGKILL)
            child.wait()
            return None
        time.sleep(0.05)
    told = child.communicate()[0]
    if child.returncode:
        raise SystemExit("the batch failed")
    return [float(word) for word in told.split()]


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("part-*.parquet"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a bundle, whose item vectors are repeated")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--entries", type=int, default=50, help="of an item in the transition memory; 0: no memory")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import torch

    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        whole = session(arguments, folder / "whole", None)
        first = digests(folder / "whole")
        shutil.rmtree(folder / "whole")
        count = len(first)
        killed = [session(arguments, folder / "killed", stop) for stop in (count // 4, count // 2)]
        last = session(arguments, folder / "killed", None)
        again = digests(folder / "killed")
    finally:
        shutil.rmtree(folder)
    if whole is None or last is None or any(one is not None for one in killed):
        raise SystemExit("a session that was to be killed came to its end; take more users")
    lines = [
        "# Batch",
        "",
        f"{arguments.users:,} users with histories of 5 to 50 of {arguments.items:,} items, k = {arguments.k}, seen items "
        f"filtered, dim {128}, {count} shards; a transition memory of {arguments.entries} entries an item.",
        "",
        "| | |",
        "|---|---|",
        f"| users / s, unbroken | {arguments.users / whole[2]:,.0f} |",
        f"| seconds | {whole[2]:,.0f} |",
        f"| rows | {whole[0]:,.0f} |",
        f"| peak MB (model and histories in it) | {whole[3]:,.0f} |",
        f"| killed after shards | {count // 4}, {count // 2} |",
        f"| shards taken over by the third session | {last[1]:.0f} |",
        f"| shards equal to the unbroken run's, byte by byte | {sum(first[n] == again[n] for n in first)} of {count} |",
        "",
        f"Command: `python training/benchmarks/batch.py RUN --users {arguments.users} --items {arguments.items} --k "
        f"{arguments.k} --entries {arguments.entries} --out training/results`, RUN: `recsys fit` on amazon-beauty, dim "
        "128  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, {datetime.now(UTC).date().isoformat()}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "batch.md").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "work":
        work(*sys.argv[2:])
    else:
        main()
