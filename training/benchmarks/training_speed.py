"""Training speed against RecTools' SASRec, and against sentence-transformers' own trainer on texts, in one run.

    python training/benchmarks/training_speed.py path/to/amazon-beauty path/to/ml-1m --rectools path/to/venv/bin/python \
        --mnrl path/to/venv/bin/python --quality --out training/results

Each contestant trains in a process of its own, one after the other, with the same number of threads. RecTools needs an
environment of its own (see ``training_speed_rectools.py``); the trainer of sentence-transformers needs its extra ``train``
beside it (see ``training_speed_mnrl.py``). ``--quick`` takes some hundred users and few steps, to see that all runs.
``--only`` makes one of the two parts; the other keeps what an earlier run recorded in OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cells import RECIPES
from contestants import child, head, load, peak, row, sample
from training_speed_text import against_mnrl, text_page

HERE = Path(__file__)
AFTER = (1, 3, 5)
SHARE = 0.95


@dataclass(frozen=True)
class Shape:
    """The shape of the user tower, the same for both sides, and for how many epochs at most."""

    length: int
    dim: int
    blocks: int
    heads: int
    epochs: int | None = None

    def __str__(self) -> str:
        return f"length {self.length}, dim {self.dim} × {self.blocks}, {self.heads} heads"


SHAPES = {"amazon-beauty": (Shape(50, 128, 1, 2), Shape(50, 128, 2, 2, epochs=1)), "ml-1m": (Shape(200, 64, 2, 2),)}
PEER = "RecTools SASRec, full softmax"
OURS = {
    "ours, ids alone, full softmax": {"ids": True, "loss": "softmax"},
    "ours, ids alone, sampled softmax": {"ids": True, "loss": "sampled"},
    "ours, recipe, sampled softmax": {"ids": False, "loss": "sampled"},
}


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help=f"folders of data sets: {', '.join(SHAPES)}")
    parser.add_argument("--rectools", help="python of an environment that has RecTools")
    parser.add_argument("--mnrl", default=sys.executable, help="python of one that has sentence-transformers[train]")
    parser.add_argument("--out", type=Path, help="folder of the results; default: print alone")
    parser.add_argument("--only", choices=["rectools", "text"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=max(AFTER), help="of each contestant against RecTools")
    parser.add_argument("--steps", type=int, default=12, help="timed steps of a tuned encoder; MNRL gets twice as many")
    parser.add_argument("--quality", action="store_true", help="judge tuned encoders after equal wall time too")
    parser.add_argument("--seconds", type=float, default=120.0, help="that wall time")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if strange := {path.resolve().name for path in arguments.data} - set(SHAPES):
        parser.error(f"no shapes are known for {', '.join(strange)}; there are some for {', '.join(SHAPES)}")
    if arguments.rectools is None and arguments.only != "text":
        parser.error("say where RecTools is: --rectools path/to/python, or leave it out: --only text")
    if arguments.quick:
        arguments.epochs, arguments.steps, arguments.seconds = 2, 2, 10.0
    record = arguments.out / "training-speed.json" if arguments.out else None
    found: dict[str, Any] = json.loads(record.read_text()) if record and record.is_file() else {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ |= {
            "RECSYS_CACHE": f"{temporary}/cache",  # so that encoding is seen to cost what it costs
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(arguments.threads),
            "MKL_NUM_THREADS": str(arguments.threads),
        }
        folders = {path.resolve().name: path.resolve() for path in arguments.data}
        if arguments.quick:
            folders = {name: sample(path, Path(temporary) / name) for name, path in folders.items()}
        for part, make in (("rectools", against_rectools), ("text", against_mnrl)):
            if arguments.only in (None, part):
                found[part] = facts(arguments) | make(arguments, folders, Path(temporary))
                if record:
                    record.write_text(json.dumps(found, indent=1) + "\n")
    text = "\n".join(page(found)) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "training-speed.md").write_text(text)


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Command, machine and date."""
    import torch

    flags = "".join(f" --{flag}" for flag in ("quality", "quick") if getattr(arguments, flag))
    flags += f" --only {arguments.only}" if arguments.only else ""
    return {
        "command": f"python training/benchmarks/training_speed.py {' '.join(f'PATH/{p.name}' for p in arguments.data)} "
        f"--rectools …/bin/python --mnrl …/bin/python --threads {arguments.threads} --epochs {arguments.epochs} "
        f"--steps {arguments.steps} --seconds {arguments.seconds:g}{flags} --out training/results",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, threads: {arguments.threads}, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def against_rectools(arguments: argparse.Namespace, folders: dict[str, Path], temporary: Path) -> dict[str, Any]:
    """Every contestant on every data set and shape."""
    import recsys

    cases = []
    for name, folder in folders.items():
        dropout = recsys.Recipe.read(RECIPES / f"{name}.toml").model.dropout
        for shape in SHAPES[name]:
            epochs = min(arguments.epochs, shape.epochs or arguments.epochs)
            options = asdict(shape) | {"data": str(folder), "epochs": epochs, "threads": arguments.threads}
            title = f"{name}, {shape}, dropout {dropout}"
            script = HERE.with_name("training_speed_rectools.py")
            runs = {PEER: child(arguments.rectools, script, options | {"dropout": dropout}, f"{title}: {PEER}")}
            for contestant, change in OURS.items():
                runs[contestant] = child(sys.executable, HERE, options | change, f"{title}: {contestant}")
            cases.append({"title": title, "runs": runs})
    return {"cases": cases}


def ours(options: dict[str, Any]) -> dict[str, Any]:
    """Train one member of the data set's recipe in another shape, judging each epoch."""
    import torch

    import recsys
    from recsys.training.windows import WindowBatches

    torch.set_num_threads(options["threads"])
    split, catalog = load(options["data"])
    shape = {"max_length": options["length"], "ensemble_size": 1} | {
        name: options[name] for name in ("dim", "blocks", "heads")
    }
    nothing = {"encoder": None, "word_features": "off", "categories": [], "numbers": []} if options["ids"] else {}
    nothing |= {"use_ids": True}
    recipe = recsys.Recipe.read(
        RECIPES / f"{Path(options['data']).name}.toml",
        model=shape | nothing,
        objective={"loss": options["loss"]},
        training={"epochs": options["epochs"], "validate_every": 1, "validate_users": 0, "patience": 0, "device": "cpu"},
    )
    begun, spent, training = time.perf_counter(), [], recipe.training
    model = recipe.fit(split.train, catalog, validation=split.validation, on_epoch=spent.append)
    total = time.perf_counter() - begun
    batches = list(WindowBatches(split.train, options["length"], training.batch_tokens, training.seed).epoch(0))
    wanted = {"epoch": "epoch", "seconds": "seconds", "cpu_seconds": "cpu_seconds", "val_ndcg@10": "ndcg@10"}
    return {
        "epochs": [{short: one[name] for name, short in wanted.items()} for one in spent],
        "seconds": total,
        "setup": total - sum(one["seconds"] + one["validation_seconds"] for one in spent),
        "targets": sum(len(batch.targets) for batch in batches),
        "positions": sum(batch.inputs.numel() for batch in batches),
        "steps": len(batches),
        "batch": f"{training.batch_tokens:,} positions",
        "rate": training.learning_rate,
        "parameters": sum(p.numel() for p in model.towers.net.parameters() if p.requires_grad),
        "threads": torch.get_num_threads(),
        "peak MB": peak(),
    }


NOTES = f"""Same data, split (leave-last-out), length, width, depth, heads, dropout and threads; all else is each side's
own: RecTools' defaults (batch, rate, float32), our recipe (its rate falls along a cosine within these epochs; the softmax's
products in bfloat16 where the processor has it). s / epoch: mean over all epochs but the first, without validation.
RecTools trains the last length + 1 events of each user, padded to the full length; ours every event, in windows grouped by
length. `ids alone` is like for like: vectors of the items' ids are all that is learned of items. `recipe`, one member of
it, reads their texts too (encoded once: set-up s, where not yet remembered on disk). `sampled` contrasts with drawn items
and the batch's own in place of all. NDCG@10: validation, all items ranked, seen ones filtered. Level:
{SHARE:.0%} of the peer's best NDCG@10
here; `own`: {SHARE:.0%} of one's own best. `×`: how many times better than RecTools the figure before it is."""


def rectools_page(found: dict[str, Any]) -> list[str]:
    """Tables of the first part."""
    lines = ["## Against RecTools 0.19, SASRec", "", NOTES]
    for case in found["cases"]:
        peer = case["runs"][PEER]
        last, level = len(peer["epochs"]), SHARE * best(peer)
        shown = [n for n in dict.fromkeys((*AFTER, last)) if n <= last]
        heads = [
            "contestant", "s / epoch", "×", "CPU s / epoch", "×", "targets", "targets / s", "×", "padding", "steps",
            "batch", "rate", *(f"NDCG@10 after {n}" for n in shown), f"s to level {level:.4f}", "×", "s to own", "set-up s",
            "peak MB",
        ]  # fmt: skip
        lines += ["", f"### {case['title']}", *head(heads)]
        for contestant, run in case["runs"].items():
            seconds, cpu, each = costs(run)
            times = [
                "" if run is peer else f"{theirs / own:.1f}" for theirs, own in zip(costs(peer), costs(run), strict=True)
            ]
            there, theirs = reached(run, level), reached(peer, level)
            ratio = f"{theirs / there:.1f}" if there and theirs and run is not peer else ""
            cells = [
                contestant, f"{seconds:,.1f}", times[0], f"{cpu:,.1f}", times[1], f"{run['targets']:,}", f"{1 / each:,.0f}",
                times[2], f"{1 - run['targets'] / run['positions']:.0%}", f"{run['steps']:,}", run["batch"],
                f"{run['rate']:g}", *(f"{run['epochs'][n - 1]['ndcg@10']:.4f}" for n in shown),
                f"{there:,.1f}" if there else "not reached", ratio, f"{reached(run, SHARE * best(run)):,.1f}",
                f"{run['setup']:,.1f}" if "setup" in run else "", f"{run['peak MB']:,.0f}",
            ]  # fmt: skip
            lines.append(row(cells))
    return lines


def costs(run: dict[str, Any]) -> tuple[float, float, float]:
    """Mean seconds and CPU seconds of an epoch, the first aside, and seconds per target."""
    rows = run["epochs"][1:] or run["epochs"]
    seconds, cpu = (sum(one[name] for one in rows) / len(rows) for name in ("seconds", "cpu_seconds"))
    return seconds, cpu, seconds / run["targets"]


def best(run: dict[str, Any]) -> float:
    """The highest validation NDCG@10."""
    return max(float(one["ndcg@10"]) for one in run["epochs"])


def reached(run: dict[str, Any], level: float) -> float | None:
    """Seconds of training after which validation NDCG@10 was first seen at a level; None: never."""
    spent = 0.0
    for one in run["epochs"]:
        spent += one["seconds"]
        if one["ndcg@10"] >= level:
            return spent
    return None


def page(found: dict[str, Any]) -> list[str]:
    """All that was recorded."""
    lines = ["# Training speed", ""]
    for part, make in (("rectools", rectools_page), ("text", text_page)):
        if part in found:
            own = found[part]
            lines += [*make(own), "", f"Command: `{own['command']}`  ", f"Machine: {own['machine']}, {own['date']}", ""]
    return lines


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):  # started by ``child``
        print(json.dumps(ours(json.loads(sys.argv[1]))))
    else:
        main()
