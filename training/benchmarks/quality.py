"""Quality and cost of two towers, ablations, baselines and peers, cell by cell.

    python training/benchmarks/quality.py path/to/ml-1m --out training/results --cells "two towers" EASE --seeds 1

Each finished cell is a file ``OUT/cells/TABLE/NAME-SEED.json`` and is not run again, so that a long table survives any
interruption; the table ``OUT/quality-TABLE.md`` is made anew from all cells after each one. The data folder holds
``interactions.parquet`` (user_id, item_id, seq or timestamp) and ``items.parquet``. Order is the column ``seq``; rows
without one are left out, which the table says. All items of the log are ranked, seen items filtered. Everything is fitted
without the validation and test events; the history at test time includes the validation event. ``--ties``, ``--protocol``
and ``--candidates`` make other tables of the same data, each under its own name (``amazon-beauty-ties-item``).

Beside each cell, ``users/NAME-SEED.npz`` keeps where every target stood, for paired tests of the row ``default``, which is
``recsys fit`` without a flag.

RecTools' SASRec is run by ``quality_rectools.py`` in an environment of its own, which writes a cell of the same form.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cells import CELLS, DEFAULT, RECIPES, Cell, Setting, cell_file, keep, load, show_progress, split
from places import keep_places
from quality_table import SHOWN, write_table

import recsys
from recsys.core.progress import log
from recsys.report.reproduce import options_of

CUTS = (10, 50, 100)
KEPT = tuple(f"{metric}@{k}" for metric in ("recall", "ndcg") for k in CUTS)


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", nargs="*", help="default: all that the log allows; none: make the table alone")
    parser.add_argument("--seeds", type=int, help="at most so many seeds per cell")
    parser.add_argument("--ties", choices=("file", "item"), default="file", help="order of events of one user at one time")
    parser.add_argument("--protocol", choices=("last", "time"), default="last", help="leave-last-out, or one cut in time")
    parser.add_argument("--candidates", choices=("touched", "catalog"), default="touched", help="what is ranked")
    parser.add_argument("--again", action="store_true", help="run finished cells again")
    arguments = parser.parse_args()
    show_progress()

    setting = Setting(arguments.data.resolve().name, arguments.ties, arguments.protocol, arguments.candidates)
    if arguments.cells == []:
        write_table(arguments.out, setting)
        return
    events, catalog = load(arguments.data, setting)
    parts = split(events, setting)
    rows = pl.scan_parquet(arguments.data / "interactions.parquet").select(pl.len()).collect().item()
    facts = {"interactions": len(events), "without_order": rows - len(events), "users": len(parts.test)}
    folder = arguments.out / "cells" / setting.name
    whole = split(events, setting, validation=False).train
    wanted = arguments.cells or [name for name, cell in CELLS.items() if cell.runs_on(setting, events)]
    for cell_name in wanted:
        cell = CELLS[cell_name]
        for seed in range(min(cell.seeds, arguments.seeds or cell.seeds)):
            file = cell_file(folder, f"{cell_name} {seed}")
            files = [file, *([cell_file(folder, f"{DEFAULT}, refit {seed}")] if _made_twice(cell_name, setting) else [])]
            if all(one.is_file() for one in files) and not arguments.again:
                continue
            log(f"--- {setting.name}: {cell_name}, seed {seed}")
            given = replace(parts, train=whole) if cell.refit else parts
            model, found, report = run(cell, setting.data, given, catalog, seed)
            if setting.candidates == "catalog":
                found["touched"] = among_touched(model, parts.test)
            kept = [(cell_name, found, report)]
            if _made_twice(cell_name, setting):
                kept.append((f"{DEFAULT}, refit", *again(model, whole, parts, found)))
            for name, found, report in kept:
                file = cell_file(folder, f"{name} {seed}")
                keep_places(file, report, parts.test)
                keep(file, {"cell": name, "seed": seed} | facts | {"items": report.n_items} | found)
            write_table(arguments.out, setting)
    write_table(arguments.out, setting)


def _made_twice(cell: str, setting: Setting) -> bool:
    """Whether the model of a cell is refitted for a further row."""
    return cell == DEFAULT and setting.protocol == "time"


def again(model: Any, whole: Any, parts: Any, before: dict[str, Any]) -> tuple[dict[str, Any], recsys.Evaluation]:
    """The same model trained again with the validation events: what to keep of it, and its evaluation."""
    begun, cpu = time.perf_counter(), time.process_time()
    report = recsys.evaluate(model.refit(whole), parts.test, CUTS)
    log("refit: " + "  ".join(f"{name} {report[name]:.4f}" for name in SHOWN))
    found = before | {"test": {name: report[name] for name in KEPT}, "validation": {}}
    found["cpu_seconds"] += time.process_time() - cpu
    found["seconds"] += time.perf_counter() - begun
    return found, report


def among_touched(model: Any, test: Any) -> dict[str, float]:
    """The same model's figures where the items of the log alone are ranked: what the rest of the catalogue costs."""
    report = recsys.evaluate(model, test, CUTS, eligible=np.arange(len(test.items), dtype=np.int32))
    return {name: report[name] for name in KEPT}


def run(cell: Cell, data: str, parts: Any, catalog: Any, seed: int) -> tuple[Any, dict[str, Any], recsys.Evaluation]:
    """Fit and judge one cell: the model, what to keep of it, and its evaluation."""
    begun, cpu = time.perf_counter(), time.process_time()
    extra: dict[str, Any] = {}
    if cell.baseline is not None:
        model = cell.baseline().fit(parts.train, catalog)
        spent = time.process_time() - cpu
    else:
        recipe = recipe_of(cell, data)
        training = replace(recipe.training, seed=seed)
        model = replace(recipe, training=training).fit(parts.train, catalog, validation=parts.validation)
        spent = time.process_time() - cpu if cell.memory or cell.recipe is None else model.log.cpu_seconds
        extra = {
            "curve": curve(model.log.epochs),
            "best_epoch": model.log.best_epoch,
            **options_of(model.retriever(index="exact").bundle),
            "decisions": model.log.decisions,
            "deciding_seconds": model.log.deciding_seconds,
        }
        if model.transitions is not None:
            extra["transitions"] = model.transitions.described()
    report = recsys.evaluate(model, parts.test, CUTS)
    check = None if cell.refit else recsys.evaluate(model, parts.validation, CUTS)  # refits have seen its targets
    log("  ".join(f"{name} {report[name]:.4f}" for name in SHOWN))
    found = {
        "test": {name: report[name] for name in KEPT},
        "validation": {} if check is None else {name: check[name] for name in KEPT},
        "cpu_seconds": spent,
        "seconds": time.perf_counter() - begun,
    }
    return model, found | extra, report


def recipe_of(cell: Cell, data: str) -> recsys.Recipe:
    """The options of towers: of a file with the cell's changes, or nothing set, as in ``recsys fit`` without a flag."""
    if cell.recipe is None:
        return recsys.Recipe.read(**cell.change)
    memory = {"transitions": "auto" if cell.memory else "none"}
    change = cell.change | {"model": cell.change.get("model", {}) | memory}
    return recsys.Recipe.read(RECIPES / f"{cell.recipe or data}.toml", **change)


def curve(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    """CPU seconds of training, without validation, at which each validation NDCG@10 was met."""
    spent, points = 0.0, []
    for row in epochs:
        spent += row["cpu_seconds"]
        if "val_ndcg@10" in row:
            points.append({"epoch": row["epoch"], "cpu_seconds": spent, "ndcg@10": row["val_ndcg@10"]})
    return points


if __name__ == "__main__":
    main()
