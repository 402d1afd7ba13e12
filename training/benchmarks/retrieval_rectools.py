"""The peer's side of ``retrieval.py``: RecTools' rankers, in an environment without recsys."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rectools.models.rank import Distance, ImplicitRanker, TorchRanker
from scipy.sparse import csr_matrix


def main() -> None:
    name, file, k, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    case = np.load(file)
    items, users, seen = case["items"], case["users"], case["seen"]
    filtered = csr_matrix(
        (np.ones(seen.size, dtype=np.float32), seen.ravel(), np.arange(0, seen.size + 1, seen.shape[1])),
        shape=(len(users), len(items)),
    )
    if name == "RecTools ImplicitRanker":
        ranker = ImplicitRanker(Distance.DOT, users, items, num_threads=threads)
    else:
        ranker = TorchRanker(Distance.DOT, "cpu", users, items)
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        found = ranker.rank(np.arange(len(users)), k=k, filter_pairs_csr=filtered)
        times.append(time.perf_counter() - begun)
    np.save(f"{file}.{name}.npy", np.asarray(found[1]).reshape(len(users), -1))
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": min(times), "users": len(users), "peak MB": peak}))


if __name__ == "__main__":
    main()
