"""Seconds per item that is added to a retriever, one at a time: ``python training/benchmarks/add_items.py``.

``--against CHECKOUT`` measures another checkout of the package too, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = (10_000, 200_000, 1_000_000)
DIM = 64


def measure(n_items: int, additions: int) -> float:
    """Median seconds of one ``add_items`` of one row, in a catalogue of this size."""
    import numpy as np
    import polars as pl

    import recsys

    rng = np.random.default_rng(0)
    fitted, n_events = 2000, 5000  # a small fit; the other items are added at once
    log = recsys.Interactions.from_frame(
        pl.DataFrame(
            {
                "user_id": rng.integers(0, 2000, n_events),
                "item_id": rng.integers(0, fitted, n_events),
                "timestamp": np.arange(n_events),
            }
        )
    )
    words = np.array([f"word{n}" for n in range(500)])
    texts = [" ".join(row) for row in words[rng.integers(0, 500, (n_items, 4))]]
    items = pl.DataFrame({"item_id": np.arange(n_items), "title": texts, "price": rng.random(n_items)})
    catalog = recsys.Catalog.from_frame(items[:fitted], text=["title"])
    named = hasattr(recsys, "ModelConfig")  # an older checkout calls the option by another name
    words_on: dict[str, Any] = {"word_features": "on"} if named else {"words": True}
    model = recsys.TwoTower(dim=DIM, blocks=1, heads=2, max_length=8, encoder=None, **words_on)
    training = recsys.Training(epochs=1, device="cpu")
    retriever = model.fit(log, catalog, training=training).retriever()
    retriever.add_items(items[fitted:])
    seconds = []
    for number in range(additions + 3):
        row = pl.DataFrame({"item_id": [n_items + number], "title": ["word1 word2 word3"], "price": [0.5]})
        begun = time.perf_counter()
        retriever.add_items(row)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[3:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout of the package")
    parser.add_argument("--items", type=int, nargs="*", default=SIZES)
    parser.add_argument("--additions", type=int, default=50)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps([measure(size, options.additions) for size in options.items]))
        return
    here = Path(__file__).parents[2]
    columns = {"here": here} | ({"against": options.against.resolve()} if options.against else {})
    found = {}
    for name, folder in columns.items():
        command = [sys.executable, __file__, "--alone", "--additions", str(options.additions), "--items"]
        command += map(str, options.items)
        environment = os.environ | {"PYTHONPATH": str(folder)}
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, text=True).stdout
        found[name] = json.loads(out.splitlines()[-1])
    print("| items | " + " | ".join(f"{name}, ms per item" for name in found) + " |")
    print("|---:|" + "---:|" * len(found))
    for place, size in enumerate(options.items):
        print(f"| {size:,} | " + " | ".join(f"{1000 * found[name][place]:.2f}" for name in found) + " |")


if __name__ == "__main__":
    main()
