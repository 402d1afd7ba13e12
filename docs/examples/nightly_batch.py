"""A nightly job: lists for everybody, checked, and put in place of yesterday's at once.

python nightly_batch.py runs/ml lists --k 50

A run that was killed goes on where it stopped when it is started again on the same day. The folder `lists/current` always
holds one whole set of lists: whoever reads it meanwhile sees either yesterday's or today's. From cron:
`15 2 * * * python nightly_batch.py runs/ml lists`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

import polars as pl

import recsys


def run(bundle: Path, lists: Path, k: int, day: str) -> int:
    """Write the lists of one day, check them, and exchange the link ``current``."""
    retriever = recsys.load(bundle)
    made = recsys.recommend_to_parquet(retriever, lists / day, k=k)
    served = pl.scan_parquet(lists / day / "part-*.parquet").select(pl.col("user_id").n_unique()).collect().item()
    awaited = made.users - made.without_history
    if served < 0.99 * awaited:
        print(f"{served:,} of {awaited:,} users have a list: yesterday's lists stay", file=sys.stderr)
        return 1
    link = lists / "next"
    link.unlink(missing_ok=True)
    link.symlink_to(day, target_is_directory=True)
    os.replace(link, lists / "current")  # in one step
    print(f"{made.rows:,} rows for {served:,} users in {lists / 'current'}")
    return 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("lists", type=Path)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--day", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    given = parser.parse_args(words)
    return run(given.bundle, given.lists, given.k, given.day)


if __name__ == "__main__":
    raise SystemExit(main())
