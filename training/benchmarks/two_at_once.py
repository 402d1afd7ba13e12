"""Two trainings at once against one alone: how threads wait decides whether they share a machine or stop each other.

    python training/benchmarks/two_at_once.py --out training/results

Three ways of starting the same fit in a process of its own: as before this was seen to (threads wait busily), with what
``import recsys`` sets (threads sleep while they wait), and with torch imported before recsys (the number of threads follows
what is free). All have PyTorch loaded before the clock starts. Each is run alone and twice at once, on a machine that
should do nothing else. A good answer: two at once take at most 2.5 times as long as one alone, and one alone no longer
than before.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

BUSY, ASLEEP, TORCH_FIRST = "threads wait busily (before)", "import recsys", "import torch, then recsys"
BEGINNINGS = {
    BUSY: "import torch, recsys; from recsys.core import waiting; waiting.in_time = True",
    ASLEEP: "import recsys; import torch",
    TORCH_FIRST: "import torch, recsys",
}
_OMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def work(beginning: str, epochs: int) -> None:
    """In a process of its own: wait for a line, fit, tell the seconds."""
    exec(BEGINNINGS[beginning])  # noqa: S102 - one of the lines above
    import recsys
    from recsys.data.synthetic.shop import make_shop

    shop = make_shop(seed=0)
    log = recsys.Interactions.from_frame(shop.events)
    model = recsys.TwoTower(encoder=None, dim=64, max_length=50)
    training = recsys.Training(epochs=epochs, batch_tokens=2048, device="cpu")
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    model.fit(log, training=training)
    print(time.monotonic() - begun, flush=True)


def seconds(beginning: str, epochs: int, at_once: int) -> list[float]:
    """How long each of several processes takes that begin to fit at the same moment."""
    environment = {name: value for name, value in os.environ.items() if name not in _OMP}
    command = [sys.executable, __file__, "--work", beginning, "--epochs", str(epochs)]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, text=True)
        for _ in range(at_once)
    ]
    for worker in workers:
        if (worker.stdout or sys.stdin).readline().strip() != "ready":
            raise SystemExit(f"a worker died while it made ready ({beginning})")
    for worker in workers:
        print(file=worker.stdin, flush=True)
    told = [float(worker.communicate()[0]) for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit(f"a worker failed ({beginning})")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is shown (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(BEGINNINGS), default=list(BEGINNINGS))
    parser.add_argument("--out", type=Path, help="folder for two_at_once.md")
    parser.add_argument("--work", choices=list(BEGINNINGS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.epochs)
        return
    rows, first = [], None
    for beginning in arguments.only:
        alone = statistics.median(seconds(beginning, arguments.epochs, 1)[0] for _ in range(arguments.repeats))
        both = statistics.median(max(seconds(beginning, arguments.epochs, 2)) for _ in range(arguments.repeats))
        first = alone if first is None else first
        rows.append(f"| {beginning} | {alone:.1f} | {both:.1f} | {both / alone:.1f} | {alone / first:.2f} |")
        print(rows[-1], flush=True)
    title = (
        "| how | one alone, s | two at once, s (the slower) | two / one | one alone / first row |\n|---|---|---|---|---|\n"
    )
    machine = f"{os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end"
    table = f"{title}{chr(10).join(rows)}\n\nMade-up shop, {arguments.epochs} epochs, {machine}.\n"
    print(f"\n{table}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "two_at_once.md").write_text(f"# Two trainings at once\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
