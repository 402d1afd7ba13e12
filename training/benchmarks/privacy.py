"""What differential privacy by user costs in recall, and what an attacker then still learns.

    python training/benchmarks/privacy.py path/to/ml-1m --out training/results

One small tower on ids, trained at several budgets with the same steps, and without privacy; recall@10 of the last events
(leave-last-out, full ranking). Beside it, on some hundred users, how well a membership attack tells those that a model of
the same kind was trained on from others. Finished cells are kept in ``OUT/cells/DATA-privacy`` and not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from cells import keep, load, show_progress

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
"""Epochs without privacy: of a few hundred users many more fit into a minute."""
ATTACKED = 200


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of the private trainings (default: 3)")
    options = parser.parse_args()
    show_progress()

    name, (events, catalog) = options.data.resolve().name, load(options.data)
    folder = options.out / "cells" / f"{name}-privacy"
    cells = [("popularity", None), *((kind, one) for one in (8.0, None, 1.0, 3.0) for kind in ("membership", "recall"))]
    for kind, epsilon in cells:
        file = folder / f"{kind}-{_named(epsilon)}.json"
        if not file.is_file():
            log(f"--- {name}: {kind}, epsilon {_named(epsilon)}")
            begun = time.process_time()
            figures = run(kind, epsilon, events, catalog, options.epochs)
            keep(file, figures | {"kind": kind, "epsilon": epsilon, "cpu_seconds": time.process_time() - begun})
        write_table(options.out, name, folder)
    write_table(options.out, name, folder)


def _named(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:g}"


def recipe_of(epsilon: float | None, epochs: int, users: int, usual: int) -> recsys.Recipe:
    """The same tower at a budget; without one, as it is usually trained."""
    if epsilon is None:
        plain = {"epochs": usual, "learning_rate": 5e-3, "patience": 0, "adapt": "off", "cold_price": 1.0}
        return recsys.Recipe.read(model=MODEL, training=plain)
    return recsys.Recipe.read(
        model=MODEL,
        training={"epochs": epochs, "learning_rate": 2e-2},
        privacy={"epsilon": epsilon, "delta": DELTA, "users_per_step": users},
    )


def run(kind: str, epsilon: float | None, events: Any, catalog: Any, epochs: int) -> dict[str, Any]:
    """One cell."""
    if kind == "membership":
        recipe = recipe_of(epsilon, 5 * epochs, 50, USUAL[kind])
        found = membership_test(recipe, events, catalog, users=ATTACKED, shadows=2)
        log(str(found))
        return {"threshold": found.threshold.to_dict(), "shadow": found.shadow.to_dict()}
    split = recsys.leave_last_out(events)
    if kind == "popularity":
        model: Any = recsys.Popularity().fit(split.train, catalog)
    else:
        model = recipe_of(epsilon, epochs, 512, USUAL[kind]).fit(
            split.train, catalog, validation=None if epsilon else split.validation
        )
    judged = recsys.evaluate(model, split.test, 10)
    figures = {"recall@10": judged["recall@10"], "ndcg@10": judged["ndcg@10"], "interval": judged.intervals["recall@10"]}
    log("  ".join(f"{name} {value}" for name, value in figures.items()))
    spent = None if kind == "popularity" else model.log.privacy
    return figures | {"privacy": spent, "users": len(split.test)}


def write_table(out: Path, name: str, folder: Path) -> None:
    """The table of all cells that are there."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    lines = [
        f"# {name}: differential privacy by user",
        "",
        f"epsilon against recall@10 (95 % interval), delta {DELTA:g}; the unit is a user's whole history. A tower on "
        f"ids alone (dim {MODEL['dim']}, {MODEL['blocks']} block, the last {MODEL['max_length']} events), without a "
        f"memory, one seed. Membership: a model of half of {ATTACKED} users; AUC with a 95 % interval, 0.5 is a guess.",
        "",
        "| epsilon | recall@10 | NDCG@10 | noise / norm | steps | CPU s | AUC, loss threshold | AUC, shadow models |",
        "|" + "---|" * 8,
    ]
    for epsilon in BUDGETS:
        cell, attack = found.get(f"recall-{_named(epsilon)}"), found.get(f"membership-{_named(epsilon)}")
        lines.append("| " + " | ".join([_budget(epsilon), *_recall(cell), *_attacks(attack)]) + " |")
    if plain := found.get("popularity-none"):
        lines.append("| " + " | ".join(["popularity, no privacy", *_recall(plain), "", ""]) + " |")
    lines += ["", f"Command: `python training/benchmarks/privacy.py PATH/{name} --out training/results`  "]
    if found:
        last = max(found.values(), key=lambda one: one["date"])
        lines.append(f"Machine: {last['machine']}, {last['date']}")
    with atomic_file(out / f"privacy-{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _budget(epsilon: float | None) -> str:
    return "∞ (ordinary training)" if epsilon is None else f"{epsilon:g}"


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
