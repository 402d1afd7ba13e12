"""Kill -9 at random moments of fit, recommend, tune, index and save: what comes next is as if nothing had happened.

By hand: ``python -m tests.faults.kills --rounds 144``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import recsys
from tests.faults.flips import SPACE, whole
from tests.faults.jobs import command, forking, run_killed, run_whole, save_in_turn
from tests.faults.tally import Tally, by_hand, judged
from tests.faults.worlds import fitted, write_data

FIT = "--encoder none --dim 8 --heads 2 --max-length 6 --epochs 6 --batch-tokens 64 --device cpu --dropout 0.2"
FIT += " --checkpoint-steps 1"


class World:
    """Two bundles, and what each command gives when nobody kills it."""

    def __init__(self, folder: Path, random: np.random.Generator, tally: Tally) -> None:
        self.folder, self.random, self.tally, self.context = folder, random, tally, forking()
        for prefix in ("a", "b"):
            write_data(folder / prefix, prefix)
            fitted(folder / prefix, prefix).save(folder / f"{prefix}-run")
        run_whole(self.context, time.sleep, 0)  # the server imports everything once
        self.log = [str(folder / "a" / "log.csv"), "--catalog", str(folder / "a" / "items.csv")]
        (folder / "space.toml").write_text(SPACE)
        self.seconds: dict[str, float] = {}

    def words(self, kind: str, place: Path) -> list[str]:
        """The command of a kind, which writes into a folder."""
        run = str(self.folder / "a-run")
        return {
            "fit": ["fit", *self.log, *FIT.split(), "--out", str(place / "run")],
            "recommend": ["recommend", run, "--out", str(place / "recs"), "--shard-users", "1", "--k", "3"],
            "tune": [
                "tune",
                self.log[0],
                "--space",
                str(self.folder / "space.toml"),
                "--trials",
                "3",
                "--out",
                str(place / "s"),
            ],
            "index": ["index", str(place / "run"), "--remove", "ai1", "ai2"],
        }[kind]

    def reference(self, kind: str) -> Path:
        """What the command gives undisturbed; made once."""
        place = self.folder / f"whole-{kind}"
        if not place.exists():
            self.prepare(kind, place)
            code, self.seconds[kind] = run_whole(self.context, command, self.words(kind, place))
            assert code == 0, (kind, code)
        return place

    def prepare(self, kind: str, place: Path) -> None:
        """What the command needs in its folder."""
        place.mkdir()
        if kind == "index":
            shutil.copytree(self.folder / "a-run", place / "run")

    def killed(self, kind: str, check: Callable[[Path, Path], str]) -> None:
        """Kill a command once, run it again to its end, and look at what there is."""
        reference, place = self.reference(kind), self.folder / "place"
        self.prepare(kind, place)
        moment = float(self.random.uniform(0.05, 0.95)) * self.seconds[kind]
        working = run_killed(self.context, moment, command, self.words(kind, place))
        between = self.between(kind, place)
        again = self.words(kind, place)
        if kind == "fit" and list((place / "checkpoints").rglob("state.safetensors")):
            again += ["--resume"]
        if not (kind == "fit" and (place / "run").exists()) and not (kind == "index" and between == "new"):
            code, _ = run_whole(self.context, command, again)
            between = between if code == 0 else f"EXIT CODE: {code}, on {again}"
        outcome = between if between.partition(":")[0].isupper() else check(place, reference)
        self.tally.add(
            kind,
            outcome if working or outcome.partition(":")[0].isupper() else f"{outcome} (ended before)",
            f"{moment:.2f} s",
        )
        shutil.rmtree(place)

    def between(self, kind: str, place: Path) -> str:
        """What stands there right after the kill; for an index: the old bundle or the new one, never neither."""
        if kind != "index":
            return "anything"
        found = list[int]()
        outcome = judged(lambda: found.append(int(recsys.load(place / "run", device="cpu").index.alive.sum())))
        if outcome != "same":
            return f"NEITHER: {outcome}"
        return {32: "old", 30: "new"}.get(found[0], f"MIXTURE: {found[0]} items")

    def saved(self) -> None:
        """Kill a process that saves two bundles in turn over one path."""
        place = self.folder / "shelf"
        place.mkdir()
        sources = [str(self.folder / f"{one}-run") for one in "ab"]
        recsys.load(sources[0], device="cpu").save(place / "run")
        process = self.context.Process(target=save_in_turn, args=(str(place / "run"), sources))
        process.start()
        while process.is_alive() and not (place / "begun").exists():
            time.sleep(0.005)
        time.sleep(float(self.random.uniform(0, 0.3)))
        process.kill()
        process.join()
        (place / "begun").unlink(missing_ok=True)
        models = [recsys.load(source, device="cpu") for source in sources]

        def is_one(found: Any) -> bool:
            model = models[str(found.users.ids[0]).startswith("b")]
            return found.items.ids.equals(model.items.ids) and np.array_equal(found.vectors, model.vectors)

        outcome = judged(lambda: recsys.load(place / "run", device="cpu"), is_one)
        outcome = "NOTHING: the path holds no whole bundle" if outcome == "refused" else outcome
        models[0].save(place / "run", overwrite=True)
        if (rest := sorted(one.name for one in place.iterdir())) != ["run"]:
            outcome = f"LITTER: {rest}"
        self.tally.add("save", outcome)
        shutil.rmtree(place)


def _same_run(place: Path, reference: Path) -> str:
    names = ["towers.safetensors", "item_vectors.npy", "users.parquet", "items.parquet", "histories.parquet"]
    differ = [one for one in names if (place / "run" / one).read_bytes() != (reference / "run" / one).read_bytes()]
    left = {".run.lock", "checkpoints"}  # of a kill after the bundle was saved: the next fit there takes them away
    rest = sorted({one.name for one in place.iterdir()} - {one.name for one in reference.iterdir()} - left)
    return f"OTHER BUNDLE: {differ}" if differ else f"LITTER: {rest}" if rest else "same"


def _same_recs(place: Path, reference: Path) -> str:
    if not whole(place / "recs").equals(whole(reference / "recs")):
        return "OTHER ROWS: in the shards"
    names = [sorted(one.name for one in folder.rglob("*")) for folder in (place, reference)]
    return "same" if names[0] == names[1] else f"LITTER: {sorted(set(names[0]) ^ set(names[1]))}"


def _same_search(place: Path, reference: Path) -> str:
    tables = [
        pl.read_csv(folder / "s" / "trials.csv").filter(pl.col("state") != "interrupted") for folder in (place, reference)
    ]
    done, wanted = (table.filter(pl.col("state") == "complete").height for table in tables)
    return "gone on" if done >= wanted else f"FEWER TRIALS: {done} of {wanted}"


def _same_index(place: Path, reference: Path) -> str:
    alive = [recsys.load(folder / "run", device="cpu").index.alive for folder in (place, reference)]
    rest = sorted(one.name for one in place.iterdir())
    return "OTHER ITEMS: on offer" if not np.array_equal(*alive) else "same" if rest == ["run"] else f"LITTER: {rest}"


CHECKS = {"fit": _same_run, "recommend": _same_recs, "tune": _same_search, "index": _same_index}
ORDER = ["fit", "recommend", "save", "index", "fit", "recommend", "save", "tune"]


def run(folder: Path, rounds: int, seed: int = 0, order: list[str] | None = None) -> Tally:
    """Kill ``rounds`` times, each kind in turn."""
    tally, kinds = Tally("kills"), order or ORDER
    world = World(folder, np.random.default_rng(seed), tally)
    for number in range(rounds):
        kind = kinds[number % len(kinds)]
        if kind == "save":
            world.saved()
        else:
            world.killed(kind, CHECKS[kind])
    return tally


if __name__ == "__main__":
    by_hand(run, 144)
