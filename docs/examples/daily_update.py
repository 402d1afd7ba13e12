"""A day's update as a task for Airflow, cron or any other scheduler: the bundle learns yesterday's events.

python daily_update.py runs/current yesterday.parquet runs/next

Exit code 0: `runs/next` is there and may be served. 3: refused, with the reasons; the bundle before stays, and somebody
should look. A task that is started again takes nothing in twice. With Airflow, call `update` by a `PythonOperator`.
`recsys update` does the same from the command line, and its `--watch` without any scheduler.
"""

from __future__ import annotations

import sys
from pathlib import Path

import recsys


def update(current: Path, events: Path, following: Path) -> int:
    """Update one bundle with the events of one file."""
    if following.exists():
        print(f"{following} is there already: nothing to do")
        return 0
    result = recsys.update(current, recsys.read_interactions(events), out=following)
    print(result)
    return 0 if result.accepted else 3


if __name__ == "__main__":
    raise SystemExit(update(*map(Path, sys.argv[1:4])))
