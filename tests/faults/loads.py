"""Loads beside saves: a writer replaces a bundle by another one in a loop, and every load sees one of the two, whole.

By hand: ``python -m tests.faults.loads --rounds 5450``.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np

import recsys
from recsys.serving.retriever import Retriever
from tests.faults.tally import Tally, by_hand, judged
from tests.faults.worlds import fitted, write_data


def _write(place: Path, sources: list[Path], stop: Any) -> None:
    models = [recsys.load(source, device="cpu") for source in sources]
    saved = 0
    while not stop.is_set():
        models[saved % 2].save(place, overwrite=True)
        saved += 1
    stop.clear()


def _agrees(found: Retriever, models: list[Retriever]) -> bool:
    """Whether users, items, vectors, towers, index and histories are those of one and the same model."""
    model = models[str(found.users.ids[0]).startswith("b")]
    weights, own = found.towers.net.state_dict(), model.towers.net.state_dict()
    mine, theirs = found.recommend(model.users.ids[:3], k=4), model.recommend(model.users.ids[:3], k=4)
    return (
        found.users.ids.equals(model.users.ids)
        and found.items.ids.equals(model.items.ids)
        and np.array_equal(found.vectors, model.vectors)
        and all(bool((weights[name] == own[name]).all()) for name in own)
        and mine.equals(theirs)
    )


def run(folder: Path, rounds: int, seed: int = 0) -> Tally:
    """Load ``rounds`` times beside a writer."""
    sources = []
    for prefix in ("a", "b"):
        write_data(folder / prefix, prefix)
        fitted(folder / prefix, prefix).save(folder / f"{prefix}-run")
        sources.append(folder / f"{prefix}-run")
    models, place = [recsys.load(source, device="cpu") for source in sources], folder / "place"
    models[0].save(place)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    writer = context.Process(target=_write, args=(place, sources, stop))
    tally = Tally("loads beside saves")
    writer.start()
    try:
        first = (place / "manifest.json").stat().st_ino
        for _ in range(600):  # until it writes
            if not writer.is_alive() or _inode(place) != first:
                break
            time.sleep(0.05)
        for number in range(rounds):
            outcome = judged(lambda: recsys.load(place, device="cpu"), lambda it: _agrees(it, models))
            tally.add("load", "REFUSED: a whole bundle" if outcome == "refused" else outcome, str(number))
    finally:
        stop.set()
        writer.join(60)
        if writer.is_alive():
            writer.kill()
    tally.add("writer", "ended well" if writer.exitcode == 0 else f"FELL: exit code {writer.exitcode}")
    rest = sorted(one.name for one in folder.iterdir())
    tally.add("litter", "none" if rest == ["a", "a-run", "b", "b-run", "place"] else f"LEFT: {rest}")
    return tally


def _inode(place: Path) -> int:
    try:
        return (place / "manifest.json").stat().st_ino
    except FileNotFoundError:
        return -1


if __name__ == "__main__":
    by_hand(run, 5450)
