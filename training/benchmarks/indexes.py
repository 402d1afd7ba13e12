"""Every kind of index on a million vectors of real towers: recall, latency, memory, building; then one whole request.

    python training/benchmarks/indexes.py runs/beauty --out training/results

The vectors are those of a trained bundle's towers, repeated with some noise up to the size asked for. Recall@100 and times
are those of single queries, one after the other; building uses all threads, searching one. The request is
``Retriever.recommend`` for a history of 50 events, user tower included, through the fastest index that finds 95 %. Beside
each stands the time of the same with a transition memory (a random table, 50 entries an item).
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from retrieval import jittered
from transitions import table as random_memory

K = 100
ENTRIES = 50
"""Of an item in the transition memory."""
HISTORY = 50
REQUESTS = 300
BUILDS: dict[str, list[dict[str, Any]]] = {
    "exact": [{}, {"precision": "bfloat16"}, {"precision": "int8"}],
    "truncated": [{"kept_dim": 32, "rescore": rescore} for rescore in (4, 16)],
    "ivf": [{"nprobe": nprobe} for nprobe in (4, 16, 64)],
    "sq": [{"nprobe": nprobe, "rescore": 2, "precision": "bfloat16"} for nprobe in (4, 16, 64)],
    "ivfpq": [{"nprobe": nprobe, "rescore": 8, "precision": "bfloat16"} for nprobe in (4, 16, 64)],
    "hnsw": [{"hnsw_m": 16, "build_effort": 60, "ef_search": ef_search} for ef_search in (100, 200, 400)],
}
SEARCH = {"nprobe", "rescore", "ef_search"}
"""Settings that need no other build."""


def measured(
    items: np.ndarray, queries: np.ndarray, kinds: list[str], threads: int, memory: Any
) -> tuple[list[dict[str, Any]], Any]:
    """A row per configuration, and the fastest index that finds 95 %."""
    import faiss
    import torch

    from recsys.core.ragged import Ragged
    from recsys.index.approximate import FaissIndex
    from recsys.index.choose import recall_of
    from recsys.index.item_index import ItemIndex
    from recsys.index.spec import IndexSpec

    rows: list[dict[str, Any]] = []
    truth = ItemIndex.build(items).search(queries, K)
    best: tuple[float, Any] | None = None
    random = np.random.default_rng(4)
    histories = [Ragged.from_lists([random.integers(0, len(items), HISTORY)]) for _ in queries]
    for kind in kinds:
        index, built = None, None
        for settings in BUILDS[kind]:
            fixed = {name: value for name, value in settings.items() if name not in SEARCH}
            if index is None or fixed != built:
                torch.set_num_threads(threads)
                faiss.omp_set_num_threads(threads)
                begun = time.perf_counter()
                index, built = ItemIndex.build(items, IndexSpec(kind, **settings)), fixed
                seconds = time.perf_counter() - begun
            spec = replace(index.spec, **{name: value for name, value in settings.items() if name in SEARCH})
            finder = index.finder
            one = replace(index, spec=spec, finder=replace(finder, spec=spec) if isinstance(finder, FaissIndex) else finder)
            torch.set_num_threads(1)
            faiss.omp_set_num_threads(1)
            found, times = [], []
            for query in queries:
                begun = time.perf_counter()
                found.append(one.search(query[None], K))
                times.append(time.perf_counter() - begun)
            beside = []
            for query, history in zip(queries, histories, strict=True):
                begun = time.perf_counter()
                one.search(query[None], K, added=memory.scores(history))
                beside.append(time.perf_counter() - begun)
            recall = recall_of(type(truth).joined(found), truth)
            p50, p99 = np.percentile(times, [50, 99]) * 1e3
            with_p50, with_p99 = np.percentile(beside, [50, 99]) * 1e3
            rows.append(
                {"index": str(spec), "recall@100": recall, "p50 ms": p50, "p99 ms": p99}
                | {"p50 ms with transitions": with_p50, "p99 ms with transitions": with_p99}
                | {"MiB": one.nbytes / 2**20, "build s": seconds}
            )
            print(rows[-1], flush=True)
            if recall >= 0.95 and kind != "exact" and (best is None or p50 < best[0]):
                best = p50, one
    return rows, best[1] if best else None


def request(run: Path, items: np.ndarray, index: Any, memory: Any) -> list[str]:
    """Lines about whole requests on one core."""
    import torch

    import recsys
    from recsys.bundle.corpus import Corpus
    from recsys.core.id_map import IdMap
    from recsys.data.catalog import Catalog
    from recsys.models.towers import ItemTables

    retriever = recsys.load(run)
    towers = retriever.towers
    ids = IdMap(pl.Series([f"item-{n}" for n in range(len(items))]), "item")
    tables = ItemTables.of(torch.from_numpy(jittered(towers.table.numpy(), len(items), 0)), torch.from_numpy(items))
    large = replace(towers, items=ids, tables=tables)
    corpus = Corpus(large, index, Catalog.without_text(ids), len(items))
    bundle = replace(retriever.bundle, corpus=corpus)
    rng = np.random.default_rng(3)
    histories = [[f"item-{n}" for n in rng.integers(0, len(items), HISTORY)] for _ in range(REQUESTS + 20)]
    rows = [ids.to_rows(one) for one in histories]
    torch.set_num_threads(1)
    added = replace(bundle, corpus=replace(corpus, transitions=memory))
    spent = {"whole request": [], "whole request, with transitions": [], "user tower": [], "index": []}
    from recsys.core.ragged import Ragged

    for number, history in enumerate(histories):
        for name, one in (("whole request", bundle), ("whole request, with transitions", added)):
            retriever.bundle = one
            begun = time.perf_counter()
            frame = retriever.recommend(histories=[history], k=10)
            spent[name].append(time.perf_counter() - begun)
            if frame.height != 10:
                raise SystemExit(f"{frame.height} items came instead of 10")
        read = Ragged.from_lists([rows[number]])
        begun = time.perf_counter()
        vectors = large.user_vectors(read).numpy()
        spent["user tower"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        index.search(vectors, 10, read)
        spent["index"].append(time.perf_counter() - begun)
    lines = ["", f"## One request, history of {HISTORY}, {len(items):,} items, k = 10, one core: {index.spec}", ""]
    lines += ["| | p50 ms | p99 ms |", "|---|---|---|"]
    for name, times in spent.items():
        p50, p99 = np.percentile(times[20:], [50, 99]) * 1e3
        lines.append(f"| {name} | {p50:.2f} | {p99:.2f} |")
    return [*lines, "", "The rest of a request is ids to rows and back, and the frame. The first 20 requests are left out."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a bundle, whose vectors are repeated")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=list(BUILDS), default=list(BUILDS))
    parser.add_argument("--threads", type=int, default=2, help="of building")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import faiss
    import torch

    import recsys

    retriever = recsys.load(arguments.run)
    users = np.sort(np.random.default_rng(1).choice(np.flatnonzero(retriever.histories.lengths), arguments.queries, False))
    queries = retriever.towers.user_vectors(retriever.histories.take(users)).numpy()
    items = jittered(retriever.vectors, arguments.items, 0)
    memory = random_memory(len(items), ENTRIES)
    rows, best = measured(items, queries, arguments.kinds, arguments.threads, memory)
    lines = [
        "# Indexes",
        "",
        f"{arguments.items:,} vectors of dim {items.shape[1]}: those of trained towers, repeated with noise; "
        f"{len(queries)} users' vectors, one query after the other on one core; recall@100 against float32; MiB: vectors "
        f"and index. With transitions: a table of {ENTRIES} random entries an item adds to the scores, read by a history "
        f"of {HISTORY}.",
        "",
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
    ]
    lines += [
        f"| {row['index']} | {row['recall@100']:.4f} | {row['p50 ms']:.2f} | {row['p99 ms']:.2f} | "
        f"{row['p50 ms with transitions']:.2f} | {row['p99 ms with transitions']:.2f} | {row['MiB']:,.0f} | "
        f"{row['build s']:,.0f} |"
        for row in rows
    ]
    if best is not None:
        lines += request(arguments.run, items, best, memory)
    lines += [
        "",
        f"Command: `python training/benchmarks/indexes.py RUN --items {arguments.items} --out training/results`, RUN: "
        "`recsys fit` on amazon-beauty, dim 128  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, faiss {faiss.__version__}, {datetime.now(UTC).date().isoformat()}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "indexes.md").write_text(text)


if __name__ == "__main__":
    main()
