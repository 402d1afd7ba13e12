"""The server under load: requests a second and latency over HTTP, beside the retriever in a loop and a bare echo.

    python training/benchmarks/server_load.py --make-large runs/million
    python training/benchmarks/server_load.py runs/ml-1m --large runs/million --seconds 4 --out training/results

Needs wrk. Everything runs on one machine, load generator included: `recsys serve` with a database of its own, a FastAPI
application that only echoes JSON, and the loop in a process of its own, one after the other. Random known users ask for ten
items. Latency at half load is that of 64 clients who wait between requests, so that half as many requests come as the
server could answer. At overload ten times as many clients ask as the queue takes, each again as soon as it is answered or
refused (``crowd.py``). Bundles are exchanged under load. ``--large`` serves a bundle of a million items too, which
``--make-large`` makes; it is hardly trained.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

QUEUE = 64
DEADLINE = 500
SWAPS = 20
CROWD = Path(__file__).with_name("crowd.py")
PUBLISHED = """Published figures of others, none of which measures the same: users of Ray Serve report a ceiling of 220
to 800 requests a second of its one proxy (ray-project/ray issues 42565 and 55473). The page of LitServe
(lightning.ai/docs/litserve/benchmarks) has vision and text models on an Nvidia L4 GPU. In the documentation of gorse we
found no figure of requests a second."""
SCRIPT = """
local users = {%s}
local statuses, slowest = {}, 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) math.randomseed(%d) end
function request()
  local user = users[math.random(#users)]
  return wrk.format("POST", "%s", {["Content-Type"] = "application/json"}, '{"user": "' .. user .. '", "k": 10}')
end
function delay() return %s end
function response(status, headers, body)
  counted = counted or {}
  counted[status] = (counted[status] or 0) + 1
  told = ""
  for name, count in pairs(counted) do told = told .. name .. "=" .. count .. " " end
end
function done(summary, latency, requests)
  for _, thread in ipairs(threads) do io.write("STATUSES ", thread:get("told") or "", "\\n") end
  io.write(string.format("FOUND %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""
ECHO = """
import uvicorn
from fastapi import FastAPI, Request, Response
app = FastAPI()
@app.post("/v1/recommend")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/json")
uvicorn.run(app, port={port}, log_level="warning", access_log=False)
"""
LOOP = """
import sys, time
import numpy as np
import recsys
retriever, together, seconds = recsys.load(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
users = retriever.users.ids.sample(8192, with_replacement=True, seed=0).to_list()
for warm in range(5):
    retriever.recommend(users[:together], k=10)
took, begun, at = [], time.perf_counter(), 0
while time.perf_counter() - begun < seconds:
    start = time.perf_counter()
    retriever.recommend(users[at % 4096 : at % 4096 + together], k=10)
    at += together
    took.append(time.perf_counter() - start)
print(at / (time.perf_counter() - begun), 1e3 * np.percentile(took, 50), 1e3 * np.percentile(took, 99))
"""


@dataclass(frozen=True)
class Measured:
    """What wrk saw, and what it cost.

    Attributes
    ----------
    rate : float
        Good answers a second.
    median, p99, longest : float
        Milliseconds, of answers of all statuses.
    statuses : dict
        Status → answers.
    processor : float
        Milliseconds of processor time of the server for each answer.
    memory : float
        MiB that the server held at the end.
    """

    rate: float
    median: float
    p99: float
    longest: float
    statuses: dict[str, int]
    processor: float
    memory: float


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, from the moment at which it answers."""
    child = subprocess.Popen(command, stderr=subprocess.PIPE if path == "/readyz" else None)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
                break
            except OSError as error:
                if getattr(error, "code", 503) != 503:  # it answers
                    break
                if child.poll() is not None or time.monotonic() > end:
                    raise SystemExit(
                        f"the server did not start: {(child.stderr.read() if child.stderr else b'')!r}"
                    ) from error
                time.sleep(0.1)
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


def of_process(pid: int) -> tuple[float, float]:
    """Seconds of processor time and MiB of memory of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), resident / 2**20


def ask(users: list[str], port: int, pid: int, clients: int, seconds: float, pause: float = 0.0) -> Measured:
    """Ask with wrk; ``pause`` is the mean number of milliseconds that each client waits between requests."""
    waits = "0" if pause == 0 else f"math.floor(-math.log(1 - math.random()) * {pause})"
    names = ", ".join(json.dumps(user) for user in users)
    before = of_process(pid)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (names, clients, "/v1/recommend", waits))
        script.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", script.name]
        told = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
    after = of_process(pid)
    found = re.search(r"FOUND (\d+) (\d+) (\d+) (\d+) (\d+)", told)
    counts = re.search(r"STATUSES (.*)", told)
    if found is None or counts is None:
        raise SystemExit(f"wrk told nothing that can be read: {told}")
    requests, duration, median, p99, longest = (int(one) for one in found.groups())
    statuses = {name: int(count) for name, count in (pair.split("=") for pair in counts[1].split())}
    rate = statuses.get("200", 0) / duration * 1e6
    cost = 1e3 * (after[0] - before[0]) / max(1, requests)
    return Measured(rate, median / 1e3, p99 / 1e3, longest / 1e3, statuses, cost, after[1])


def loop(run: Path, together: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, and milliseconds of a call at the median and the 99th percentile, of the retriever in a loop."""
    command = [sys.executable, "-c", LOOP, str(run), str(together), str(seconds)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, median, p99 = (float(word) for word in told.split())
    return rate, median, p99


def call(port: int, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, list[dict[str, str]]]:
    content = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers, method=method)
    with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310
        found: dict[str, list[dict[str, str]]] = json.load(answer)
    return found


def exchanged(run: Path, port: int, pid: int, users: list[str]) -> tuple[dict[str, int], list[float]]:
    """Answers by status while bundles were exchanged, and the memory before and after each exchange."""
    other, statuses, ended = run.with_name(run.name + "-copy"), dict[str, int](), threading.Event()

    def load() -> None:
        while not ended.is_set():
            for status, count in ask(users, port, pid, 8, 2).statuses.items():
                statuses[status] = statuses.get(status, 0) + count

    thread, memory = threading.Thread(target=load), [of_process(pid)[1]]
    thread.start()
    for number in range(SWAPS):
        found = call(port, "POST", "/admin/bundles", {"path": str((other, run)[number % 2])})["bundles"]
        waiting = [one for one in found if not one["active"]]
        call(port, "POST", f"/admin/bundles/{waiting[0]['digest']}/activate", {})
        memory.append(of_process(pid)[1])
    ended.set()
    thread.join()
    return statuses, memory


def overload(users: list[str], port: int, clients: int, seconds: float) -> dict[str, list[float]]:
    """Status → number of answers, milliseconds at the median, at the 99th percentile, and of the longest."""
    command = [sys.executable, str(CROWD), str(port), str(clients), str(seconds)]
    told = subprocess.run(command, input=json.dumps(users), capture_output=True, text=True, check=True).stdout
    found: dict[str, list[float]] = json.loads(told)
    return found


def make_large(folder: Path) -> None:
    """A bundle of a million items, each met once: ids alone, one epoch, an index that searches a part of its lists."""
    import numpy as np
    import polars as pl

    import recsys
    from recsys.config.training import Training
    from recsys.core.id_map import IdMap
    from recsys.core.ragged import Ragged
    from recsys.index.spec import IndexSpec

    users, items = 20_000, 1_000_000
    ids = (IdMap(pl.Series(np.arange(size)), what) for size, what in ((users, "user"), (items, "item")))
    rows = np.random.default_rng(0).permutation(items).astype(np.int32)
    log = recsys.Interactions(*ids, Ragged.from_lengths(np.full(users, items // users), rows))
    model = recsys.TwoTower(encoder=None, dim=64, blocks=1, heads=2, max_length=50, transitions="none")
    fitted = model.fit(log, training=Training(epochs=1, device="cpu", patience=0))
    fitted.retriever(index=IndexSpec(kind="ivf", lists=1024)).save(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a bundle")
    parser.add_argument("--large", type=Path, help="a bundle of a million items, to be served too")
    parser.add_argument("--make-large", type=Path, help="make such a bundle in this folder, and end")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--threads", type=int, help="of the model")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.make_large:
        make_large(arguments.make_large)
        return
    import recsys

    def some_users(bundle: Path) -> list[str]:
        return [str(one) for one in recsys.load(bundle).users.ids.sample(2000, with_replacement=True, seed=1)]

    users = some_users(arguments.run)
    seconds, folder = arguments.seconds, Path(tempfile.mkdtemp())
    run = folder / "run"
    shutil.copytree(arguments.run, run)
    shutil.copytree(arguments.run, folder / "run-copy")
    rows = ["| | requests / s | median ms | p99 ms | processor ms / request |", "|---|---|---|---|---|"]

    def add(name: str, found: Measured) -> Measured:
        numbers = f"{found.rate:,.0f} | {found.median:,.1f} | {found.p99:,.1f} | {found.processor:.2f}"
        rows.append(f"| {name} | {numbers} |")
        print(rows[-1], found.statuses, f"{found.memory:,.0f} MiB", flush=True)
        return found

    try:

        def looped(bundle: Path, together: int, name: str = "") -> float:
            rate, median, p99 = loop(bundle, together, seconds)
            name = f"`Retriever.recommend` in a loop, {together} at a time{name}"
            rows.append(f"| {name} | {rate:,.0f} | {median:,.1f} | {p99:,.1f} | |")
            print(rows[-1], flush=True)
            return rate

        single, batched = (looped(run, together) for together in (1, 64))
        port = free_port()
        with running([sys.executable, "-c", ECHO.format(port=port)], port, "/docs") as child:
            for clients in (1, 8, 64):
                add(f"FastAPI that echoes, {clients} clients", ask(users, port, child.pid, clients, seconds))
        serve = [sys.executable, "-m", "recsys", "serve", str(run), "--db", f"sqlite:///{folder}/events.db", "--open"]
        serve += ["--log-level", "warning"]
        serve += ["--threads", str(arguments.threads)] if arguments.threads else []
        port = free_port()
        with running([*serve, "--port", str(port)], port, "/readyz") as child:
            most = 0.0
            for clients in (1, 8, 64):
                most = add(f"`recsys serve`, {clients} clients", ask(users, port, child.pid, clients, seconds)).rate
            add("at half load", ask(users, port, child.pid, 64, 2 * seconds, pause=64e3 / (most / 2)))
            swapped, memory = exchanged(run, port, child.pid, users)
        port = free_port()
        bounds = ["--queue-length", str(QUEUE), "--deadline-milliseconds", str(DEADLINE)]
        with running([*serve, *bounds, "--port", str(port)], port, "/readyz") as child:
            calm = of_process(child.pid)[1]
            over = overload(users, port, 10 * QUEUE, 2 * seconds)
            after = of_process(child.pid)[1]
        if arguments.large:
            many = some_users(arguments.large)
            for together in (1, 64):
                looped(arguments.large, together, ", a million items")
            port = free_port()
            serve[4] = str(arguments.large)
            with running([*serve, "--port", str(port)], port, "/readyz") as child:
                for clients in (1, 8, 64):
                    add(f"`recsys serve`, a million items, {clients} clients", ask(many, port, child.pid, clients, seconds))
    finally:
        shutil.rmtree(folder)
    lines = [
        "# The server under load",
        "",
        *rows,
        "",
        f"At 64 clients HTTP answers {most / single:.1f} times as many requests a second as the loop of single requests, "
        f"and {most / batched:.0%} of what the loop of batches of 64 does, which pays nothing for a request but the model.",
        "",
        f"Overload: {10 * QUEUE} clients at a queue of {QUEUE} and a deadline of {DEADLINE} ms, each asking again at once.",
        "",
        "| status | answers / s | median ms | p99 ms | longest ms |",
        "|---|---|---|---|---|",
        *(
            f"| {status} | {count / 2 / seconds:,.0f} | {median:,.0f} | {p99:,.0f} | {longest:,.0f} |"
            for status, (count, median, p99, longest) in sorted(over.items())
        ),
        "",
        f"Memory: {calm:,.0f} MiB before, {after:,.0f} MiB at the end.",
        "",
        f"{len(memory) - 1} bundles exchanged under load of 8 clients: answers by status {swapped}; memory "
        f"{memory[0]:,.0f} MiB before, {memory[1]:,.0f} after the first, {memory[len(memory) // 2]:,.0f} after half, "
        f"{memory[-1]:,.0f} MiB at the end.",
        "",
        PUBLISHED,
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC).date().isoformat()}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "server-load.md").write_text(text)


if __name__ == "__main__":
    main()
