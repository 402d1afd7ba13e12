"""The default on a large synthetic log: seconds and peak memory of each stage, in bounded time.

    python training/benchmarks/scale.py --out training/results                # 10 million events, 200 k users, 500 k items
    python training/benchmarks/scale.py --share 0.1 --out training/results    # a tenth of each

The log has popular and rare items, groups of items, and users who stay in a group for a while. Everything runs in this
process, as in ``recsys fit``: ids alone, the sampled softmax that is the default at this size (of a tenth too), the
transition memory that validation chooses.
Of an epoch a part is run (``--seconds``) and the rest is extrapolated from it, which the page says; the forecast that a
training prints is held against that. The memory is chosen beside the vectors of these few steps, so its figure of quality
means nothing and is not shown.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from cells import show_progress
from contestants import head, peak, row

import recsys
from recsys.core.files import atomic_file
from recsys.core.id_map import IdMap
from recsys.core.progress import log as say
from recsys.core.ragged import Ragged
from recsys.evaluation.evaluate import evaluate
from recsys.training.forecast import forecast
from recsys.training.optimizer import make_optimizer
from recsys.training.prepare import prepare
from recsys.training.tower_ranker import TowerRanker
from recsys.training.trainer import make_batches, make_fabric, make_loss
from recsys.training.transitions import chosen_memory
from recsys.transitions.learn import default_form, learn

EVENTS, USERS, ITEMS = 10_000_000, 200_000, 500_000
GROUP = 50
"""Items that are often met together."""


def synthetic(events: int, users: int, items: int, seed: int = 0) -> recsys.Interactions:
    """A log: each user moves from group to group (one event in ten) and takes popular items of a group first."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(3 + rng.pareto(1.5, users) * events / users / 3, 2_000)
    lengths = np.maximum(3, (lengths * events / lengths.sum()).astype(np.int64))
    n, groups = int(lengths.sum()), max(1, items // GROUP)
    moves = rng.random(n) < 0.1
    moves[np.cumsum(lengths) - lengths] = True
    stays = np.diff(np.append(np.flatnonzero(moves), n))
    group = np.repeat(np.minimum((rng.random(len(stays)) ** 2 * groups).astype(np.int64), groups - 1), stays)
    member = np.minimum((rng.random(n) ** 3 * GROUP).astype(np.int64), GROUP - 1)
    rows = np.minimum(group * GROUP + member, items - 1).astype(np.int32)
    ids = (IdMap(pl.Series(np.arange(size)), what) for size, what in ((users, "user"), (items, "item")))
    return recsys.Interactions(*ids, Ragged.from_lengths(lengths, rows))


class Stages:
    """Seconds, CPU seconds and peak memory of named stages."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure the block."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        begun, cpu = time.perf_counter(), time.process_time()
        yield
        seconds, spent = time.perf_counter() - begun, time.process_time() - cpu
        self.rows.append([name, f"{seconds:,.1f}", f"{spent:,.1f}", f"{peak() / 1024:.2f}"])
        say(" | ".join(self.rows[-1]))


def run(share: float, seconds: float, kind: str) -> tuple[list[list[str]], dict[str, Any]]:
    """All stages; rows of the table, and what else is to be said."""
    stages, facts = Stages(), {}
    with stages.of("make the log"):
        log = synthetic(*(round(share * size) for size in (EVENTS, USERS, ITEMS)))
    with stages.of("split, leave-last-out"):
        split = recsys.leave_last_out(log)
    model, training = recsys.ModelConfig(encoder=None), recsys.Training(device="cpu")
    objective = recsys.Objective(loss=recsys.Objective().loss_for(ITEMS))
    with stages.of("towers and windows"):
        inputs = prepare(model, split.train, training=training)
        loss = make_loss(inputs, training, objective, "cpu")
        batches = make_batches(inputs, training, recsys.Augment())
    with stages.of("forecast"):
        expected = forecast(make_fabric(training, "cpu"), loss, batches, copies=4.0)
    with stages.of(f"steps of training, {seconds:.0f} s"):
        steps, positions, spent, cpu = some_steps(loss, batches, training, seconds)
    facts |= {
        "events": len(log),
        "users": len(log.users),
        "items": len(log.items),
        "loss": objective.loss_for(len(log.items)),
        "parameters": expected.parameters,
        "steps": f"{steps:,} of {batches.steps:,}",
        "epoch": spent / steps * batches.steps,
        "epoch_cpu": cpu / steps * batches.steps,
        "forecast": expected.seconds,
        "memory": expected.memory / 2**30,
        "targets": positions / spent,
    }
    inputs.towers.net.eval()
    towers = replace(inputs.towers, device="cpu")
    with stages.of("item vectors"):
        towers.vectors  # noqa: B018 - made at first use
    with stages.of("validation, 10,000 users"):
        evaluate(TowerRanker(towers), split.validation.sample(10_000), 10)
    with stages.of(f"transition memory chosen ({kind})"):
        found = chosen_memory(
            towers, split.train, split.validation, replace(model, transitions=kind), keep_seen=False  # type: ignore[arg-type]
        )  # fmt: skip
    facts["chosen"] = "none, the towers alone" if found is None else f"{found.form.kind}, {found.table.nnz:,} entries"
    for each in ("counts", "ridge"):
        with stages.of(f"one {each} table of all events"):
            learn(split.train.histories.without_events(), len(log.items), default_form(each))  # type: ignore[arg-type]
    return stages.rows, facts


def some_steps(loss: Any, batches: Any, training: Any, seconds: float) -> tuple[int, int, float, float]:
    """Steps of the first epoch, the first two aside: their number, positions, seconds and CPU seconds."""
    optimizer, steps, positions = make_optimizer(loss, training), 0, 0
    begun, cpu = time.perf_counter(), time.process_time()
    for number, batch in enumerate(batches.epoch(0)):
        if number == 2:
            steps, positions, begun, cpu = 0, 0, time.perf_counter(), time.process_time()
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        steps, positions = steps + 1, positions + len(batch.targets)
        if number > 2 and time.perf_counter() - begun > seconds:
            break
    return steps, positions, time.perf_counter() - begun, time.process_time() - cpu


def page(rows: list[list[str]], facts: dict[str, Any], command: str) -> str:
    """The page."""
    return "\n".join(
        [
            "# Scale: the default on a large synthetic log",
            "",
            f"{facts['events']:,} events, {facts['users']:,} users, {facts['items']:,} items; ids alone, loss "
            f"{facts['loss']}, {facts['parameters']:,} trained parameters. Peak: the process's largest resident size "
            "within the stage, GiB, with the log in memory.",
            *head(["stage", "seconds", "CPU s", "peak GiB"]),
            *(row(one) for one in rows),
            "",
            f"Training: {facts['steps']} steps were run, {facts['targets']:,.0f} targets a second. **Extrapolated** from "
            f"them, an epoch takes {facts['epoch'] / 60:,.1f} minutes ({facts['epoch_cpu'] / 60:,.1f} of CPU); "
            "the forecast that training prints says "
            f"{facts['forecast'] / 60:,.1f} minutes and {facts['memory']:.2f} GiB. No whole epoch was run, and nothing "
            "here says how good the model is.",
            "",
            f"Transition memory chosen: {facts['chosen']}.",
            "",
            f"Command: `{command}`  ",
            f"Machine: {torch.get_num_threads()} threads, {os.cpu_count()} cores that other work shares, "
            f"{platform.machine()}, torch {torch.__version__}, {datetime.now(UTC).date().isoformat()}",
            "",
        ]
    )


def main() -> None:
    """Run the stages and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of events, users and items")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training steps")
    parser.add_argument("--kind", choices=["auto", "counts", "ridge"], default="auto", help="of transition memory to try")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    show_progress()
    rows, facts = run(arguments.share, arguments.seconds, arguments.kind)
    share = f" --share {arguments.share:g}" if arguments.share != 1 else ""
    command = f"python training/benchmarks/scale.py{share} --seconds {arguments.seconds:g} --kind {arguments.kind}"
    text = page(rows, facts, f"{command} --out training/results")
    print(text)
    if arguments.out:
        with atomic_file(arguments.out / "scale.md") as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
