"""Rolling windows: what a model loses that is never updated, what an update gives back, and what training again costs.

    python training/benchmarks/updates.py PATH/amazon-beauty --out training/results --work runs/updates

A log is cut into a first part and seven windows of 5 % of the events. The first part trains the base, with a recipe of
this file and a fixed number of epochs; at the end of each of the first six windows the model is left as it was, updated
from the one before with the events of that window, or trained again from nothing on all events so far, and all are judged
on the next window. A model knows the items that had an event by then, with their texts, and no others. "new items" is the
model left as it was, with the content of the new items added to its corpus, which trains nothing.

Windows of ml-latest-small are cut by time. Those of ml-1m, whose times are known in part, and of amazon-beauty, whose times
are days, are cut by order: at the same share of each history (``--by time`` cuts amazon-beauty by its days, under a name of
its own). Each judged event is to be found from all that its user did before, up to the event just before, among all items
that the model knows; at most 3000 events of a window, and 100 of a user, drawn once for all models. Figures are means over
users of the mean over their events.

Each finished cell is a file ``OUT/cells/updates-DATA/NAME-WINDOW.json``, with the figures of each event beside it, and is
not run again; bundles lie in ``--work``. The table ``OUT/updates.md`` and its curves are made anew after each cell.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cells import DATA, cell_file, keep, show_progress
from updates_table import write_tables

import recsys
from recsys.bundle.contents import Bundle
from recsys.core.files import atomic_file
from recsys.core.progress import log as say
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.live_windows import clock_of, each_event
from recsys.data.split import Holdout
from recsys.training.anew import trained_anew

WINDOWS, SHARE = 7, 0.05
SPREAD = (6, 2, 4, 1, 3, 5)
"""Windows in the order in which they are judged: a table of the first ones is of early and late ones."""
FAR = {
    "model": {"encoder": None, "word_features": "on"},
    "training": {"adapt": "off", "patience": 0, "validate_every": 99, "keep_moments": True},
}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "amazon-beauty": {
        "model": {"use_ids": False, "dim": 64, "blocks": 1, "heads": 2, "max_length": 20, "dropout": 0.3},
        "objective": {"loss": "sampled", "sampler": "uniform", "log_q": False, "negatives": 512},
        "training": {"epochs": 6, "batch_tokens": 2048, "learning_rate": 2e-3},
    },
    "ml-latest-small": {
        "model": {"dim": 32, "blocks": 1, "heads": 2, "max_length": 50, "dropout": 0.2, "score": "dot"},
        "objective": {"loss": "sampled", "negatives": 512},
        "training": {"epochs": 10, "batch_tokens": 1600, "learning_rate": 3e-3},
    },
    "ml-1m": {
        "model": {"dim": 32, "blocks": 1, "heads": 2, "max_length": 50, "dropout": 0.1, "score": "dot"},
        "objective": {"loss": "sampled", "negatives": 512},
        "training": {"epochs": 4, "batch_tokens": 6400, "learning_rate": 3e-3},
    },
}
"""Options by data set: one member, words and no text encoder, moderate widths, a fixed number of epochs."""


def main() -> None:
    """Run the cells that are not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/updates"), help="folder of the bundles")
    parser.add_argument("--by", choices=("order", "time"), help="how windows are cut (default: as above)")
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="some of the cells; none: make the table alone")
    parser.add_argument(
        "--windows", type=int, nargs="+", choices=SPREAD, default=SPREAD, help="of the cells but updates (default: all)"
    )
    parser.add_argument("--label", default="update", help="name of the row of updates with --set")
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="options of the update")
    arguments = parser.parse_args()
    show_progress()
    if arguments.cells:
        data = arguments.data.resolve().name
        by = arguments.by or ("time" if data == "ml-latest-small" else "order")
        name = data if (by == "time") == (data == "ml-latest-small") else f"{data}-{by}"
        chosen = dict(one.split("=", 1) for one in arguments.set)
        run = Run(arguments, name, load(arguments.data, by), {key: float(value) for key, value in chosen.items()})
        run.all(arguments.cells, arguments.windows)
    write_tables(arguments.out)


def load(folder: Path, by: str) -> tuple[Interactions, Catalog]:
    """The log, with times or with an order alone, and the catalogue."""
    name = folder.resolve().name
    frame = pl.read_parquet(folder / "interactions.parquet")
    if "seq" in frame.columns:
        frame = frame.drop_nulls("seq").sort("user_id", "seq")
    columns = ["user_id", "item_id", *(["timestamp"] if by == "time" else [])]
    log = Interactions.from_frame(frame.select(columns))
    return log, recsys.read_catalog(folder / "items.parquet", text=DATA[name].text)


class Run:
    """The cells of one data set."""

    def __init__(self, arguments: Any, name: str, data: tuple[Interactions, Catalog], options: dict[str, float]) -> None:
        self.name, (self.log, self.catalog) = name, data
        self.recipe = RECIPES[arguments.data.resolve().name]
        self.out, self.cells = arguments.out, arguments.out / "cells" / f"updates-{name}"
        self.work = arguments.work / name
        self.label, self.options = arguments.label, options
        clock = clock_of(self.log)
        shares = 1 - SHARE * np.arange(WINDOWS, -1, -1)
        cuts = np.quantile(clock, shares[:-1], method="higher")
        self.number = np.searchsorted(cuts, clock, side="right")
        """int (len(log),): 0 of the first part, then the window of each event, from 1 on."""
        first = np.full(len(self.log.items), WINDOWS + 1)
        np.minimum.at(first, self.log.histories.rows, self.number)
        self.item_window = first
        self.user_window = np.full(len(self.log.users), WINDOWS + 1)
        np.minimum.at(self.user_window, self.log.histories.list_index(), self.number)

    def all(self, cells: list[str], windows: Sequence[int]) -> None:
        """Every cell of these windows; updates of every window, since one begins from the other."""
        for name in cells:
            for window in range(1, WINDOWS) if name == "update" else windows:
                label = self.label if name == "update" else name
                file = cell_file(self.cells, f"{label} {window}")
                if file.is_file() and (name != "update" or (self.work / f"{label}-{window}").is_dir()):
                    continue
                say(f"--- {self.name}: {label}, window {window} of {WINDOWS - 1}")
                bundle, spent = CELLS[name](self, window)
                self.judge(bundle, window, file, {"cell": label, "window": window} | spent)
                write_tables(self.out)

    def upto(self, window: int) -> tuple[Interactions, Catalog]:
        """All events through a window (0: the first part), and the items that had one by then."""
        known = self.log.select(self.number <= window).compact()
        return known, self.catalog.aligned(known.items)

    def base(self) -> Bundle:
        """The model of the first part: validated on its last twentieth, then trained again with that."""
        folder = self.work / "base"
        if folder.is_dir():
            return recsys.load(folder).bundle
        known, catalog = self.upto(0)
        clock = clock_of(known)
        last = clock >= np.quantile(clock, 1 - SHARE, method="higher")
        validation = each_event(known, last, "validation", most=2000, per_user=20)
        tables = {name: FAR.get(name, {}) | self.recipe.get(name, {}) for name in ("model", "objective", "training")}
        model = recsys.Recipe.read(**tables).fit(known.select(~last), catalog, validation=validation)
        bundle = trained_anew(model.retriever(index="exact").bundle, known, catalog, earlier=True)
        recsys.Retriever(bundle).save(folder)
        return recsys.load(folder).bundle

    def no_update(self, window: int) -> tuple[Bundle, dict[str, Any]]:
        """The base as it was."""
        return self.base(), {"cpu_seconds": 0.0}

    def new_items(self, window: int) -> tuple[Bundle, dict[str, Any]]:
        """The base, with the content of the items that have come since."""
        bundle = self.base()
        known, catalog = self.upto(window)
        new = np.flatnonzero(bundle.items.find_rows(known.items.ids) < 0)
        frame = catalog.columns.with_columns(known.items.ids.alias("item_id"))[new]
        cpu = time.process_time()
        return (bundle.with_items(frame) if len(new) else bundle), {"cpu_seconds": time.process_time() - cpu}

    def retrain(self, window: int) -> tuple[Bundle, dict[str, Any]]:
        """Trained from nothing."""
        known, catalog = self.upto(window)
        base = self.base()
        cpu = time.process_time()
        made = trained_anew(base, known, catalog, earlier=True)
        return made, {"cpu_seconds": time.process_time() - cpu}

    def update(self, window: int) -> tuple[Bundle, dict[str, Any]]:
        """Updated from the one before."""
        from recsys.config.update import UpdateOptions
        from recsys.training.update.run import updated

        folder = self.work / f"{self.label}-{window}"
        before = self.work / f"{self.label}-{window - 1}" if window > 1 else self.work / "base"
        self.base()
        bundle = recsys.load(before).bundle
        known, catalog = self.upto(window)
        kinds = UpdateOptions.__dataclass_fields__
        options = UpdateOptions(**{key: int(v) if kinds[key].type == "int" else v for key, v in self.options.items()})
        cpu = time.process_time()
        made = updated(bundle, known, catalog, options)
        spent = time.process_time() - cpu
        recsys.Retriever(made).save(folder, overwrite=True)
        return recsys.load(folder).bundle, {"cpu_seconds": spent, "options": str(options)}

    def asked(self, window: int) -> Holdout:
        """What is to be found after a window."""
        return each_event(self.log, self.number == window + 1, f"window {window + 1}", most=3000, per_user=100)

    def judge(self, bundle: Bundle, window: int, file: Path, found: dict[str, Any]) -> None:
        """Judge on the next window, and keep what was found."""
        held = self.asked(window)
        report = recsys.evaluate(recsys.Retriever(bundle), held, 10)
        table = {
            "user": held.user_rows,
            "user_window": self.user_window[held.user_rows],
            "item_window": self.item_window[held.targets.rows],
            "recall": report.per_user["recall@10"],
            "ndcg": report.per_user["ndcg@10"],
        }
        places = file.with_suffix(".npz")
        places.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(places) as temporary, temporary.open("wb") as out:
            np.savez_compressed(out, **{key: np.asarray(value, dtype=np.float32) for key, value in table.items()})
        figures = {"recall@10": float(report["recall@10"]), "ndcg@10": float(report["ndcg@10"])}
        facts = {"events": int((self.number <= window).sum()), "items": len(bundle.items), "judged": len(held)}
        say("  ".join(f"{key} {value:.4f}" for key, value in figures.items()) + f"  CPU s {found['cpu_seconds']:.1f}")
        keep(file, found | facts | {"by_event": figures, "recipe": self.recipe})


CELLS: dict[str, Callable[[Run, int], tuple[Bundle, dict[str, Any]]]] = {
    "no update": Run.no_update,
    "new items": Run.new_items,
    "retrain": Run.retrain,
    "update": Run.update,
}
"""Name of a cell → what makes its model."""


if __name__ == "__main__":
    main()
