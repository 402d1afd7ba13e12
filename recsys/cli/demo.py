"""``recsys demo``: the whole path on a made-up shop, with a real text encoder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.baselines import ALS, ItemKNN, Popularity
from recsys.cli.words import command
from recsys.config.training import Training
from recsys.core.destination import prove_folder
from recsys.core.progress import log
from recsys.core.schema import SCORE, TITLE
from recsys.core.text_table import as_text
from recsys.data.read import read_catalog, read_interactions
from recsys.data.split import leave_last_out
from recsys.data.synthetic.shop import make_shop, write_shop
from recsys.data.synthetic.shop_pictures import write_pictures
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import DEFINITION
from recsys.report import build as build_report
from recsys.report import bundle_files, means_of
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower

_CUTS = (10, 20, 50)
_SHOWN_USERS = 3


def run(folder: Path, seed: int) -> tuple[str, dict[str, Any]]:
    """Make a shop, train, compare with baselines, recommend.

    Parameters
    ----------
    folder : Path
        Gets ``data/`` (plain CSV files) and ``bundle/``.
    seed : int

    Returns
    -------
    str, dict
        What to print, and the same figures for programs.

    Raises
    ------
    ConfigError
        The folder holds what no demo has made.
    """
    _refuse_foreign(folder)
    for place in ("data", "bundle", "logs"):
        prove_folder(folder / place)
    begun = time.monotonic()
    log("making a shop")
    shop = make_shop(seed=seed)
    write_shop(replace(shop, items=write_pictures(shop.items, folder / "data" / "pictures")), folder / "data")
    events = read_interactions(folder / "data" / "events.csv")
    catalog = read_catalog(folder / "data" / "items.csv", text=["title", "description", "category"])
    split = leave_last_out(events)

    model = TwoTower(dim=64, max_length=50)
    training = Training(epochs=15, batch_tokens=2048, learning_rate=2e-3, seed=seed)
    model.fit(split.train, catalog, validation=split.validation, training=training, log_folder=folder / "logs")
    rankers: list[Ranker] = [model, *(baseline.fit(split.train, catalog) for baseline in (ItemKNN(), ALS(), Popularity()))]
    cold = split.train.item_counts[split.test.targets.rows] == 0
    everybody = pl.DataFrame([_row(ranker, split.test) for ranker in rankers])
    apart = pl.DataFrame([_row(ranker, split.test.where(cold)) for ranker in rankers])

    retriever = model.retriever(log=events, holdout=split.test)
    figures = build_report(retriever.bundle, retriever, baselines=False, with_map=False).figures
    retriever.save(folder / "bundle", overwrite=True, metrics=means_of(figures), extras=bundle_files(figures))
    users = events.users.to_ids(split.test.user_rows[:: len(split.test) // _SHOWN_USERS][:_SHOWN_USERS])
    bundle = folder / "bundle"
    text = "\n\n".join(
        [
            f"{len(events):,} purchases by {len(events.users):,} users, catalogue of {len(catalog):,} items; "
            f"each user's last purchase is held out, all items are ranked\n{as_text(everybody)}",
            f"cold items apart: the {int(cold.sum())} users whose last purchase nobody had bought before\n{as_text(apart)}",
            *(_story(retriever, user) for user in users),
            "\n  ".join(["try next:", *_next(folder, events.items.ids[0])]),
            f"{DEFINITION}\nthe demo took {time.monotonic() - begun:.0f} s",
        ]
    )
    return text, {"bundle": str(bundle), "all": everybody.to_dicts(), "cold": apart.to_dicts()}


def _refuse_foreign(folder: Path) -> None:
    """Refuse to write over what no demo has made."""
    bundle, data = folder / "bundle", folder / "data"
    made = (bundle / "manifest.json").is_file()
    for place in (folder, bundle, data):
        if place.exists() and not place.is_dir():
            raise ConfigError(f"{place} is a file; choose another --out")
    if not made and any(place.is_dir() and any(place.iterdir()) for place in (bundle, data)):
        raise ConfigError(
            f"{folder} holds a folder data or bundle of something else, or of a demo that was stopped; "
            f"remove it, or choose another --out"
        )


def _next(folder: Path, item: str | int) -> list[str]:
    """Commands to try, each as a shell reads it."""
    bundle, data = folder / "bundle", folder / "data"
    return [
        command("search", bundle, "a gift for somebody who loves espresso"),
        command("similar", bundle, str(item)),
        command("recommend", bundle, "--out", folder / "recommendations.parquet", "--k", "20"),
        command("evaluate", bundle, "--segments"),
        command("report", bundle, "--out", folder / "report.html", "--category", "category"),
        command("inspect", data / "events.csv", "--catalog", data / "items.csv"),
        command("serve", bundle, "--open"),
    ]


def _row(ranker: Ranker, holdout: Any) -> dict[str, Any]:
    report = evaluate(ranker, holdout, _CUTS)
    return {"model": ranker.name} | {name: report[name] for name in (*(f"recall@{k}" for k in _CUTS), "ndcg@10")}


def _story(retriever: Retriever, user: str) -> str:
    bought = "\n".join(f"   · {title}" for title in retriever.history(user)[TITLE].tail(4))
    advice = retriever.with_titles(retriever.recommend(user, k=5))
    given = "\n".join(
        f"   {rank}. {row[TITLE]}  ({row[SCORE]:.2f})" for rank, row in enumerate(advice.iter_rows(named=True), 1)
    )
    return f"user {user} last bought\n{bought}\n  and is recommended\n{given}"
