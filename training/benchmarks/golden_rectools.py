"""Record what RecTools' ``calc_metrics`` says of small random frames, for ``tests/evaluation/rectools_golden.json``.

    python training/benchmarks/golden_rectools.py tests/evaluation/rectools_golden.json

Runs in an environment with RecTools and without recsys (``pip install rectools==0.19.0 "numpy<2"``). The frames hold what
tells definitions apart: users without a list, short lists, new items, several targets, more targets than k.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import rectools
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

CUTS = (1, 3, 10)


def drawn(generator: np.random.Generator, users: int, most: int, items: int, skew: float) -> list[list[int]]:
    """Some different items for each user."""
    weights = 1.0 / np.arange(1, items + 1) ** skew
    sizes = generator.integers(0, most + 1, users)
    return [generator.choice(items, size, replace=False, p=weights / weights.sum()).tolist() for size in sizes]


def frame(lists: list[list[int]]) -> pd.DataFrame:
    """One row per user and item, with the place as the rank."""
    rows = [(f"u{user}", f"i{item}", place + 1) for user, one in enumerate(lists) for place, item in enumerate(one)]
    return pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Rank])


def main() -> None:
    generator = np.random.default_rng(7)
    history = frame(drawn(generator, 30, 8, 20, 1.0)).drop(columns=Columns.Rank)
    truth = frame([one or [0] for one in drawn(generator, 30, 5, 24, 0.3)]).drop(columns=Columns.Rank)
    reco = frame(drawn(generator, 30, 12, 22, 0.5))
    catalog = [f"i{item}" for item in range(24)]
    metrics = {}
    for k in CUTS:
        metrics |= {
            f"recall@{k}": Recall(k=k),
            f"hit_rate@{k}": HitRate(k=k),
            f"precision@{k}": Precision(k=k),
            f"ndcg@{k}": NDCG(k=k, divide_by_achievable=True),
            f"mrr@{k}": MRR(k=k),
            f"map@{k}": MAP(k=k),
            f"coverage@{k}": CatalogCoverage(k=k, normalize=True),
            f"novelty@{k}": MeanInvUserFreq(k=k),
            f"popularity@{k}": AvgRecPopularity(k=k),
            f"serendipity@{k}": Serendipity(k=k),
        }
    values = calc_metrics(metrics, reco, truth, history, catalog)
    made_by = f"training/benchmarks/golden_rectools.py with RecTools {rectools.__version__}"
    lines = [f'"made_by": {json.dumps(made_by)}', f'"catalog": {json.dumps(catalog)}']
    for name, one in (("history", history), ("truth", truth), ("reco", reco)):
        lines.append(f'"{name}": {json.dumps({column: one[column].tolist() for column in one.columns})}')
    lines.append(f'"metrics": {json.dumps({name: float(value) for name, value in values.items()}, indent=1)}')
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
