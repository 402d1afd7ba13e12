"""Cold items: how well items without any interaction are found by their content (protocol COLD), cell by cell.

    python training/benchmarks/cold.py path/to/amazon-beauty --out training/results

A tenth of the items is taken out of training altogether. Users who met one are judged on it from their history before it:
(a) ranking cold items alone, (b) ranking all items; the hot items of the same model are judged beside it, leave-last-out,
so that the price of serving cold items is seen. Finished cells are kept in ``OUT/cells/DATA-cold`` and not run again.

``adapted`` cells read with an encoder that ``recsys.adapt`` made of the texts of hot items and of the training log: it has
seen neither a cold item nor an evaluated event. Encoders go to ``--encoders`` and are not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import DEFAULT, RECIPES, Cell, cell_file, keep, load, show_progress

import recsys
from recsys.core.files import atomic_file
from recsys.core.progress import log

_TEXT = {"word_features": "off", "id_dropout": 0.5, "ensemble_size": 1, "transitions": "none"}
_ADAPTED = recsys.AdaptOptions(
    text_steps=60, history_steps=240, batch=48, masked=0.1, history=2, max_tokens=32, layers=2, rate=1e-4
)
"""Few steps of the topmost layers: minutes of one core, by counting operations; not timed."""
_ADAPT = "adapted"
_TRAINED = {"trainable_layers": 2, "texts_per_step": 32}
CELLS = {
    "zero-shot text": Cell(baseline=recsys.ZeroShot),
    "zero-shot text, adapted": Cell(baseline=recsys.ZeroShot),
    "popularity": Cell(baseline=recsys.Popularity),
    DEFAULT: Cell(recipe=None),
    "frozen + projection": Cell(change={"model": _TEXT}),
    "frozen + projection, adapted": Cell(change={"model": _TEXT}),
    "frozen + projection + words": Cell(change={"model": _TEXT | {"word_features": "on"}}),
    "frozen + projection + words, adapted": Cell(change={"model": _TEXT | {"word_features": "on"}}),
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of models and adaptations; items stay the same")
    parser.add_argument("--encoders", type=Path, help="folder of adapted encoders (default: OUT/encoders)")
    options = parser.parse_args()
    show_progress()

    name, (events, catalog) = options.data.resolve().name, load(options.data)
    split = recsys.item_split(events)
    folder = options.out / "cells" / f"{name}-cold"
    encoders = options.encoders or options.out / "encoders"
    for cell, seed in itertools.product(options.cells, options.seeds):
        file = cell_file(folder, f"{cell} seed {seed}" if seed else cell)
        if not file.is_file():
            log(f"--- {name}: {cell}, seed {seed}")
            facts = {"cell": cell, "seed": seed, "cold items": len(split.cold_rows), "items": len(events.items)}
            facts |= {"cold users": len(split.cold), "hot users": len(split.hot)}
            encoder = adapted(name, split, catalog, encoders, seed) if _ADAPT in cell else None
            keep(file, run(CELLS[cell], name, split, catalog, options.epochs, seed, encoder) | facts)
        write_table(options.out, name)
    write_table(options.out, name)


def adapted(data: str, split: Any, catalog: Any, encoders: Path, seed: int) -> dict[str, Any]:
    """The encoder of a seed, made of hot items and training events alone: its folder, options and cost."""
    folder = encoders / f"{data}-{seed}"
    if not (folder / "adaptation.json").is_file():
        hot = np.setdiff1d(np.arange(len(split.train.items)), split.cold_rows)
        known = catalog.aligned(split.train.items).aligned(type(catalog.items)(split.train.items.to_ids(hot), "item"))
        begun = time.process_time()
        found = recsys.adapt(known, "all-MiniLM-L6-v2", folder, log=split.train, options=replace(_ADAPTED, seed=seed))
        (folder / "cpu.json").write_text(json.dumps(time.process_time() - begun))
        log(str(found))
    told = json.loads((folder / "adaptation.json").read_text())
    return {
        "folder": str(folder),
        "options": asdict(_ADAPTED),
        "cpu_seconds": json.loads((folder / "cpu.json").read_text()),
    } | {"found": [told["before"], told["after"]]}


def run(
    cell: Cell, data: str, split: Any, catalog: Any, epochs: int | None, seed: int, encoder: dict[str, Any] | None
) -> dict[str, Any]:
    """Fit and judge one cell."""
    begun = time.process_time()
    extra: dict[str, Any] = {}
    if cell.baseline is not None:
        how = {} if encoder is None else {"encoder": encoder["folder"]}
        model = cell.baseline(**how).fit(split.train, catalog)
    else:
        training = ({"seed": seed} if seed else {}) | ({} if epochs is None else {"epochs": epochs})
        change = cell.change | ({"training": training} if training else {})
        if encoder is not None:
            change = change | {"model": change["model"] | {"encoder": encoder["folder"]}}
        named = () if cell.recipe is None else (RECIPES / f"{data}.toml",)
        recipe = recsys.Recipe.read(*named, **change)
        model = recipe.fit(split.train, catalog, validation=split.validation)
        options = model.fitted_config.to_dict() | ({} if encoder is None else {"encoder": "all-MiniLM-L6-v2"})
        extra = {
            "best_epoch": model.log.best_epoch,
            "epochs": len(model.log.epochs),
            "options": options,
        }
    if encoder is not None:
        extra["adaptation"] = {name: value for name, value in encoder.items() if name != "folder"}
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
    kept = sorted((out / "cells" / f"{name}-cold").glob("*.json"))
    found = dict[str, list[dict[str, Any]]]()
    for one in map(json.loads, map(Path.read_text, kept)):
        found.setdefault(one["cell"], []).append(one)
    rows = [found[cell] for cell in CELLS if cell in found]
    first = rows[0][0]
    floor = found["zero-shot text"][0]["figures"]["cold among cold, recall@20"] if "zero-shot text" in found else None
    lines = [
        f"# {name}: cold items",
        "",
        f"{first['cold items']:,} of {first['items']:,} items without any interaction in training; {first['cold users']:,} "
        f"users judged on them, {first['hot users']:,} on hot items. Seen items filtered. Means of the seeds. Popularity "
        "knows nothing of cold items: they tie, and stand in the order of their rows, which need not be a random one.",
        "",
        "| model | " + " | ".join(first["figures"]) + " | among cold, against zero-shot | epochs | seeds | CPU s |",
        "|" + "---|" * (len(first["figures"]) + 5),
    ]
    for row in rows:
        figures = {name: float(np.mean([one["figures"][name] for one in row])) for name in first["figures"]}
        ratio = f"{figures['cold among cold, recall@20'] / floor - 1:+.0%}" if floor else ""
        spent = [str(row[0].get("epochs", "")), str(len(row)), f"{np.mean([one['cpu_seconds'] for one in row]):,.0f}"]
        values = [f"{value:.4f}" for value in figures.values()]
        lines.append("| " + " | ".join([row[0]["cell"], *values, ratio, *spent]) + " |")
    lines += pairs_of_seeds(found)
    if costs := [one["adaptation"] for row in rows for one in row if "adaptation" in one]:
        told = costs[0]["options"]
        lines += [
            "",
            f"Adapted: `recsys adapt` with text_steps {told['text_steps']}, history_steps {told['history_steps']}, batch "
            f"{told['batch']}, history {told['history']}, max_tokens {told['max_tokens']}, layers {told['layers']}, rate "
            f"{told['rate']:g}, on the texts of hot items and the training log; "
            f"{np.mean([one['cpu_seconds'] for one in costs]):,.0f} CPU seconds each. Of held-out users of the training "
            f"log {np.mean([one['found'][0] for one in costs]):.1%} found what came next among the 10 nearest texts "
            f"before, {np.mean([one['found'][1] for one in costs]):.1%} after.",
        ]
    lines += [
        "",
        f"Command: `python training/benchmarks/cold.py PATH/{name} --out training/results`  ",
        f"Machine: {first['machine']}, {max(one['date'] for row in rows for one in row)}",
    ]
    with atomic_file(out / f"cold-{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def pairs_of_seeds(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What the adapted encoder adds for each seed."""
    lines = list[str]()
    for cell in CELLS:
        plain = {one.get("seed", 0): one["figures"] for one in found.get(cell, [])}
        own = {one["seed"]: one["figures"] for one in found.get(f"{cell}, {_ADAPT}", [])}
        if both := sorted(plain.keys() & own.keys()):
            name = "cold among cold, recall@20"
            told = ", ".join(f"{own[seed][name]:.4f} against {plain[seed][name]:.4f} (seed {seed})" for seed in both)
            lines += ["", f"{cell}, adapted against unadapted, {name}: {told}."]
    return lines


if __name__ == "__main__":
    main()
