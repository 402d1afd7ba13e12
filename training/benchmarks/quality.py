"""Quality and seconds of two towers and every baseline on one data set, protocol leave-last-out, as one table.

    python training/benchmarks/quality.py path/to/ml-1m --recipe training/recipes/ml-1m.toml --out training/results

The folder holds ``interactions.parquet`` (user_id, item_id, seq) and ``items.parquet`` (item_id, texts). Order is the
column ``seq``; rows without one are left out, which the table says. All items of the log are ranked, seen items filtered.
Everything is fitted without the validation and test events; the history at test time includes the validation event.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch

import recsys
from recsys.files import atomic_file
from recsys.options import build, read_recipe
from recsys.progress import log

CUTS = (10, 20, 50)
SHOWN = [*(f"recall@{k}" for k in CUTS), "ndcg@10"]


def baselines() -> list[Any]:
    """Settings that were picked on ml-1m's validation users among a grid for each."""
    return [
        recsys.Popularity(),
        recsys.ItemKNN(5),
        recsys.EASE(200.0),
        recsys.ALS(128, regularisation=30.0, alpha=2.0, iterations=10),
        recsys.BPR(64),
    ]


def main() -> None:
    """Run every cell and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--text", nargs="+", default=["title", "genres"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("recsys").setLevel(logging.INFO)

    recipe = read_recipe(arguments.recipe, {"model": recsys.TwoTower, "training": recsys.Training})
    events = recsys.read_interactions(arguments.data / "interactions.parquet", order="seq", drop_unordered=True)
    rows = pl.scan_parquet(arguments.data / "interactions.parquet").select(pl.len()).collect().item()
    catalog = recsys.read_catalog(arguments.data / "items.parquet", text=arguments.text).aligned(events.items)
    split = recsys.leave_last_out(events)

    cells = []
    model = build(recsys.TwoTower, recipe["model"])
    training = build(recsys.Training, recipe["training"])
    begun, cpu = time.perf_counter(), time.process_time()
    model.fit(split.train, catalog, validation=split.validation, training=training)
    cells.append(cell(model, split.test, begun, cpu))
    for baseline in baselines():
        begun, cpu = time.perf_counter(), time.process_time()
        cells.append(cell(baseline.fit(split.train), split.test, begun, cpu))

    facts = {
        "command": f"python training/benchmarks/quality.py {arguments.data.name} --recipe {arguments.recipe} "
        f"--text {' '.join(arguments.text)} --out {arguments.out}",
        "data": arguments.data.name,
        "interactions": len(events),
        "rows_left_out_without_order": rows - len(events),
        "users_judged": len(split.test),
        "items_ranked": len(events.items),
        "best_epoch": model.log.best_epoch,
        "epochs": model.log.epochs,
        "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}",
        "device": training.device,
        "date": datetime.now(UTC).date().isoformat(),
        "model": model.options(),
    }
    name = f"quality-{arguments.data.name}"
    with atomic_file(arguments.out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(facts | {"cells": cells}, indent=2) + "\n")
    text = as_markdown(facts, cells)
    with atomic_file(arguments.out / f"{name}.md") as temporary:
        temporary.write_text(text)
    print(text)


def cell(model: Any, test: Any, begun: float, cpu: float) -> dict[str, Any]:
    """Judge one fitted model."""
    fitted, cpu_fitted = time.perf_counter() - begun, time.process_time() - cpu
    begun = time.perf_counter()
    report = recsys.evaluate(model, test, CUTS)
    result = {"model": model.name} | {name: report[name] for name in SHOWN}
    result |= {"fit s": fitted, "fit CPU s": cpu_fitted, "evaluate s": time.perf_counter() - begun}
    log(f"{model.name}: " + "  ".join(f"{name} {value:.4f}" for name, value in result.items() if name in SHOWN))
    return result


def as_markdown(facts: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """The table with what is needed to make it again."""
    names = list(cells[0])
    lines = [
        f"# {facts['data']}, leave-last-out, all {facts['items_ranked']:,} items ranked, seen items filtered",
        "",
        f"{facts['interactions']:,} interactions ({facts['rows_left_out_without_order']:,} without an order left out), "
        f"{facts['users_judged']:,} users judged, one seed. recall@k = hits / relevant. "
        f"Two towers: best of {len(facts['epochs'])} epochs by validation NDCG@10 is epoch {facts['best_epoch']}; "
        "their fit includes encoding the texts (unless cached) and validating after each epoch.",
        "",
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        *("| " + " | ".join(_shown(name, row[name]) for name in names) + " |" for row in cells),
        "",
        f"Command: `{facts['command']}`  ",
        f"Machine: {facts['machine']}, {facts['date']}",
    ]
    return "\n".join(lines) + "\n"


def _shown(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}" if name.endswith(" s") else f"{value:.4f}"


if __name__ == "__main__":
    main()
