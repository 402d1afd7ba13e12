"""The peer's cell of the quality table: RecTools' SASRec with full softmax, given so many CPU seconds.

    python training/benchmarks/quality_rectools.py path/to/amazon-beauty --out training/results --cpu-seconds 600

Runs in an environment of its own: ``pip install rectools[torch]==0.19.0 polars``, without recsys. Split, seen filter and
metrics are those of ``quality.py`` (one target a user, so that recall@k is the hit rate); the epoch is picked by validation
NDCG@10. The CPU seconds are those of training epochs alone; scoring is free.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")
for quiet in ("lightning", "pytorch_lightning"):
    logging.getLogger(quiet).setLevel(logging.ERROR)


CUTS = (10, 50, 100)


class Log:
    """Events as dense rows, user by user in order; ``place`` counts from each user's end (0: the last)."""

    def __init__(self, folder: Path, ties: str) -> None:
        frame = pl.read_parquet(folder / "interactions.parquet").with_row_index("row")
        order = "seq" if "seq" in frame.columns and ties == "file" else "timestamp"
        among = [pl.col("item_id").cast(pl.String)] if ties == "item" else []
        self.rows = frame.height
        frame = frame.drop_nulls(order).sort("user_id", order, *among, "row")
        self.user = (frame["user_id"].rank("dense") - 1).to_numpy().astype(np.int64)
        self.item = (frame["item_id"].rank("dense") - 1).to_numpy().astype(np.int64)
        self.users, self.items = int(self.user.max()) + 1, int(self.item.max()) + 1
        ends = np.cumsum(np.bincount(self.user))
        self.place = np.repeat(ends, np.bincount(self.user)) - 1 - np.arange(len(self.user))

    def frame(self, keep: np.ndarray) -> pd.DataFrame:
        when = pd.to_datetime(np.arange(len(self.user))[keep], unit="s")
        return pd.DataFrame(
            {Columns.User: self.user[keep], Columns.Item: self.item[keep], Columns.Weight: 1.0, Columns.Datetime: when}
        )


def judge(net: Any, log: Log, last: int, codes: np.ndarray, length: int) -> dict[str, float]:
    """Rank all items for every user from the events before place ``last``, whose event is the target."""
    net.eval()
    read = log.place > last
    starts = np.searchsorted(log.user[read], np.arange(log.users))
    ends = np.searchsorted(log.user[read], np.arange(log.users), side="right")
    items, target = log.item[read], log.item[log.place == last]
    known = np.flatnonzero(codes > 0)
    ranks = np.empty(log.users, dtype=np.int64)
    with torch.no_grad():
        table = net.item_model.get_all_embeddings()
        for begin in range(0, log.users, 256):
            block = range(begin, min(begin + 256, log.users))
            inputs = np.zeros((len(block), length), dtype=np.int64)
            for i, u in enumerate(block):
                history = codes[items[max(starts[u], ends[u] - length) : ends[u]]]
                history = history[history > 0]
                inputs[i, length - len(history) :] = history
            hidden = net.encode_sessions({"x": torch.from_numpy(inputs)}, table)[:, -1, :]
            scores = np.full((len(block), log.items), -np.inf, dtype=np.float32)
            scores[:, known] = (hidden @ table.T).numpy()[:, codes[known]]
            for i, u in enumerate(block):
                scores[i, items[starts[u] : ends[u]]] = -np.inf
            own = scores[np.arange(len(block)), target[begin : begin + len(block)]]
            better = (scores > own[:, None]).sum(1)
            ranks[begin : begin + len(block)] = np.where(np.isfinite(own), better + 1, log.items + 1)
    net.train()
    found = {f"recall@{k}": float((ranks <= k).mean()) for k in CUTS}
    return found | {f"ndcg@{k}": float(np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0).mean()) for k in CUTS}


class Watch(Callback):
    """Judges after every few epochs, and stops when the CPU seconds are spent."""

    def __init__(self, options: argparse.Namespace, log: Log, shared: dict[str, Any]) -> None:
        self.options, self.events, self.shared = options, log, shared
        shared |= {"cpu": 0.0, "seconds": 0.0, "epochs": 0, "curve": [], "best": None}

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        shared = self.shared
        shared["seconds"] += time.perf_counter() - self.begun[0]
        shared["cpu"] += time.process_time() - self.begun[1]
        shared["epochs"] += 1
        over = shared["cpu"] >= self.options.cpu_seconds or shared["epochs"] >= self.options.epochs
        if shared["epochs"] % self.options.every and not over:
            return
        codes = self.codes()
        found = judge(module.torch_model, self.events, 1, codes, self.options.length)
        shared["curve"].append(
            {
                "epoch": shared["epochs"],
                "cpu_seconds": shared["cpu"],
                "seconds": shared["seconds"],
                "ndcg@10": found["ndcg@10"],
            }
        )
        print(f"epoch {shared['epochs']} {shared['cpu']:.0f} CPU s, validation {found}", flush=True)
        if shared["best"] is None or found["ndcg@10"] > shared["best"][0]["ndcg@10"]:
            test = judge(module.torch_model, self.events, 0, codes, self.options.length)
            shared["best"] = (found, test, shared["epochs"])
        if over:
            trainer.should_stop = True

    def codes(self) -> np.ndarray:
        """RecTools' own number of each of our items; 0: not in training."""
        model = self.shared["model"]
        codes = np.zeros(self.events.items, dtype=np.int64)
        for code, item in enumerate(model.data_preparator.item_id_map.get_external_sorted_by_internal()):
            if not isinstance(item, str):
                codes[int(item)] = code
        return codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="folder of the results; default: print alone")
    parser.add_argument("--ties", choices=("file", "item"), default="file", help="order of events of one user at one time")
    parser.add_argument("--cpu-seconds", type=float, default=600.0)
    parser.add_argument("--epochs", type=int, default=10**6)
    parser.add_argument("--every", type=int, default=2, help="epochs between two judgements")
    parser.add_argument("--factors", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.2)
    options = parser.parse_args()
    seed_everything(0)
    log = Log(options.data, options.ties)
    shared: dict[str, Any] = {}
    watch = Watch(options, log, shared)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=options.epochs, enable_progress_bar=False, enable_model_summary=False, logger=False,
            enable_checkpointing=False, accelerator="cpu", devices=1, callbacks=[watch],
        )  # fmt: skip

    watch.__class__.__deepcopy__ = lambda self, memo: self  # RecTools copies the trainer and its callbacks
    shared["dataset"] = Dataset.construct(log.frame(log.place > 1))
    shared["model"] = SASRecModel(
        n_blocks=options.blocks, n_heads=options.heads, n_factors=options.factors, session_max_len=options.length,
        dropout_rate=options.dropout, loss="softmax", lr=options.rate, batch_size=options.batch, get_trainer_func=trainer,
    )  # fmt: skip
    shared["model"].fit(shared["dataset"])
    validation, test, epoch = shared["best"]
    name = options.data.resolve().name + ("-ties-item" if options.ties == "item" else "")
    found = {
        "cell": "RecTools SASRec", "seed": 0, "date": datetime.now(UTC).date().isoformat(),
        "interactions": len(log.user), "without_order": log.rows - len(log.user), "users": log.users, "items": log.items,
        "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}",
        "test": test, "validation": validation, "cpu_seconds": shared["cpu"], "seconds": shared["seconds"],
        "best_epoch": epoch, "epochs": shared["epochs"], "curve": shared["curve"],
        "options": {key: str(value) for key, value in vars(options).items() if key not in ("data", "out")},
    }  # fmt: skip
    print(json.dumps({key: found[key] for key in ("test", "cpu_seconds", "seconds", "best_epoch", "epochs")}))
    if options.out:
        file = options.out / "cells" / name / "rectools-sasrec-0.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
