"""Cold items: how well items without any interaction are found by their content (protocol COLD), cell by cell.

    python training/benchmarks/cold.py path/to/amazon-beauty --out training/results

A tenth of the items is taken out of training altogether. Users who met one are judged on it from their history before it:
(a) ranking cold items alone, (b) ranking all items; the hot items of the same model are judged beside it, leave-last-out,
so that the price of serving cold items is seen. Finished cells are kept in ``OUT/cells/DATA-cold`` and not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from cells import DEFAULT, RECIPES, Cell, cell_file, keep, load, show_progress

import recsys
from recsys.core.files import atomic_file
from recsys.core.progress import log

_TEXT = {"word_features": "off", "id_dropout": 0.5, "ensemble_size": 1, "transitions": "none"}
_TRAINED = {"trainable_layers": 2, "texts_per_step": 32}
CELLS = {
    "zero-shot text": Cell(baseline=recsys.ZeroShot),
    "popularity": Cell(baseline=recsys.Popularity),
    DEFAULT: Cell(recipe=None),
    "frozen + projection": Cell(change={"model": _TEXT}),
    "frozen + projection + words": Cell(change={"model": _TEXT | {"word_features": "on"}}),
    "frozen + projection + words, transitions": Cell(
        change={"model": _TEXT | {"word_features": "on", "transitions": "auto"}}
    ),
    "frozen + projection + words, three members": Cell(
        change={"model": _TEXT | {"word_features": "on", "ensemble_size": 3}}
    ),
    "frozen + projection + words, cold items as negatives": Cell(
        change={"model": _TEXT | {"word_features": "on"}, "objective": {"cold_negatives": True}}
    ),
    "LoRA": Cell(change={"model": _TEXT | _TRAINED | {"encoder_mode": "lora"}}),
    "full": Cell(change={"model": _TEXT | _TRAINED | {"encoder_mode": "full"}}),
}
CUTS = (10, 20)


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="default: all; none: make the table alone")
    options = parser.parse_args()
    show_progress()

    name, (events, catalog) = options.data.resolve().name, load(options.data)
    split = recsys.item_split(events)
    folder = options.out / "cells" / f"{name}-cold"
    for cell in options.cells:
        file = cell_file(folder, cell)
        if not file.is_file():
            log(f"--- {name}: {cell}")
            facts = {"cell": cell, "cold items": len(split.cold_rows), "items": len(events.items)}
            facts |= {"cold users": len(split.cold), "hot users": len(split.hot)}
            keep(file, run(CELLS[cell], name, split, catalog, options.epochs) | facts)
        write_table(options.out, name)
    write_table(options.out, name)


def run(cell: Cell, data: str, split: Any, catalog: Any, epochs: int | None) -> dict[str, Any]:
    """Fit and judge one cell."""
    begun = time.process_time()
    extra: dict[str, Any] = {}
    if cell.baseline is not None:
        model = cell.baseline().fit(split.train, catalog)
    else:
        shorter = {} if epochs is None else {"training": {"epochs": epochs}}
        named = () if cell.recipe is None else (RECIPES / f"{data}.toml",)
        recipe = recsys.Recipe.read(*named, **cell.change, **shorter)
        model = recipe.fit(split.train, catalog, validation=split.validation)
        extra = {
            "best_epoch": model.log.best_epoch,
            "epochs": len(model.log.epochs),
            "options": model.fitted_config.to_dict(),
        }
    spent = time.process_time() - begun
    among_cold = recsys.evaluate(model, split.cold, CUTS, eligible=split.cold_rows)
    among_all, hot = recsys.evaluate(model, split.cold, CUTS), recsys.evaluate(model, split.hot, CUTS)
    figures = {
        "cold among cold, recall@20": among_cold["recall@20"],
        "cold among cold, ndcg@20": among_cold["ndcg@20"],
        "cold among all, recall@20": among_all["recall@20"],
        "hot among all, recall@20": hot["recall@20"],
        "hot among all, ndcg@10": hot["ndcg@10"],
    }
    log("  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return {"figures": figures, "cpu_seconds": spent} | extra


def write_table(out: Path, name: str) -> None:
    """The table of all cells that are there."""
    found = {(one := json.loads(path.read_text()))["cell"]: one for path in (out / "cells" / f"{name}-cold").glob("*.json")}
    rows = [found[cell] for cell in CELLS if cell in found]
    first = rows[0]
    floor = found.get("zero-shot text", {}).get("figures", {}).get("cold among cold, recall@20")
    lines = [
        f"# {name}: cold items",
        "",
        f"{first['cold items']:,} of {first['items']:,} items without any interaction in training; {first['cold users']:,} "
        f"users judged on them, {first['hot users']:,} on hot items. Seen items filtered. One seed. Popularity knows "
        "nothing of cold items: they tie, and stand in the order of their rows, which need not be a random one.",
        "",
        "| model | " + " | ".join(first["figures"]) + " | among cold, against zero-shot | epochs | CPU s |",
        "|" + "---|" * (len(first["figures"]) + 4),
    ]
    for row in rows:
        values = [f"{value:.4f}" for value in row["figures"].values()]
        ratio = f"{row['figures']['cold among cold, recall@20'] / floor - 1:+.0%}" if floor else ""
        spent = [str(row.get("epochs", "")), f"{row['cpu_seconds']:,.0f}"]
        lines.append("| " + " | ".join([row["cell"], *values, ratio, *spent]) + " |")
    lines += [
        "",
        f"Command: `python training/benchmarks/cold.py PATH/{name} --out training/results`  ",
        f"Machine: {first['machine']}, {max(row['date'] for row in rows)}",
    ]
    with atomic_file(out / f"cold-{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
