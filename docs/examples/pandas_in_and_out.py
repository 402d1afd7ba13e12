"""From a pandas frame to a pandas frame; Spark goes the same way, by Arrow or by Parquet.

python pandas_in_and_out.py ratings.csv lists.csv     (pip install 'recsys[cpu,arrow]' pandas)

From Spark 4: `recsys.read_interactions(spark_frame.toArrow())`. From an older one write Parquet, and read its folder:
`recsys.read_interactions("log.parquet/")`. Back to Spark: `spark.read.parquet("recs")`, which
`recsys recommend --out recs` wrote.
"""

from __future__ import annotations

import sys

import pandas as pd

import recsys


def recommend_to_all(frame: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """Lists for all users of a frame with the columns userId, movieId and timestamp."""
    log = recsys.read_interactions(frame, user="userId", item="movieId")
    retriever = recsys.TwoTower(fast=True).fit(log).retriever(log=log)
    return retriever.recommend(log.users.ids.to_list(), k=k).to_pandas()


if __name__ == "__main__":
    source, target = sys.argv[1:3]
    recommend_to_all(pd.read_csv(source)).to_csv(target, index=False)
