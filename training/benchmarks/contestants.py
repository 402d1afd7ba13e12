"""What the benchmarks of training speed share: contestants in processes of their own, data, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
from cells import DATA


def child(python: str, script: Path, options: dict[str, Any], what: str) -> dict[str, Any]:
    """Run a script on a JSON object, in a process of its own; the JSON object that it prints last."""
    print(f"--- {what}", file=sys.stderr, flush=True)
    done = subprocess.run([python, str(script), json.dumps(options)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def load(folder: str) -> tuple[Any, Any]:
    """Split and catalogue of a data set, protocol LOO."""
    import recsys

    data = Path(folder)
    events = recsys.read_interactions(data / "interactions.parquet", order="seq", drop_unordered=True)
    catalog = recsys.read_catalog(data / "items.parquet", text=DATA[data.name].text)
    return recsys.leave_last_out(events), catalog.aligned(events.items)


def sample(data: Path, target: Path, users: int = 300) -> Path:
    """A copy of a data set with some of its users and their items."""
    target.mkdir()
    events = pl.read_parquet(data / "interactions.parquet")
    chosen = events["user_id"].unique(maintain_order=True).sample(users, seed=0)
    events = events.filter(pl.col("user_id").is_in(chosen.implode()))
    events.write_parquet(target / "interactions.parquet")
    items = pl.read_parquet(data / "items.parquet")
    items.join(events.select("item_id"), on="item_id", how="semi").write_parquet(target / "items.parquet")
    return target


def peak() -> float:
    """This process's largest resident size, in MB (getrusage's would include the process that started it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(cells: list[str]) -> list[str]:
    """The first two lines of a Markdown table, after a blank one."""
    return ["", row(cells), "|" + "---|" * len(cells)]
