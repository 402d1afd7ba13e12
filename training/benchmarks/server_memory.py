"""What a server's memory does while bundles are exchanged under load.

    python training/benchmarks/server_memory.py runs/ml-latest-small --swaps 20 --out training/results

The engine of the server in a process of its own, with all that looks at its answers: four threads ask for random users the
whole time, and another thread loads the bundle and a copy of it in turn, and activates it. Printed is what the process
holds of its own (``RssAnon``) and of files that are mapped (``RssFile``); the latter may go whenever the system wants.
``--arenas default`` leaves glibc the number of its pools, of which a server takes two.
"""

from __future__ import annotations

import argparse
import gc
import platform
import shutil
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from recsys.core.memory import few_arenas, give_back


def resident() -> tuple[int, int]:
    """MiB of its own, and of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return kib["RssAnon"] // 1024, kib["RssFile"] // 1024


def measured(run: Path, folder: Path, swaps: int) -> list[tuple[str, int, int]]:
    """Exchanges that were made, and the memory then."""
    from recsys.server.asks import RecommendAsk
    from recsys.server.database import open_database
    from recsys.server.engine import Engine
    from recsys.server.item_changes import ItemChanges
    from recsys.server.live import Live, open_bundle
    from recsys.server.metrics import Metrics
    from recsys.server.quality import Quality
    from recsys.server.store import EventStore
    from recsys.server.watcher import Watch

    other = folder / "other"
    shutil.copytree(run, other)
    database, metrics = open_database(f"sqlite:///{folder}/events.db"), Metrics()
    store, quality, ended = EventStore(database), Quality(metrics), threading.Event()
    engine = Engine(Live(open_bundle(run)), store, ItemChanges(database), watcher=Watch(metrics, quality))
    engine.warm_up()
    users = engine.live.active.model.users.ids.sample(500, with_replacement=True, seed=0).to_list()
    gc.collect()
    gc.freeze()  # as a server does

    def ask(first: int) -> None:
        for number in range(first, 10**9, 7):
            if ended.is_set():
                return
            engine.recommend(RecommendAsk(user=users[number % len(users)])).result()
            time.sleep(0.01)

    def exchange(number: int) -> None:
        engine.activate(engine.load_bundle(str((other, run)[number % 2])).digest)

    clients = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for client in clients:
        client.start()
    time.sleep(3)
    found = [("before", *resident())]
    for number in range(1, swaps + 1):
        thread = threading.Thread(target=exchange, args=(number,))
        thread.start()
        thread.join()
        if number in (1, 2, 5) or number % 10 == 0:
            found.append((f"after {number}", *resident()))
            print(found[-1], flush=True)
    ended.set()
    for client in clients:
        client.join()
    give_back()
    found.append(("at rest", *resident()))
    engine.drain(5.0)
    quality.close()
    store.close()
    database.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a bundle")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--arenas", choices=("two", "default"), default="two")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.arenas == "two":
        few_arenas()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(arguments.run, Path(folder), arguments.swaps)
    rows = [f"| {when} | {own:,} | {mapped:,} |" for when, own, mapped in found]
    command = f"`python training/benchmarks/server_memory.py {arguments.run.name} --swaps {arguments.swaps}`"
    lines = [
        "# Memory while bundles are exchanged", "", f"{command}, {platform.machine()}, {datetime.now(UTC).date()}.",
        "", "| exchanges | MiB of its own | MiB of mapped files |", "| ---|---|--- |", *rows, "",
    ]  # fmt: skip
    print("\n".join(lines))
    if arguments.out:
        (arguments.out / "server-memory.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
