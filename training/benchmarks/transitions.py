"""What the transition memory costs a single request over many items: ``python training/benchmarks/transitions.py``.

Vectors and table are random; each row of the table has as many entries as a fitted one. The exact index compares every
item, the approximate one finds some hundred; the memory adds the rows of the newest events to either.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import scipy.sparse as sp
import torch

from recsys.core.ragged import Ragged
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec
from recsys.transitions.learn import Form
from recsys.transitions.memory import TransitionMemory

DIM, K = 64, 10


def table(n_items: int, entries: int, seed: int = 0) -> TransitionMemory:
    """A random memory with this many entries in each row."""
    random = np.random.default_rng(seed)
    gaps = random.integers(1, max(2, n_items // entries), (n_items, entries), dtype=np.int64)
    columns = (gaps.cumsum(axis=1) % n_items).astype(np.int32)
    columns.sort(axis=1)
    values = random.random(n_items * entries, dtype=np.float32) + np.float32(1e-3)
    offsets = np.arange(n_items + 1, dtype=np.int64) * entries
    found = sp.csr_matrix((values, columns.ravel(), offsets), shape=(n_items, n_items))
    return TransitionMemory(found, Form("ridge", 6.0, 25), weight=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=50)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--lists", type=int, default=4096, help="of the IVF index")
    options = parser.parse_args()
    torch.set_num_threads(2)
    random = np.random.default_rng(1)
    vectors = random.standard_normal((options.items, DIM)).astype(np.float32)
    memory = table(options.items, options.entries)
    print(f"{options.items:,} items, {options.entries} entries a row, {memory.nbytes / 2**20:,.0f} MiB; ms: median, p99")
    indexes = {"exact": IndexSpec(), "ivf": IndexSpec("ivf", lists=options.lists, nprobe=16)}
    for name, spec in indexes.items():
        index = ItemIndex.build(vectors, spec)
        for added in (False, True):
            times = []
            for _ in range(options.requests):
                query = random.standard_normal((1, DIM)).astype(np.float32)
                history = Ragged.from_lists([random.integers(0, options.items, 40)])
                begun = time.perf_counter()
                index.search(query, K, history, added=memory.scores(history) if added else None)
                times.append(1e3 * (time.perf_counter() - begun))
            what = "with the memory" if added else "alone"
            print(f"{name} {what}: {np.median(times):.2f}, {np.quantile(times, 0.99):.2f}", flush=True)


if __name__ == "__main__":
    main()
