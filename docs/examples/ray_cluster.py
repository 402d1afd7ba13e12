"""Lists for everybody by the workers of a Ray cluster.

python ray_cluster.py runs/ml shared/recs --workers 8     (pip install 'recsys[cpu,ray]')

Both paths must be reached by all machines. Without a cluster Ray starts one on this machine. Shards that are there already
are kept: after a failure, run the same command again.
"""

from __future__ import annotations

import argparse

import recsys


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("out")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(words)
    retriever = recsys.load(given.bundle)
    made = recsys.recommend_to_parquet(  # the workers load the bundle themselves
        retriever, given.out, k=given.k, engine="ray", workers=given.workers, bundle=given.bundle
    )
    print(f"{made.rows:,} rows for {made.users:,} users in {given.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
