"""What ``test_distributed.py`` runs in two processes at once: ``torchrun ... -m tests.training.ring_processes FOLDER``."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out
from recsys.two_tower import TwoTower
from tests.conftest import make_events, make_items

RING = Training(epochs=2, batch_tokens=65, learning_rate=0.01, precision="fp32", device="cpu", patience=0)
"""13 windows of 5 inputs to a batch, so that the fourth batch of an epoch is one window: for one of two processes."""
CASES: dict[str, tuple[Objective, Training]] = {
    "softmax": (Objective(loss="softmax"), replace(RING, ema_decay=0.9)),
    "sampled": (Objective(loss="sampled", negatives=8), RING),
    "weighted": (Objective(loss="softmax", weighted=True), RING),
    "bpr": (Objective(loss="bpr", sampler="in-batch", mask_history=True, weighted=True), RING),
    "mse": (Objective(loss="mse"), RING),
    "softmax, split": (Objective(loss="softmax"), replace(RING, strategy="fsdp", ema_decay=0.9, l1=1e-3)),
    "sampled, split": (Objective(loss="sampled", negatives=8), replace(RING, strategy="fsdp")),
}
RESUMED = {
    strategy: replace(RING, epochs=3, strategy=strategy, ema_decay=0.9, checkpoint_steps=3) for strategy in ("ddp", "fsdp")
}
Figures = list[dict[str, float]]


def world() -> Split:
    """The ring, with weights from 0 to 4."""
    split = leave_last_out(Interactions.from_frame(make_events()))
    weights = np.random.default_rng(3).integers(0, 5, len(split.train)).astype(np.float32)
    return replace(split, train=replace(split.train, weights=weights))


def fit(case: str, devices: int, **options: Any) -> TwoTower:
    """Without dropout, of which each process draws its own."""
    objective, training = CASES[case]
    split, model = world(), TwoTower(encoder=None, dim=16, max_length=8, dropout=0.0)
    training = replace(training, devices=devices)
    return model.fit(split.train, validation=split.validation, training=training, objective=objective, **options)


def resumed(training: Training, folder: Path, encoder: Path) -> tuple[TwoTower, TwoTower]:
    """An unbroken run and one that ended in its second epoch, with all that is random and a trained encoder."""
    split, catalog = world(), Catalog.from_frame(make_items(), text=["title"])

    def run(**options: Any) -> TwoTower:
        model = TwoTower(encoder=str(encoder), encoder_mode="full", texts_per_step=8, dim=16, max_length=8, dropout=0.3)
        both = replace(training, devices=2)
        return model.fit(split.train, catalog, validation=split.validation, training=both, **options)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise InterruptedError

    whole = run()
    with suppress(InterruptedError):
        run(checkpoint=folder, on_epoch=stop)
    return whole, run(checkpoint=folder, resume=True)


def figures(model: TwoTower) -> Figures:
    """The log without times."""
    assert model.log is not None
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in model.log.epochs]


def main(folder: Path) -> None:
    """Fit every case; each process writes what it got, and where it alone is told to, its checkpoints."""
    rank = os.environ["RANK"]
    mine = folder / rank
    mine.mkdir()
    models = {case: fit(case, 2, checkpoint=mine / "checkpoints" / case) for case in CASES}
    for strategy, training in RESUMED.items():
        whole, again = resumed(training, folder / "shared" / strategy, folder / "encoder")
        models |= {f"whole, {strategy}": whole, f"resumed, {strategy}": again}
    for case, model in models.items():
        save_file(model.towers.net.state_dict(), mine / f"{case}.safetensors")
    (mine / "figures.json").write_text(json.dumps({case: figures(model) for case, model in models.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
