"""What differential privacy by user costs in recall, and what an attacker then still learns.

    python training/benchmarks/privacy.py path/to/ml-1m --out training/results

The fast model (a transition memory above popularity), and with ``--towers`` one small tower on ids, at several budgets and
without privacy; recall@10 of the last events (leave-last-out, full ranking). Beside it, how well a membership attack tells
those whom a model of the same kind was trained on from others. Finished cells are kept in ``OUT/cells/DATA-privacy``, and
not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from cells import Setting, keep, load, show_progress

import recsys
from recsys.core.files import atomic_file
from recsys.core.progress import log
from recsys.pipeline import membership_test

BUDGETS = (None, 8.0, 3.0, 1.0)
DELTA = 1e-6
MODEL = {
    "encoder": None, "dim": 16, "blocks": 1, "heads": 2, "max_length": 12, "dropout": 0.0, "transitions": "none",
    "temperature": 0.5,
}  # fmt: skip
"""A high temperature starts near the even loss: a private training has no steps to lose on the way there."""
USUAL = {"recall": 1, "membership": 20}
"""Epochs of towers without privacy: of a few hundred users many more fit into a minute."""
ATTACKED = {"fast": 2000, "towers": 200}


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--towers", nargs="*", type=float, metavar="EPSILON", help="also towers, at these budgets; 0: without"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of the private trainings of towers (default: 3)")
    options = parser.parse_args()
    show_progress()

    name = options.data.resolve().name
    events, catalog = load(options.data, Setting(name, candidates="catalog"))  # which items there are is public
    folder = options.out / "cells" / f"{name}-privacy"
    asked = [("fast", one) for one in (8.0, None, 1.0, 3.0)]
    asked += [("towers", one or None) for one in options.towers or []]
    cells = [("popularity", "fast", None), *((kind, *one) for one in asked for kind in ("recall", "membership"))]
    for kind, model, epsilon in cells:
        file = folder / f"{_cell(kind, model, epsilon)}.json"
        if not file.is_file():
            log(f"--- {name}: {kind} of {model}, epsilon {_named(epsilon)}")
            begun = time.process_time()
            figures = run(kind, model, epsilon, events, catalog, options.epochs)
            facts = {"kind": kind, "model": model, "epsilon": epsilon, "cpu_seconds": time.process_time() - begun}
            keep(file, figures | facts)
        write_table(options.out, name, folder)
    write_table(options.out, name, folder)


def _named(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:g}"


def _cell(kind: str, model: str, epsilon: float | None) -> str:
    return f"{kind}-{model}-{_named(epsilon)}"


def recipe_of(model: str, epsilon: float | None, epochs: int, users: int, usual: int) -> recsys.Recipe:
    """The same model at a budget; without one, as it is usually fitted."""
    if model == "fast":
        privacy = {} if epsilon is None else {"epsilon": epsilon, "delta": DELTA}
        return recsys.Recipe.read(model={"fast": True}, privacy=privacy)
    if epsilon is None:
        plain = {"epochs": usual, "learning_rate": 5e-3, "patience": 0, "adapt": "off", "cold_price": 1.0}
        return recsys.Recipe.read(model=MODEL, training=plain)
    return recsys.Recipe.read(
        model=MODEL,
        training={"epochs": epochs, "learning_rate": 2e-2},
        privacy={"epsilon": epsilon, "delta": DELTA, "users_per_step": users},
    )


def run(kind: str, model: str, epsilon: float | None, events: Any, catalog: Any, epochs: int) -> dict[str, Any]:
    """One cell."""
    if kind == "membership":
        recipe = recipe_of(model, epsilon, 5 * epochs, 50, USUAL[kind])
        found = membership_test(recipe, events, catalog, users=ATTACKED[model], shadows=4 if model == "fast" else 2)
        log(str(found))
        return {"threshold": found.threshold.to_dict(), "shadow": found.shadow.to_dict()}
    split = recsys.leave_last_out(events)
    if kind == "popularity":
        made: Any = recsys.Popularity().fit(split.train, catalog)
    else:
        made = recipe_of(model, epsilon, epochs, 512, USUAL[kind]).fit(
            split.train, catalog, validation=None if epsilon else split.validation
        )
    judged = recsys.evaluate(made, split.test, 10)
    figures = {"recall@10": judged["recall@10"], "ndcg@10": judged["ndcg@10"], "interval": judged.intervals["recall@10"]}
    log("  ".join(f"{name} {value}" for name, value in figures.items()))
    spent = None if kind == "popularity" else made.log.privacy
    return figures | {"privacy": spent, "users": len(split.test)}


def write_table(out: Path, name: str, folder: Path) -> None:
    """The table of all cells that are there."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    lines = [
        f"# {name}: differential privacy by user",
        "",
        f"epsilon against recall@10 (95 % interval), delta {DELTA:g}; the unit is a user's whole history; one seed. Fast: "
        "a transition memory above popularity, with an epsilon both from one noisy sum; without, a ridge table whose form "
        f"validation chose. Towers: ids alone (dim {MODEL['dim']}, {MODEL['blocks']} block, the last {MODEL['max_length']} "
        f"events), without a memory, by DP-SGD. Membership: models of half of {ATTACKED['fast']:,} users (towers: "
        f"{ATTACKED['towers']}), 4 and 2 shadow models; AUC with a 95 % interval, 0.5 is a guess.",
        "",
        "| model | epsilon | recall@10 | NDCG@10 | noise / norm | steps | CPU s | AUC, threshold | AUC, shadow models |",
        "|" + "---|" * 9,
    ]
    for model in ("fast", "towers"):
        for epsilon in BUDGETS:
            cell, attack = (found.get(_cell(kind, model, epsilon)) for kind in ("recall", "membership"))
            if cell or attack:
                lines.append("| " + " | ".join([model, _budget(epsilon), *_recall(cell), *_attacks(attack)]) + " |")
    if plain := found.get(_cell("popularity", "fast", None)):
        lines.append("| " + " | ".join(["popularity", "∞", *_recall(plain), "", ""]) + " |")
    lines += ["", f"Command: `python training/benchmarks/privacy.py PATH/{name} --out training/results`  "]
    if found:
        last = max(found.values(), key=lambda one: one["date"])
        lines.append(f"Machine: {last['machine']}, {last['date']}")
    with atomic_file(out / f"privacy-{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _budget(epsilon: float | None) -> str:
    return "∞" if epsilon is None else f"{epsilon:g}"


def _recall(cell: dict[str, Any] | None) -> list[str]:
    if cell is None:
        return [""] * 5
    low, high = cell["interval"]
    spent = cell["privacy"]
    noise = ["", ""] if spent is None else [f"{spent['noise']:.2f}", str(spent["steps"])]
    recall = f"{cell['recall@10']:.4f} ({low:.4f} to {high:.4f})"
    return [recall, f"{cell['ndcg@10']:.4f}", *noise, f"{cell['cpu_seconds']:,.0f}"]


def _attacks(cell: dict[str, Any] | None) -> list[str]:
    if cell is None:
        return ["", ""]
    return [f"{one['auc']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in (cell["threshold"], cell["shadow"])]


if __name__ == "__main__":
    main()
