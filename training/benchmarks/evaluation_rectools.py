"""The peer's side of ``evaluation.py``: runs in an environment with RecTools and without recsys."""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
    calc_metrics,
)
from rectools.models.rank import Distance, ImplicitRanker
from scipy import sparse

CUTS = (10, 20, 50)


def pairs(offsets: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return pd.DataFrame({Columns.User: owners, Columns.Item: rows.astype(np.int64)})


def main() -> None:
    case, beyond = np.load(sys.argv[1]), sys.argv[2] == "beyond"
    users, items = case["users"], case["items"]
    seen = sparse.csr_matrix(
        (np.ones(len(case["seen_rows"]), dtype=np.float32), case["seen_rows"], case["seen_offsets"]),
        shape=(len(users), len(items)),
    )
    held = pairs(case["target_offsets"], case["target_rows"])
    metrics = {}
    for k in CUTS:
        metrics |= {
            f"recall@{k}": Recall(k=k),
            f"hit_rate@{k}": HitRate(k=k),
            f"precision@{k}": Precision(k=k),
            f"ndcg@{k}": NDCG(k=k, divide_by_achievable=True),
            f"mrr@{k}": MRR(k=k),
            f"map@{k}": MAP(k=k),
        }
        if beyond:
            metrics |= {
                f"coverage@{k}": CatalogCoverage(k=k, normalize=True),
                f"novelty@{k}": MeanInvUserFreq(k=k),
                f"popularity@{k}": AvgRecPopularity(k=k),
                f"serendipity@{k}": Serendipity(k=k),
            }
    previous = pairs(case["train_offsets"], case["train_rows"]) if beyond else None
    catalog = np.arange(len(items))

    begun, cpu = time.perf_counter(), time.process_time()
    ranker = ImplicitRanker(Distance.DOT, users, items)
    subjects, objects, scores = ranker.rank(np.arange(len(users)), k=CUTS[-1], filter_pairs_csr=seen)
    reco = pd.DataFrame({Columns.User: subjects, Columns.Item: objects, Columns.Score: scores})
    reco[Columns.Rank] = reco.groupby(Columns.User, sort=False).cumcount() + 1
    ranked = time.perf_counter() - begun
    values = calc_metrics(metrics, reco, held, previous, catalog)
    done, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rank s": ranked, "s": done, "cpu s": cpu, "peak MB": peak, "metrics": values}))


if __name__ == "__main__":
    main()
