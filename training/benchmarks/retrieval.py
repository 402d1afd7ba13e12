"""Exact retrieval with seen items filtered, against the bare matrix product, FAISS, implicit and RecTools, in one run.

    python training/benchmarks/retrieval.py runs/beauty --rectools path/to/venv/bin/python --out training/results

The vectors are those of a trained bundle's towers: its items and users, repeated with some noise up to the sizes asked
for. Each contestant ranks in a process of its own, one after the other, all with the same number of threads; what is timed
is the ranking alone, twice in each of several rounds, and the fastest counts. RecTools needs an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

K, SEEN = 100, 100
NOISE = 0.3
"""Length of the noise beside vectors of length 1."""
PEERS = (
    "bare product, float32",
    "faiss.IndexFlatIP, no filter",
    "implicit top-k",
    "recsys, no filter",
    "recsys, with transitions",
    "recsys",
)
RECTOOLS = ("RecTools ImplicitRanker", "RecTools TorchRanker")


def jittered(vectors: np.ndarray, n: int, seed: int) -> np.ndarray:
    """float32 (n, D): vectors repeated, each with noise of its own, and with the length that it had."""
    rng = np.random.default_rng(seed)
    made = vectors[rng.permutation(np.arange(n) % len(vectors))]
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    made = made + NOISE * lengths * rng.standard_normal(made.shape, dtype=np.float32) / np.sqrt(made.shape[1])
    return np.ascontiguousarray(made * lengths / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def make(run: Path, n_items: int, n_users: int, file: Path) -> None:
    """Items, users and their seen items, half of these among the user's best so that the filter has something to do."""
    import torch

    import recsys
    from recsys.index.exact.search import search
    from recsys.index.exact.table import VectorTable

    retriever = recsys.load(run)
    towers, rng = retriever.towers, np.random.default_rng(2)
    rows = np.flatnonzero(retriever.histories.lengths).astype(np.int32)
    rows = np.sort(rng.choice(rows, min(len(rows), n_users), replace=False))
    people = towers.user_vectors(retriever.histories.take(rows), rows).numpy()
    items, users = jittered(towers.vectors, n_items, 0), jittered(people, n_users, 1)
    best = search(torch.from_numpy(users), VectorTable.of(torch.from_numpy(items)), SEEN // 2).lists.rows.reshape(
        n_users, -1
    )
    seen = np.concatenate([best, rng.integers(0, n_items, (n_users, SEEN // 2))], axis=1)
    np.savez(file, items=items, users=users, seen=np.sort(seen.astype(np.int32), axis=1))


def contestant(name: str, file: str, threads: int) -> dict[str, Any]:
    """Rank all users; best of two runs."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    case = np.load(file)
    items, users, seen = case["items"], case["users"], case["seen"]
    with threadpool_limits(threads):
        rank = RANKERS[name](items, users, seen, threads)
        times, found = [], None
        for _ in range(2):
            begun = time.perf_counter()
            found = rank()
            times.append(time.perf_counter() - begun)
    status = Path("/proc/self/status").read_text()
    np.save(f"{file}.{name}.npy", found if found is not None else np.zeros((0, K)))
    return {"seconds": min(times), "users": len(users), "peak MB": int(status.split("VmHWM:")[1].split()[0]) / 1024}


def product(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    """The scores of blocks of users, in one buffer, and nothing else."""
    import torch

    left, right = torch.from_numpy(users), torch.from_numpy(items)
    block = max(1, min(len(users), 2**26 // len(items)))
    buffer = torch.empty(block, len(items))

    def rank() -> None:
        for start in range(0, len(left), block):
            some = left[start : start + block]
            torch.mm(some, right.T, out=buffer[: len(some)])

    return rank


def flat(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return lambda: index.search(users, K)[1]


def by_implicit(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    import scipy.sparse as sp
    from implicit.cpu.topk import topk

    filtered = sp.csr_matrix(
        (np.ones(seen.size, dtype=np.float32), seen.ravel(), np.arange(0, seen.size + 1, seen.shape[1])),
        shape=(len(users), len(items)),
    )
    return lambda: topk(items, users, K, filter_query_items=filtered, num_threads=threads)[0]


def ours(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    from recsys.core.ragged import Ragged
    from recsys.index.item_index import ItemIndex

    index = ItemIndex.build(items)
    lists = Ragged.from_lengths(np.full(len(users), seen.shape[1]), seen.ravel())
    return lambda: index.search(users, K, lists).lists.rows.reshape(len(users), K)


def ours_with_transitions(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    from transitions import table as random_memory

    from recsys.core.ragged import Ragged
    from recsys.index.item_index import ItemIndex

    index, memory = ItemIndex.build(items), random_memory(len(items), 50)
    lists = Ragged.from_lengths(np.full(len(users), seen.shape[1]), seen.ravel())
    return lambda: index.search(users, K, lists, added=memory.scores(lists)).lists.rows.reshape(len(users), K)


def ours_bare(items: np.ndarray, users: np.ndarray, seen: np.ndarray, threads: int) -> Any:
    from recsys.index.item_index import ItemIndex

    index = ItemIndex.build(items)
    return lambda: index.search(users, K).lists.rows.reshape(len(users), K)


RANKERS = dict(zip(PEERS, (product, flat, by_implicit, ours_bare, ours_with_transitions, ours), strict=True))


def child(python: str, script: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([python, str(script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def agreement(one: np.ndarray, two: np.ndarray) -> float:
    """Share of the items of two sets of lists that are in both."""
    n = 1 + int(max(one.max(initial=0), two.max(initial=0)))
    keys = [(np.arange(len(lists))[:, None] * n + lists).ravel() for lists in (one, two)]
    return float(np.isin(keys[0], keys[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a bundle, whose vectors are repeated")
    parser.add_argument("--rectools", help="python of an environment that has RecTools")
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--users", type=int, nargs="+", default=[8192, 1024], help="for each number of items")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ |= {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    tables = []
    for n_items, n_users in zip(arguments.items, arguments.users, strict=True):
        with tempfile.TemporaryDirectory() as temporary:
            file = f"{temporary}/case.npz"
            make(arguments.run, n_items, n_users, Path(file))
            runs: dict[str, Any] = {}
            names = (*PEERS, *(RECTOOLS if arguments.rectools else ()))
            for number in range(arguments.rounds):  # in turn, since other guests of the machine come and go
                for name in names:
                    print(f"--- {n_items:,} items, round {number + 1}: {name}", file=sys.stderr, flush=True)
                    if name in RANKERS:
                        one = child(sys.executable, Path(__file__), "contestant", name, file, str(arguments.threads))
                    else:
                        script = Path(__file__).with_name("retrieval_rectools.py")
                        one = child(arguments.rectools, script, name, file, str(K), str(arguments.threads))
                    before = runs.setdefault(name, one)
                    runs[name] = min(before, one, key=lambda run: run["seconds"])
            lists = {name: np.load(f"{file}.{name}.npy") for name in runs}
            dim = int(np.load(file)["items"].shape[1])
        tables.append(table(n_items, n_users, dim, runs, lists))
    text = "\n".join([*HEAD, *(line for lines in tables for line in lines), *facts(arguments)]) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "retrieval.md").write_text(text)


HEAD = [
    "# Exact retrieval",
    "",
    f"The {K} best of all items for each user, {SEEN} seen items of each filtered out (half of them among the user's very "
    "best). Vectors of trained towers, repeated with noise. Times of ranking alone: the contestants take turns for several "
    "rounds, two runs each, and the fastest counts. `×`: how many times the users per second of that peer. `same`: share "
    "of the items of the filtered lists that recsys gives too (others round differently, so that items of nearly equal "
    "score at the last place may differ).",
]


def table(n_items: int, n_users: int, dim: int, runs: dict[str, Any], lists: dict[str, np.ndarray]) -> list[str]:
    speed = {name: n_users / run["seconds"] for name, run in runs.items()}
    own, peers = speed["recsys"], [name for name in runs if name != "recsys"]
    lines = ["", f"## {n_items:,} items, {n_users:,} users, dim {dim}", ""]
    lines += ["| | users / s | µs / user | recsys is × | peak MB | same |", "|---|---|---|---|---|---|"]
    for name in (*peers, "recsys"):
        filtered = len(lists[name]) > 0 and "no filter" not in name and "transitions" not in name
        same = f"{agreement(lists[name], lists['recsys']):.5f}" if filtered else ""
        lines.append(
            f"| {name} | {speed[name]:,.0f} | {1e6 / speed[name]:,.0f} | {own / speed[name]:.2f} | "
            f"{runs[name]['peak MB']:,.0f} | {same} |"
        )
    cost = speed["recsys, no filter"] / own - 1
    against = speed["faiss.IndexFlatIP, no filter"] / own - 1
    lines += [
        "",
        f"The filter costs recsys {cost:+.1%}; filtered, it takes {against:+.1%} of unfiltered FAISS's time more.",
    ]
    return lines


def facts(arguments: argparse.Namespace) -> list[str]:
    import faiss
    import torch

    sizes = f"--items {' '.join(map(str, arguments.items))} --users {' '.join(map(str, arguments.users))}"
    return [
        "",
        f"Command: `python training/benchmarks/retrieval.py RUN --rectools …/bin/python {sizes} --threads "
        f"{arguments.threads} --rounds {arguments.rounds} --out training/results`, RUN: `recsys fit` on amazon-beauty, dim "
        "128  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {arguments.threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, faiss {faiss.__version__}, "
        f"{datetime.now(UTC).date().isoformat()}",
    ]


if __name__ == "__main__":
    if sys.argv[1] == "contestant":
        print(json.dumps(contestant(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main()
