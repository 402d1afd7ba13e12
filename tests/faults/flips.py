"""Saved files flipped, cut, zeroed and edited: each is refused by name, made anew, or done without; never other results.

By hand: ``python -m tests.faults.flips --rounds 1000``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import recsys
from recsys.config.recipe import TABLES
from recsys.core.sealed import sealed
from recsys.data.interactions import Interactions
from recsys.pipeline import fit_trial
from recsys.tuning.search import tune
from recsys.tuning.space import read_space
from tests.faults.tally import Tally, by_hand, judged
from tests.faults.worlds import answers, damage, fitted, write_data
from tests.models.tiny_encoders import make_encoder

Case = Callable[[Path, np.random.Generator], tuple[str, str]]
"""Damages something in a fresh folder; gives the outcome, and what was done."""


@dataclass
class World:
    """What the saved files come from, and the results that they must give."""

    folder: Path
    said: pl.DataFrame

    @classmethod
    def made(cls, folder: Path) -> World:
        """A bundle, a batch of shards, a checkpoint, a study, a saved log, a cache of encoded texts."""
        write_data(folder)
        retriever = fitted(folder)
        retriever.save(folder / "run")
        recsys.recommend_to_parquet(retriever, folder / "recs", k=3, shard_users=4, bundle=folder / "run")
        recsys.read_interactions(folder / "log.csv").save(folder / "log")
        make_encoder(folder / "encoder", layers=1)
        return cls(folder, answers(recsys.load(folder / "run", device="cpu")))

    def bundle_file(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """Any file of a bundle, the manifest too."""
        run = Path(shutil.copytree(self.folder / "run", place / "run"))
        files = sorted(file for file in run.rglob("*") if file.is_file())
        done = damage(files[int(random.integers(len(files)))], random)
        return judged(lambda: recsys.load(run, device="cpu"), lambda it: answers(it).equals(self.said)), done

    def manifest(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """A figure of the manifest, changed with care: it is not what the model reached."""
        run = Path(shutil.copytree(self.folder / "run", place / "run"))
        manifest = json.loads((run / "manifest.json").read_text())
        done = edit(manifest, random)
        (run / "manifest.json").write_text(json.dumps(manifest))
        wanted = json.loads((self.folder / "run" / "manifest.json").read_text())
        same = manifest | {"sha256": ""} == wanted | {"sha256": ""}  # without its digest it tells the same
        return judged(lambda: recsys.load(run, device="cpu"), lambda _: same), done

    def config(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """config.json edited and hashed anew: whoever does that may change results, but gets no traceback."""
        run = Path(shutil.copytree(self.folder / "run", place / "run"))
        config = json.loads((run / "config.json").read_text())
        done = edit(config, random)
        content = json.dumps(config).encode()
        (run / "config.json").write_bytes(content)
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["files"]["config.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (run / "manifest.json").write_text(json.dumps(sealed(manifest)))
        return judged(lambda: answers(recsys.load(run, device="cpu"))), done

    def shard(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """A file of a batch that was stopped before its last shard."""
        recs = Path(shutil.copytree(self.folder / "recs", place / "recs"))
        (recs / "_SUCCESS").unlink()
        (recs / "part-00002.parquet").unlink()
        files = sorted(file for file in recs.iterdir() if file.is_file())
        done = damage(files[int(random.integers(len(files)))], random)
        retriever = recsys.load(self.folder / "run", device="cpu")

        def go_on() -> pl.DataFrame:
            recsys.recommend_to_parquet(retriever, recs, k=3, shard_users=4, bundle=self.folder / "run")
            return whole(recs)

        return judged(go_on, lambda frame: frame.equals(whole(self.folder / "recs"))), done

    def interactions(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """A file of a saved log."""
        log = Path(shutil.copytree(self.folder / "log", place / "log"))
        files = sorted(file for file in log.rglob("*") if file.is_file())
        done = damage(files[int(random.integers(len(files)))], random)
        wanted = recsys.read_interactions(self.folder / "log.csv").frame()
        return judged(lambda: Interactions.load(log).frame(), lambda frame: frame.equals(wanted)), done

    def checkpoint(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """What a stopped training goes on from."""
        wanted = self._trained(self.folder / "checkpoint", resume=(self.folder / "checkpoint").exists())
        state = Path(shutil.copytree(self.folder / "checkpoint", place / "checkpoint"))
        files = sorted(file for file in state.rglob("*") if file.is_file())
        done = damage(files[int(random.integers(len(files)))], random)
        return judged(lambda: self._trained(state, resume=True), lambda found: np.array_equal(found, wanted)), done

    def _trained(self, checkpoint: Path, *, resume: bool) -> Any:
        log, catalog = recsys.read_interactions(self.folder / "log.csv"), recsys.read_catalog(self.folder / "items.csv")
        split = recsys.leave_last_out(log)
        model = recsys.TwoTower(encoder=None, dim=8, heads=2, max_length=6)
        training = recsys.Training(epochs=1, batch_tokens=64, device="cpu", checkpoint_steps=1)
        model.fit(
            split.train, catalog, validation=split.validation, training=training, checkpoint=checkpoint, resume=resume
        )
        return model.retriever(log=log).vectors

    def texts(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """The cache of encoded texts, which is made anew where it is damaged."""
        cache = self.folder / "cache"
        options = {"encoder": str(self.folder / "encoder")}
        os.environ["RECSYS_CACHE"] = str(cache)
        wanted = fitted(self.folder, **options).vectors
        os.environ["RECSYS_CACHE"] = str(shutil.copytree(cache, place / "cache"))
        files = sorted(file for file in (place / "cache").rglob("*") if file.is_file())
        done = damage(files[int(random.integers(len(files)))], random)
        outcome = judged(lambda: fitted(self.folder, **options).vectors, lambda found: np.array_equal(found, wanted))
        return ("REFUSED: a cache is no reason to" if outcome == "refused" else outcome), done

    def study(self, place: Path, random: np.random.Generator) -> tuple[str, str]:
        """The file of a search that goes on."""
        (place / "space.toml").write_text(SPACE)
        split = recsys.leave_last_out(recsys.read_interactions(self.folder / "log.csv"))
        space = read_space(place / "space.toml", TABLES)

        def search(storage: Path) -> list[Any]:
            found = tune(split.train, None, split.validation, space, fit=fit_trial, trials=1, storage=storage, name="study")
            return found.trials["value"].to_list()

        storage = self.folder / "study.db"
        wanted = search(storage)
        for file in self.folder.glob("study.db*"):
            shutil.copyfile(file, place / file.name)
        done = damage(place / "study.db", random)
        return judged(lambda: search(place / "study.db"), lambda found: found == wanted), done


SPACE = """[model]
encoder = "none"
dim = 8
[training]
epochs = 1
device = "cpu"
[search.training]
learning_rate = [0.001, 0.01]
"""
_ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**9,
    10**30,
    "",
    "x",
    "none",
    [],
    {},
    ["a"],
    {"a": 1},
    [[1]],
    "\ud800",
    -(2**63),
]


def edit(tree: Any, random: np.random.Generator) -> str:
    """Change, add or take out one value somewhere in JSON."""
    at, way = tree, []
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[int(random.integers(len(keys)))]
        way.append(str(key))
        if isinstance(at[key], dict | list) and at[key] and random.random() < 0.7:
            at = at[key]
            continue
        chance, value = random.random(), _ODD[int(random.integers(len(_ODD)))]
        if chance < 0.2:
            del at[key]
            return f"{'.'.join(way)} taken out"
        if chance < 0.3 and isinstance(at, dict):
            at["strange"] = value
            return f"{'.'.join(way[:-1])}.strange = {value!r}"
        at[key] = value
        return f"{'.'.join(way)} = {value!r}"


def whole(folder: Path) -> pl.DataFrame:
    """All rows of a batch, shard by shard."""
    return pl.concat([pl.read_parquet(file, glob=False) for file in sorted(folder.glob("part-*.parquet"))])


def run(folder: Path, rounds: int, seed: int = 0, *, without: tuple[str, ...] = ()) -> Tally:
    """Damage ``rounds`` files; the costly kinds (checkpoint, texts, study) come more rarely than the cheap ones."""
    random, tally = np.random.default_rng(seed), Tally("damaged files")
    before = os.environ.get("RECSYS_CACHE")
    world = World.made(folder / "world")
    cheap: list[tuple[str, Case]] = [
        ("bundle", world.bundle_file), ("manifest", world.manifest), ("config", world.config), ("shards", world.shard),
        ("interactions", world.interactions),
    ]  # fmt: skip
    costly: list[tuple[str, Case]] = [("checkpoint", world.checkpoint), ("texts", world.texts), ("study", world.study)]
    costly = [(kind, case) for kind, case in costly if kind not in without]
    try:
        for number in range(rounds):
            turn, dear = number // 8, number % 8 == 7
            kind, case = costly[turn % len(costly)] if dear else cheap[number % len(cheap)]
            place = folder / "case"
            place.mkdir()
            outcome, done = case(place, random)
            tally.add(kind, outcome, done)
            shutil.rmtree(place)
    finally:
        os.environ.pop("RECSYS_CACHE", None)
        if before is not None:
            os.environ["RECSYS_CACHE"] = before
    return tally


if __name__ == "__main__":
    by_hand(run, 1000)
