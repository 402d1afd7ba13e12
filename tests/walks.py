"""Three walks along the data, counted: how often the work goes back to a module that it had left.

    python tests/walks.py [CHECKOUT] [-v]

A: from a log file to batches; B: from a saved bundle and a request to a frame; C: from ``recsys fit`` to a saved bundle.
Each walk is a run of the real thing on a small log, in which every call of a function of the package is noted. A *stay* is
a run of calls in one module; a *return* is a stay in a module that was left before. Modules that every other one uses
(``GROUND``) and the parsing of words (``PARSING``) are left out, and so are training steps after the first ones: ``C``
counts the first 200 stays. Under each count stands the same by top-level folders. The script counts an older checkout too,
named as CHECKOUT; ``-v`` prints the stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

GROUND = {
    "errors", "arguments", "progress", "schema", "waiting", "threads", "processes", "files", "exchange", "leftovers",
    "destination", "opened", "text_table", "tables", "device", "version", "id_map", "distinct", "vocabulary", "ragged",
    "row_lists", "ranking", "recommender", "options",
}  # fmt: skip
"""What every other module uses (``core`` and the reading of options), by its names of before and after."""
PARSING = {"parser", "cli", "words", "command_words", "screen", "text_flags", "given_ids", "interrupted", "__init__"}
"""Of the command line, all but the commands."""
LEFT_OUT = GROUND | PARSING
MOST = 200

_RUN = r"""
import importlib, json, logging, sys, threading
from pathlib import Path
import recsys
logging.disable(logging.CRITICAL)
folder, walk, left_out = Path(sys.argv[1]), sys.argv[2], set(json.loads(sys.argv[3]))
root = str(Path(recsys.__file__).parent)
stays = []

def note(frame, event, _):
    function = frame.f_code.co_flags & 1 and not frame.f_code.co_name.startswith("<")  # no body of a module or class
    if event == "call" and function and (file := frame.f_code.co_filename).startswith(root):
        module = file[len(root) + 1 : -3]
        ground = module.rpartition("/")[2] in left_out and module not in ("data/tables", "serving/ranking")
        if not ground and not (stays and stays[-1] == module):
            stays.append(module)

def first_of(*names):
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            pass
    raise SystemExit(f"none of {names} is there")

def cli(*words):
    return first_of("recsys.cli.parser", "recsys.cli").main(list(words))

log, items, run = (str(folder / name) for name in ("log.csv", "items.csv", "run"))
small = ["--dim", "8", "--heads", "1", "--blocks", "1", "--epochs", "1", "--encoder", "none", "--device", "cpu"]
if walk == "A":
    windows = first_of("recsys.training.windows", "recsys.training.batches").WindowBatches
    sys.setprofile(note)
    split = recsys.leave_last_out(recsys.read_interactions(log))
    for _ in windows(split.train, length=8, tokens=64, seed=0).epoch(0):
        break
    sys.setprofile(None)
elif walk == "B":
    recsys.load(run)  # modules are imported before the walk begins
    sys.setprofile(note)
    retriever = recsys.load(run)
    retriever.recommend(["u1", "u2"], k=5, where="price > 2")
    sys.setprofile(None)
else:
    sys.setprofile(note)
    cli("fit", log, "--catalog", items, "--text", "title", "--out", run, *small)
    sys.setprofile(None)
print("\n" + json.dumps(stays))
"""


def walked(checkout: Path, folder: Path, walk: str) -> list[str]:
    """Modules in the order in which a walk stays in them."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(folder), walk, json.dumps(sorted(LEFT_OUT))],
        env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    stays: list[str] = json.loads(done.stdout.splitlines()[-1])
    return stays


def main() -> None:
    """Count the walks of a checkout, by default this one."""
    named = [word for word in sys.argv[1:] if word != "-v"]
    checkout = Path(named[0] if named else Path(__file__).parents[1]).resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        events = [
            f"u{user},i{(user * 7 + step * step) % 30},{1_700_000_000 + 60 * step}"
            for user in range(40)
            for step in range(8)
        ]
        (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(events) + "\n", encoding="utf-8")
        rows = [f"i{item},thing number {item},{item % 9}" for item in range(30)]
        (folder / "items.csv").write_text("item_id,title,price\n" + "\n".join(rows) + "\n", encoding="utf-8")
        for walk in ("C", "A", "B"):  # C makes the bundle that B loads
            stays = walked(checkout, folder, walk)[:MOST]
            rooms = [room for room, _ in groupby(stay.split("/")[0] for stay in stays)]
            for what, found in (("modules", stays), ("folders", rooms)):
                print(f"{walk}: {len(set(found))} {what}, {len(found)} stays, {len(found) - len(set(found))} returns")
            if "-v" in sys.argv:
                print("   " + " → ".join(stays))


if __name__ == "__main__":
    main()
