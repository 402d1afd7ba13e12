"""Evaluation: the same numbers as RecTools, how many times faster, and what it costs above the bare product and top-k.

    python training/benchmarks/evaluation.py path/to/ml-1m --rectools path/to/rectools-venv/bin/python \
        --out training/results

Two cases: ml-1m leave-last-out with ALS vectors, and a synthetic one of 100,000 users, 50,000 items. Each contestant runs
in a process of its own, so that its peak memory is its own, and reads the same file of vectors, seen items and targets.
RecTools runs in its own environment (``pip install rectools==0.19.0`` beside torch; it needs numpy < 2).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

CUTS = (10, 20, 50)
REPEATS = 3


def main() -> None:
    """Run both cases, or, as a worker, one contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of ml-1m, or, for a worker, a case file")
    parser.add_argument("--rectools", help="python of an environment that has RecTools")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", choices=["ours", "bare", "beyond"])
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments.worker, arguments.data)))
        return
    lines = [
        "# Evaluation against RecTools 0.19 and against the bare product",
        "",
        "RecTools: `model.recommend(..., filter_viewed=True)` and `calc_metrics` on a prepared Dataset. All:",
        "top-k with the seen filter, then recall, hit rate, precision, NDCG, MRR and MAP at k = 10, 20, 50; `bare` is",
        "the blocked float32 product and `torch.topk(50)` without filter or metric. Best of 3 runs each, in turns.",
        "",
        "| case | contestant | seconds | of it ranking | CPU s | peak MB | ours is |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        for name, maker in (("ml-1m", lambda: real_case(arguments.data)), ("100k × 50k", synthetic_case)):
            file = Path(folder) / "case.npz"
            np.savez(file, **maker())
            found: dict[str, dict[str, Any]] = {}
            for _ in range(REPEATS):
                for contestant in ("ours", "bare", "rectools"):
                    result = run(contestant, file, arguments.rectools)
                    if contestant not in found or result["s"] < found[contestant]["s"]:
                        found[contestant] = result
            for contestant, result in found.items():
                ratio = result["s"] / found["ours"]["s"]
                verdict = (
                    "" if contestant == "ours" else f"{ratio:.1f} × faster" if ratio > 1 else f"{1 / ratio:.2f} × slower"
                )
                lines.append(
                    f"| {name} | {contestant} | {result['s']:.2f} | {result['rank s']:.2f} | {result['cpu s']:.2f} | "
                    f"{result['peak MB']:,.0f} | {verdict} |"
                )
            notes.append(f"{name}: largest difference to RecTools in any accuracy metric: {worst(found):.1e}")
            if name == "ml-1m":
                both = {who: run(who, file, arguments.rectools, beyond=True) for who in ("ours", "rectools")}
                notes.append(f"{name}: the same with coverage, novelty, popularity, serendipity: {worst(both):.1e}")
                for metric, value in sorted(both["rectools"]["metrics"].items()):
                    if abs(value - both["ours"]["metrics"][metric]) > 1e-9:
                        notes.append(
                            f"  differs: {metric} ours {both['ours']['metrics'][metric]:.9f}, RecTools {value:.9f}"
                        )
    notes.append(epoch_share(arguments.data))
    lines += ["", *(f"- {note.strip()}" for note in notes), ""]
    lines.append(
        f"Command: `python training/benchmarks/evaluation.py ml-1m --rectools …/bin/python --out {arguments.out}`  "
    )
    lines.append(f"Machine: {platform.machine()}, 2 cores, {datetime.now(UTC).date()}")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "evaluation.md").write_text(text)


def epoch_share(data: Path) -> str:
    """What judging all validation users after an epoch costs beside that epoch: ml-1m, dim 64, 2 blocks, length 200."""
    import recsys

    split = recsys.leave_last_out(recsys.read_interactions(data / "interactions.parquet", order="seq", drop_unordered=True))
    model = recsys.TwoTower(encoder=None, dim=64, blocks=2, max_length=200, dropout=0.1, score="dot")
    training = recsys.Training(epochs=2, batch_tokens=6400)
    model.fit(split.train, validation=split.validation, training=training)
    epoch = model.log.epochs[-1]
    share = epoch["validation_seconds"] / epoch["seconds"]
    return (
        f"ml-1m, ids only, dim 64, 2 blocks: an epoch takes {epoch['seconds']:.1f} s, judging all {len(split.test):,} "
        f"validation users after it {epoch['validation_seconds']:.1f} s ({share:.1%})"
    )


def worst(found: dict[str, dict[str, Any]]) -> float:
    """The largest absolute difference between our means and RecTools'."""
    theirs = found["rectools"]["metrics"]
    return max(abs(value - found["ours"]["metrics"][name]) for name, value in theirs.items())


def run(contestant: str, file: Path, rectools: str | None, *, beyond: bool = False) -> dict[str, Any]:
    """One contestant in a process of its own."""
    here = Path(__file__)
    if contestant == "rectools":
        if rectools is None:
            raise SystemExit("say where RecTools is: --rectools path/to/python")
        command = [rectools, str(here.with_name("evaluation_rectools.py")), str(file), "beyond" if beyond else "plain"]
    else:
        command = [sys.executable, str(here), str(file), "--worker", "beyond" if beyond else contestant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def real_case(data: Path) -> dict[str, np.ndarray]:
    """ml-1m, leave-last-out, vectors of a fitted ALS."""
    import recsys
    from recsys.baselines.scoring import history_matrix

    events = recsys.read_interactions(data / "interactions.parquet", order="seq", drop_unordered=True)
    split = recsys.leave_last_out(events)
    als = recsys.ALS(64, regularisation=30.0, alpha=2.0, iterations=10).fit(split.train)
    test = split.test
    model = als._model
    users = model.recalculate_user(np.arange(len(test)), history_matrix(test.histories, len(events.items)))
    return case(users, model.item_factors, test.histories, test.targets, split.train.histories)


def synthetic_case() -> dict[str, np.ndarray]:
    """100,000 users with 100 seen items on average and one target, 50,000 items, 64 dimensions."""
    from recsys.core.ragged import Ragged

    generator = np.random.default_rng(0)
    n_users, n_items, dim = 100_000, 50_000, 64
    items = generator.normal(size=(n_items, dim)).astype(np.float32)
    users = generator.normal(size=(n_users, dim)).astype(np.float32)
    lengths = generator.integers(50, 151, n_users)
    owners = np.repeat(np.arange(n_users), lengths)
    keys = np.unique(owners * n_items + (n_items * generator.random(len(owners)) ** 2).astype(np.int64))
    seen = Ragged.from_lengths(np.bincount(keys // n_items, minlength=n_users), (keys % n_items).astype(np.int32))
    targets = generator.integers(0, n_items, n_users)
    targets = np.where(np.isin(np.arange(n_users) * n_items + targets, keys), (targets + 1) % n_items, targets)
    held = Ragged.from_lengths(np.ones(n_users, dtype=np.int64), targets.astype(np.int32))
    return case(users, items, seen, held, seen)


def case(users: Any, items: Any, seen: Any, targets: Any, train: Any) -> dict[str, np.ndarray]:
    """What every contestant reads."""
    return {
        "users": np.ascontiguousarray(users, dtype=np.float32),
        "items": np.ascontiguousarray(items, dtype=np.float32),
        "seen_offsets": seen.offsets,
        "seen_rows": seen.rows,
        "target_offsets": targets.offsets,
        "target_rows": targets.rows,
        "train_offsets": train.offsets,
        "train_rows": train.rows,
    }


def worker(which: str, file: Path) -> dict[str, Any]:
    """Evaluate one case with our library, or do only the bare product and top-k."""
    import torch

    arrays = dict(np.load(file))
    if which == "bare":
        users, items = torch.from_numpy(arrays["users"]), torch.from_numpy(arrays["items"])
        block = 64 * 2**20 // (4 * len(items))
        begun, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(users), block):
            torch.topk(users[start : start + block] @ items.T, CUTS[-1], dim=1)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        return {"rank s": seconds, "s": seconds, "cpu s": cpu, "peak MB": peak(), "metrics": {}}

    import polars as pl

    from recsys.core.id_map import IdMap
    from recsys.core.ragged import Ragged
    from recsys.data.interactions import Interactions
    from recsys.data.split import Holdout
    from recsys.evaluation.evaluate import evaluate
    from recsys.evaluation.protocol import Traits
    from recsys.models.towers import rank_vectors

    names = (
        IdMap(pl.Series(np.arange(len(arrays["users"]))), "user"),
        IdMap(pl.Series(np.arange(len(arrays["items"]))), "item"),
    )
    histories = Ragged(arrays["seen_offsets"], arrays["seen_rows"])
    targets = Ragged(arrays["target_offsets"], arrays["target_rows"])
    holdout = Holdout(*names, np.arange(len(histories), dtype=np.int32), histories, targets, "benchmark")
    clock = {"rank": 0.0}

    class Vectors:
        """Ranks by given vectors."""

        name = "vectors"
        users, items = names
        traits = Traits(
            Interactions(*names, Ragged(arrays["train_offsets"], arrays["train_rows"])) if which == "beyond" else None
        )

        def recommend_rows(
            self, histories: Ragged, k: int, *, exclude: Any = None, users: Any = None, eligible: Any = None, **_: Any
        ):
            begun = time.perf_counter()
            queries = torch.from_numpy(arrays["users"][users])
            ranked = rank_vectors(queries, torch.from_numpy(arrays["items"]), k, exclude, eligible)
            clock["rank"] += time.perf_counter() - begun
            return ranked

    begun, cpu = time.perf_counter(), time.process_time()
    report = evaluate(Vectors(), holdout, CUTS)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"rank s": clock["rank"], "s": seconds, "cpu s": cpu, "peak MB": peak(), "metrics": report.means}


def peak() -> float:
    """This process's largest resident size, in MB (getrusage's would include the process that started it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
