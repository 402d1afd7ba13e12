"""What one more event costs: one position behind kept keys and values, beside the whole history again.

python training/benchmarks/incremental.py --out training/results
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from recsys.compression import onnx_files
from recsys.compression.graphs import StepGraph, UserGraph
from recsys.core.opened import Source
from recsys.models.networks.content import ItemContent
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower
from recsys.serving.runtime.graphs import Graph

SHAPES = ((1, 64, 1, 100), (3, 64, 2, 200), (1, 256, 2, 200))
"""Members, dimensions, blocks, events."""
_ITEMS, _TIMES = 2000, 60


def milliseconds(call: Callable[[], object]) -> float:
    """Median CPU milliseconds of a call."""
    taken = []
    for _ in range(_TIMES):
        start = time.process_time()
        call()
        taken.append(1000 * (time.process_time() - start))
    return float(np.median(taken))


def row(members: int, dim: int, blocks: int, length: int, folder: Path) -> str:
    torch.manual_seed(0)
    towers = [UserTower(dim, blocks, 2, length, 0.0) for _ in range(members)]
    items = ItemTower(_ITEMS, dim * members, ItemContent(), torch.ones(_ITEMS, dtype=torch.bool), ensemble_size=members)
    net = TwoTowerNetwork(items, towers[0] if members == 1 else UserEnsemble(towers)).eval()
    with torch.inference_mode():
        table = net.items()
    whole, step = UserGraph(net).eval(), StepGraph(net).eval()
    sizes = {"rows": {0: "users", 1: "events"}, "lengths": {0: "users"}, "table": {0: "items"}, "vector": {0: "users"}}
    onnx_files.write(whole, folder / "whole.onnx", ["vector"], [whole.example(table, [length])], sizes, "tower")
    sizes = {"items": {0: "read"}, "past": {2: "before"}, "known": {2: "all"}}
    begin, one = step.example(table.shape[1], 0, length), step.example(table.shape[1], length - 1, 1)
    onnx_files.write(step, folder / "step.onnx", ["vector", "known"], [begin, one], sizes, "step")
    source = Source.of(folder)
    graphs = {name: Graph(source, f"{name}.onnx", onnx_files.OPSET, 1) for name in ("whole", "step")}
    given = {"whole": whole.example(table, [length]), "step": one}
    ready = {
        name: dict(zip(module.inputs, (x.numpy() for x in given[name]), strict=True))
        for name, module in (("whole", whole), ("step", step))
    }
    with torch.inference_mode():
        times = {
            "torch whole": milliseconds(lambda: whole(*given["whole"])),
            "torch step": milliseconds(lambda: step(*given["step"])),
            "onnx whole": milliseconds(lambda: graphs["whole"](ready["whole"])),
            "onnx step": milliseconds(lambda: graphs["step"](ready["step"])),
        }
    kept, gain = 4 * np.prod(step.past_shape) * length / 2**10, times["onnx whole"] / times["onnx step"]
    return (
        f"| {members} x {dim}, {blocks} blocks, {length} events | {times['torch whole']:.2f} | {times['torch step']:.2f} "
        f"| {times['onnx whole']:.2f} | {times['onnx step']:.2f} | {gain:.1f} | {kept:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    rows = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(*shape, Path(folder)))
    lines = [
        "# One more event",
        "",
        "A user vector after one more event: the whole history again, or one position behind kept keys and values; median "
        f"CPU milliseconds of {_TIMES}, one thread, the tower alone. Both give the same vector but for rounding "
        "(tests/compression/test_session.py).",
        "",
        "| tower | PyTorch, whole | one position | ONNX, whole | one position | ONNX, times | kept KiB a person |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        'A tower with `time_bias="request"` computes two positions: the event before the newest is asked at another time '
        "then. A history longer than `max_length` is computed whole at each event, save for towers of one block without "
        "learned positions and filter: elsewhere each event moves all that are read.",
        "",
        "    python training/benchmarks/incremental.py --out training/results",
        "",
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "incremental.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
