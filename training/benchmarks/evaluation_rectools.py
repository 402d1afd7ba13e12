"""The peer's side of ``evaluation.py``: runs in an environment with RecTools and without recsys."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
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
from rectools.models import PureSVDModel

CUTS = (10, 20, 50)


def pairs(offsets: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return pd.DataFrame({Columns.User: owners, Columns.Item: rows.astype(np.int64)})


def main() -> None:
    case, beyond = np.load(sys.argv[1]), sys.argv[2] == "beyond"
    users, items = case["users"], case["items"]
    user_map, item_map = IdMap.from_values(np.arange(len(users))), IdMap.from_values(np.arange(len(items)))
    seen = pairs(case["seen_offsets"], case["seen_rows"])
    seen[Columns.Weight], seen[Columns.Datetime] = 1.0, pd.Timestamp("2024-01-01")
    dataset = Dataset(user_map, item_map, Interactions.from_raw(seen, user_map, item_map))
    model = PureSVDModel(factors=users.shape[1])  # a model of nothing but vectors, which are put in as they are
    model.user_factors, model.item_factors, model.is_fitted = users, items, True
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
    reco = model.recommend(np.arange(len(users)), dataset, k=CUTS[-1], filter_viewed=True)
    ranked = time.perf_counter() - begun
    values = calc_metrics(metrics, reco, held, previous, catalog)
    done, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"rank s": ranked, "s": done, "cpu s": cpu, "peak MB": peak, "metrics": values}))


if __name__ == "__main__":
    main()
