"""Quality and cost of two towers, ablations, baselines and peers, protocol leave-last-out, cell by cell.

    python training/benchmarks/quality.py path/to/ml-1m --out training/results --cells "two towers" EASE --seeds 1

Each finished cell is a file ``OUT/cells/DATA/NAME-SEED.json`` and is not run again, so that a long table survives any
interruption; the table ``OUT/quality-DATA.md`` is made anew from all cells after each one. The data folder holds
``interactions.parquet`` (user_id, item_id, seq) and ``items.parquet``. Order is the column ``seq``; rows without one are
left out, which the table says. All items of the log are ranked, seen items filtered. Everything is fitted without the
validation and test events; the history at test time includes the validation event.

RecTools' SASRec is run by ``quality_rectools.py`` in an environment of its own, which writes a cell of the same form.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cells import CELLS, DATA, RECIPES, Cell, cell_file, keep, load, show_progress

import recsys
from recsys.core.files import atomic_file
from recsys.core.progress import log

CUTS = (10, 50)
SHOWN = ("recall@10", "ndcg@10", "recall@50")


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="default: all; none: make the table alone")
    parser.add_argument("--seeds", type=int, help="at most so many seeds per cell")
    arguments = parser.parse_args()
    show_progress()

    name, events, catalog = load(arguments.data)
    split = recsys.leave_last_out(events)
    rows = pl.scan_parquet(arguments.data / "interactions.parquet").select(pl.len()).collect().item()
    facts = {
        "interactions": len(events),
        "without_order": rows - len(events),
        "users": len(split.test),
        "items": len(events.items),
    }
    folder = arguments.out / "cells" / name
    for cell_name in arguments.cells:
        cell = CELLS[cell_name]
        for seed in range(min(cell.seeds, arguments.seeds or cell.seeds)):
            file = cell_file(folder, f"{cell_name} {seed}")
            if file.is_file():
                continue
            log(f"--- {name}: {cell_name}, seed {seed}")
            keep(file, {"cell": cell_name, "seed": seed} | facts | run(cell, name, split, catalog, seed))
            write_table(arguments.out, name)
    write_table(arguments.out, name)


def run(cell: Cell, data: str, split: Any, catalog: Any, seed: int) -> dict[str, Any]:
    """Fit and judge one cell."""
    begun, cpu = time.perf_counter(), time.process_time()
    extra: dict[str, Any] = {}
    if cell.baseline is not None:
        model = cell.baseline().fit(split.train, catalog)
        spent = time.process_time() - cpu
    else:
        memory = {"transitions": "auto" if cell.memory else "none"}
        change = cell.change | {"model": cell.change.get("model", {}) | memory}
        recipe = recsys.Recipe.read(RECIPES / f"{cell.recipe or data}.toml", **change)
        training = replace(recipe.training, seed=seed)
        model = replace(recipe, training=training).fit(
            split.train,
            catalog,
            validation=split.validation,
        )
        spent = time.process_time() - cpu if cell.memory else model.log.cpu_seconds
        extra = {
            "curve": curve(model.log.epochs),
            "best_epoch": model.log.best_epoch,
            "model": model.config.to_dict(),
            "objective": asdict(recipe.objective),
            "augment": asdict(recipe.augment),
            "training": asdict(training),
        }
        if model.transitions is not None:
            extra["transitions"] = model.transitions.described()
    report, check = recsys.evaluate(model, split.test, CUTS), recsys.evaluate(model, split.validation, CUTS)
    log("  ".join(f"{name} {report[name]:.4f}" for name in SHOWN))
    return {
        "test": {name: report[name] for name in SHOWN},
        "validation": {name: check[name] for name in SHOWN},
        "cpu_seconds": spent,
        "seconds": time.perf_counter() - begun,
    } | extra


def curve(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    """CPU seconds of training, without validation, at which each validation NDCG@10 was met."""
    spent, points = 0.0, []
    for row in epochs:
        spent += row["cpu_seconds"]
        if "val_ndcg@10" in row:
            points.append({"epoch": row["epoch"], "cpu_seconds": spent, "ndcg@10": row["val_ndcg@10"]})
    return points


def write_table(out: Path, name: str) -> None:
    """The table of all cells that are there."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((out / "cells" / name).glob("*.json")):
        found = json.loads(file.read_text())
        cells.setdefault(found["cell"], []).append(found)
    if not cells:
        return
    first = next(iter(cells.values()))[0]
    order = {cell: place for place, cell in enumerate(CELLS)}
    levels = ndcg_levels(cells)
    lines = [
        f"# {name}, leave-last-out, all {first['items']:,} items ranked, seen items filtered",
        "",
        f"{first['interactions']:,} interactions ({first['without_order']:,} without an order left out), "
        f"{first['users']:,} users judged. "
        f"{DATA[name].note} recall@k = hits / relevant. {DATA[name].goal}. Mean over seeds ± the half-width of "
        "its 95 % interval (Student's t) where there are several. CPU s: of fitting; for the towers and SASRec with "
        "validating, without encoding texts (once per catalogue); with transitions, of all that a fit does. Towers have a "
        "transition memory beside them only where the name says so. Ablations (ids, text, losses, encoder) are of one "
        "member of the recipe, and SASRec was given about the CPU time of one.",
        "",
        "| model | seeds | " + " | ".join(SHOWN) + " | CPU s | best epoch | "
        + " | ".join(f"CPU s to validation NDCG@10 {level:.3f}" for level in levels) + " |",
        "|" + "---|" * (len(SHOWN) + 4 + len(levels)),
    ]  # fmt: skip
    for cell, runs in sorted(cells.items(), key=lambda item: (order.get(item[0], len(order) // 2), item[0])):
        values = [spread([run["test"][metric] for run in runs]) for metric in SHOWN]
        epochs = "/".join(str(run["best_epoch"]) for run in runs) if "best_epoch" in runs[0] else ""
        reached = [when(runs[0].get("curve", []), level) for level in levels]
        cpu = f"{np.mean([run['cpu_seconds'] for run in runs]):,.1f}"
        lines.append("| " + " | ".join([cell, str(len(runs)), *values, cpu, epochs, *reached]) + " |")
    lines += [
        "",
        f"Command: `python training/benchmarks/quality.py PATH/{name} --out training/results` (SASRec: "
        f"`quality_rectools.py`, see there); cells: `training/results/cells/{name}`.  ",
        f"Machine: {first['machine']}, {max(run['date'] for runs in cells.values() for run in runs)}",
    ]
    with atomic_file(out / f"quality-{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def ndcg_levels(cells: dict[str, list[dict[str, Any]]]) -> list[float]:
    """Half, three quarters and 95 % of the best validation NDCG@10 of the towers' own recipe."""
    points = [p["ndcg@10"] for run in cells.get("two towers", []) for p in run["curve"]]
    return [share * max(points) for share in (0.5, 0.75, 0.95)] if points else []


def when(points: list[dict[str, float]], level: float) -> str:
    """CPU seconds at which a curve first reaches a level."""
    if not points:
        return ""
    return next((f"{p['cpu_seconds']:,.0f}" for p in points if p["ndcg@10"] >= level), "not reached")


def spread(values: list[float]) -> str:
    """Mean, and the half-width of its 95 % interval where there are several."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4f} ± {half:.4f}"


if __name__ == "__main__":
    main()
