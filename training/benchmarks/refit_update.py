"""What becomes of the events that a fit holds out: nothing, an update with them, or training again on all.

    python training/benchmarks/refit_update.py PATH/ml-latest-small --out training/results

The first 80 % of the events, by time, are fitted on, with the next 10 % as validation. The model is then served as it is
(``--refit`` left out), updated with the validation events (``--refit update``), or trained again with them (``--refit
all``), and judged on the last 10 %: each event is to be found from all that its user did before, up to the event just
before, among all items of the catalogue; at most 3000 events, and 100 of a user. CPU seconds are of what comes after the
fit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cells import DATA, show_progress

import recsys
from recsys.bundle.contents import Bundle
from recsys.core.files import atomic_file
from recsys.core.progress import log as say
from recsys.data.live_windows import clock_of, each_event
from recsys.data.split import Holdout
from recsys.evaluation.result import Evaluation
from recsys.training.update.run import updated

CUTS = (0.8, 0.9)
TABLES = {
    "model": {"encoder": None, "word_features": "on", "dim": 32, "blocks": 1, "max_length": 50, "score": "dot"},
    "objective": {"loss": "sampled", "negatives": 512},
    "training": {"epochs": 10, "batch_tokens": 1600, "learning_rate": 3e-3, "validate_every": 2, "patience": 4},
}
"""A small recipe, without a text encoder."""


def main() -> None:
    """Fit once, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    show_progress()
    name = arguments.data.resolve().name
    log = recsys.read_interactions(arguments.data / "interactions.parquet", timestamp="timestamp")
    catalog = recsys.read_catalog(arguments.data / "items.parquet", text=DATA[name].text)
    clock = clock_of(log)
    first, second = (np.quantile(clock, cut, method="higher") for cut in CUTS)
    known, train = (log.select(clock < cut) for cut in (second, first))
    validation = each_event(known, clock_of(known) >= first, "validation", most=2000, per_user=20)
    asked = each_event(log, clock >= second, "the last tenth", most=3000, per_user=100)

    model = recsys.Recipe.read(**TABLES).fit(train, catalog, validation=validation)
    fitted = model.log.cpu_seconds if model.log else 0.0
    as_it_is = model.retriever(index="exact", log=known).bundle
    rows = [row("none", judge(as_it_is, asked), 0.0)]
    cpu = time.process_time()
    made = updated(as_it_is, known)
    rows.append(row("update", judge(made, asked), time.process_time() - cpu))
    cpu = time.process_time()
    again = model.refit(known)
    spent = time.process_time() - cpu
    rows.append(row("all", judge(again.retriever(index="exact", log=known).bundle, asked), spent))
    held_out = len(known) - len(train)
    facts = (
        f"{len(known):,} events known, {held_out:,} of them held out by the fit, which took {fitted:,.0f} CPU seconds; "
        f"{len(asked):,} events judged."
    )
    write(arguments.out / f"refit-{name}.md", name, rows, facts)


def judge(bundle: Bundle, asked: Holdout) -> Evaluation:
    """How well the events of the last part are found."""
    return recsys.evaluate(recsys.Retriever(bundle), asked, 10)


def row(name: str, found: Evaluation, cpu_seconds: float) -> str:
    """A row of the table."""
    say(f"--refit {name}: {found['recall@10']:.4f} / {found['ndcg@10']:.4f}, {cpu_seconds:.1f} CPU s")
    return f"| {name} | {found['recall@10']:.4f} | {found['ndcg@10']:.4f} | {cpu_seconds:.1f} |"


def write(file: Path, name: str, rows: list[str], facts: str) -> None:
    """Write the table."""
    options = ", ".join(f"{key} {value}" for key, value in asdict(recsys.UpdateOptions()).items())
    recipe = "; ".join(f"{table}: {', '.join(f'{k} {v}' for k, v in values.items())}" for table, values in TABLES.items())
    lines = [
        f"# {name}: what becomes of the events that a fit holds out",
        "",
        " ".join((__doc__ or "").split("--out training/results")[1].split()),
        "",
        f"{facts} Recipe: {recipe}. Options of the update: {options}.",
        "",
        "| --refit | recall@10 | ndcg@10 | CPU s |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Command: `python training/benchmarks/refit_update.py PATH/{name} --out training/results`",
    ]
    with atomic_file(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
