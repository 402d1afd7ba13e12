"""The server under load: requests a second and latency over HTTP, beside the retriever in a loop and a bare echo.

    python training/benchmarks/server_load.py runs/ml-1m --seconds 5 --out training/results

Needs wrk. Everything runs on one machine, load generator included: `recsys serve` with a database of its own, a FastAPI
application that only echoes JSON, and the loop in a process of its own, one after the other. Random known users ask for ten
items. Latency at half load is that of 64 clients who wait between requests, so that half as many requests come as the
server could answer. At overload ten times as many clients ask as the queue takes. At last bundles are exchanged under load.
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
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

QUEUE = 64
SWAPS = 20
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


def exchanged(run: Path, port: int, pid: int, users: list[str], seconds: float) -> tuple[Measured, float, int]:
    """What clients saw while bundles were exchanged, the memory before, and how many exchanges there were."""
    other = run.with_name(run.name + "-copy")
    before, swaps = of_process(pid)[1], 0
    script = "import sys; sys.path.insert(0, sys.argv[1]); import server_load as s, json; "
    script += (
        "print(json.dumps(vars(s.ask(json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), 8, float(sys.argv[5])))))"
    )
    arguments = [str(Path(__file__).parent), json.dumps(users[:200]), str(port), str(pid), str(seconds)]
    load = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    while load.poll() is None and swaps < SWAPS:
        path = (other, run)[swaps % 2]
        found = call(port, "POST", "/admin/bundles", {"path": str(path)})["bundles"]
        waiting = [one for one in found if not one["active"]]
        if waiting:
            call(port, "POST", f"/admin/bundles/{waiting[0]['digest']}/activate", {})
            swaps += 1
    told = load.communicate()[0]
    return Measured(**json.loads(told)), before, swaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a bundle")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--threads", type=int, help="of the model")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import recsys

    users = [str(one) for one in recsys.load(arguments.run).users.ids.sample(2000, with_replacement=True, seed=1)]
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
        for together in (1, 64):
            rate, median, p99 = loop(run, together, seconds)
            rows.append(
                f"| `Retriever.recommend` in a loop, {together} at a time | {rate:,.0f} | {median:,.1f} | {p99:,.1f} | |"
            )
            print(rows[-1], flush=True)
        port = free_port()
        with running([sys.executable, "-c", ECHO.format(port=port)], port, "/docs") as child:
            for clients in (1, 8, 64):
                add(f"FastAPI that echoes, {clients} clients", ask(users, port, child.pid, clients, seconds))
        port = free_port()
        serve = [sys.executable, "-m", "recsys", "serve", str(run), "--db", f"sqlite:///{folder}/events.db", "--open"]
        serve += ["--port", str(port), "--log-level", "warning"]
        serve += ["--threads", str(arguments.threads)] if arguments.threads else []
        with running(serve, port, "/readyz") as child:
            most = 0.0
            for clients in (1, 8, 64):
                most = add(f"`recsys serve`, {clients} clients", ask(users, port, child.pid, clients, seconds)).rate
            add("at half load", ask(users, port, child.pid, 64, 2 * seconds, pause=64e3 / (most / 2)))
            swapped, before, swaps = exchanged(run, port, child.pid, users, 2 * seconds)
            after = of_process(child.pid)[1]
        port = free_port()
        serve[serve.index("--port") + 1] = str(port)
        serve += ["--queue-length", str(QUEUE), "--deadline-milliseconds", "500"]
        with running(serve, port, "/readyz") as child:
            calm = of_process(child.pid)[1]
            over = add(f"{10 * QUEUE} clients at a queue of {QUEUE}", ask(users, port, child.pid, 10 * QUEUE, 2 * seconds))
    finally:
        shutil.rmtree(folder)
    lines = [
        "# The server under load",
        "",
        *rows,
        "",
        f"Overload: answers by status {over.statuses}; {calm:,.0f} MiB before, {over.memory:,.0f} MiB at the end.",
        f"{swaps} bundles exchanged under load of 8 clients: answers by status {swapped.statuses}; {before:,.0f} MiB "
        f"before, {after:,.0f} MiB after.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC).date().isoformat()}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        (arguments.out / "server-load.md").write_text(text)


if __name__ == "__main__":
    main()
