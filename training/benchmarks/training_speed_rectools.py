"""The peer's side of ``training_speed.py``: RecTools' SASRec with full softmax, timed epoch by epoch.

Runs in an environment of its own: ``pip install rectools[torch]==0.19.0 polars``, without recsys. Its only argument is a
JSON object, see ``main``; the last line that it prints is one too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from quality_rectools import Log, judge
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Clock(Callback):
    """Seconds, CPU seconds and validation figures of each epoch; judging is not timed."""

    def __init__(self, events: Log, length: int) -> None:
        self.events, self.length = events, length
        self.model: Any = None
        self.epochs: list[dict[str, float]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Clock:
        return self  # RecTools copies the trainer and its callbacks

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        seconds, cpu = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]
        known = self.model.data_preparator.get_known_item_ids().astype(np.int64)
        codes = np.zeros(self.events.items, dtype=np.int64)  # RecTools' own number of each item; 0: not in training
        codes[known] = self.model.data_preparator.get_known_items_sorted_internal_ids()
        found = judge(module.torch_model, self.events, 1, codes, self.length)
        row = {"epoch": len(self.epochs) + 1, "seconds": seconds, "cpu_seconds": cpu, "ndcg@10": found["ndcg@10"]}
        self.epochs.append(row)
        print(f"RecTools {row}", file=sys.stderr, flush=True)


def main() -> None:
    options = argparse.Namespace(**json.loads(sys.argv[1]))
    torch.set_num_threads(options.threads)
    seed_everything(0, verbose=False)
    log = Log(Path(options.data))
    clock = Clock(log, options.length)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=options.epochs, enable_progress_bar=False, enable_model_summary=False, logger=False,
            enable_checkpointing=False, accelerator="cpu", devices=1, callbacks=[clock],
        )  # fmt: skip

    clock.model = model = SASRecModel(
        n_blocks=options.blocks, n_heads=options.heads, n_factors=options.dim, session_max_len=options.length,
        dropout_rate=options.dropout, loss="softmax", get_trainer_func=trainer,
    )  # fmt: skip
    begun = time.perf_counter()
    model.fit(Dataset.construct(log.frame(log.place > 1)))
    total = time.perf_counter() - begun
    read = model.data_preparator.train_dataset.interactions.df
    sessions = read["user_id"].nunique()
    result = {
        "epochs": clock.epochs,
        "seconds": total,
        "targets": len(read) - sessions,
        "positions": sessions * options.length,
        "steps": -(-sessions // model.batch_size),
        "batch": f"{model.batch_size} sessions",
        "rate": model.lr,
        "parameters": sum(p.numel() for p in model.torch_model.parameters()),
        "threads": torch.get_num_threads(),
        "peak MB": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
