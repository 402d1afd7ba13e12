"""How an export answers beside its bundle, in Python and over HTTP: start, memory, time of an answer, equal answers.

python training/benchmarks/runtime.py RUN EXPORT --out training/results [--python PYTHON]

EXPORT is what `recsys export RUN --out EXPORT` has written. PYTHON is an interpreter where recsys-runtime is installed;
without it, the one that runs this, with everything blocked that recsys-runtime does not bring.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

_ANSWERS, _STARTS = 1000, 5
_BLOCKED = ("torch", "transformers", "lightning", "sklearn", "sentence_transformers", "scipy", "pandas", "pyarrow", "faiss")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
_COLD = """
import json, sys, time
from pathlib import Path
begun, cpu = time.perf_counter(), time.process_time()
{load}
loaded = time.perf_counter()
model.recommend(user, k=10, request_time=1_700_000_000)
first, used = time.perf_counter(), time.process_time() - cpu
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024  # ru_maxrss has the parent's
each = []
for one in {users}:
    start = time.process_time()
    model.recommend(one, k=10, request_time=1_700_000_000)
    each.append(1000 * (time.process_time() - start))
each.sort()
print(json.dumps({{"load": loaded - begun, "start": first - begun, "cpu": used, "peak": peak,
                  "p50": each[len(each) // 2], "p99": each[int(0.99 * len(each))]}}))
"""


def cold(python: str, load: str, users: list[object]) -> dict[str, float]:
    """The best of some starts, each of a process of its own, by CPU seconds."""
    script = _COLD.format(load=f"{load}\nuser = {users[0]!r}", users=repr(users[:200]))
    environment = os.environ | _ONE_THREAD
    runs = []
    for _ in range(_STARTS):
        said = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
        runs.append(json.loads(said.splitlines()[-1]))
    return {name: min(run[name] for run in runs) for name in runs[0]}


class Served:
    """`recsys serve` in a process of its own, asked by one connection."""

    def __init__(self, folder: str, database: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = ["--port", str(port), "--open", "--db", f"sqlite:///{database}", "--quality-share", "0", "--threads", "1"]
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recsys", "serve", folder, *flags],
            env=os.environ | _ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, method: str, path: str, body: object = None) -> None:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}")

    def until_ready(self) -> None:
        while True:
            try:
                return self.ask("GET", "/readyz")
            except (ConnectionError, http.client.HTTPException):
                self._connection.close()
                time.sleep(0.01)
            if self.process.poll() is not None:
                raise RuntimeError(f"recsys serve has ended with {self.process.returncode}")

    def cpu(self) -> float:
        """Seconds of all its threads so far, to the nanosecond."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9

    def peak(self) -> float:
        """MiB."""
        return int(Path(f"/proc/{self.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

    def end(self) -> None:
        self._connection.close()
        self.process.terminate()
        self.process.wait()


def served(folder: str, users: list[object]) -> dict[str, float]:
    """The best of some starts until /readyz, by CPU seconds, and requests to the last server."""
    starts, found = [], dict[str, float]()
    for number in range(_STARTS):
        begun = time.perf_counter()
        server = Served(folder, Path(f"{number}.db").resolve())
        server.until_ready()
        starts.append({"wall": time.perf_counter() - begun, "cpu": server.cpu(), "peak": server.peak()})
        if number == _STARTS - 1:
            each = []
            for _ in range(2):  # the second time counts: by then all that is made at first use is made
                each.clear()
                for user in users:
                    before = server.cpu()
                    server.ask("POST", "/v1/recommend", {"user": user, "k": 10, "request_time": 1_700_000_000})
                    each.append(1000 * (server.cpu() - before))
            each.sort()
            found = {"p50": each[len(each) // 2], "p99": each[int(0.99 * len(each))], "after": server.peak()}
        server.end()
    return found | {name: min(one[name] for one in starts) for name in starts[0]}


def differences(run: str, export: str) -> dict[str, float]:
    import recsys
    from recsys.compression.parity import compared
    from recsys.serving.runtime import load

    bundle, runtime = recsys.load(run, device="cpu"), load(export)
    able = np.flatnonzero(bundle.histories.lengths)
    rows = able[np.linspace(0, len(able) - 1, min(_ANSWERS, len(able))).astype(np.int64)].astype(np.int32)
    users = bundle.users.to_ids(rows)
    asked = {"k": 10, "request_time": 1_700_000_000}
    return {"answers": len(rows), **compared(bundle.recommend(users, **asked), runtime.recommend(users, **asked))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("export")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python")
    given = parser.parse_args()
    run, export = str(Path(given.run).resolve()), str(Path(given.export).resolve())
    out = given.out.resolve()
    same = differences(run, export)
    users = pl.read_parquet(Path(export) / "users.parquet")["user_id"].head(200).to_list()
    blocked = f"import sys; sys.modules.update(dict.fromkeys({_BLOCKED!r}))\nfrom recsys.serving.runtime import load"
    opened = blocked if given.python is None else "from recsys_runtime import load"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rows = {
            "bundle, PyTorch": cold(sys.executable, f"import recsys\nmodel = recsys.load({run!r}, device='cpu')", users),
            "export": cold(given.python or sys.executable, f"{opened}\nmodel = load({export!r})", users),
        }
        servers = {"`recsys serve RUN`": served(run, users), "`recsys serve EXPORT`": served(export, users)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "runtime.md").write_text(page(rows, servers, same, export, own=given.python is not None), encoding="utf-8")


def page(
    rows: dict[str, dict[str, float]],
    servers: dict[str, dict[str, float]],
    same: dict[str, float],
    export: str,
    *,
    own: bool,
) -> str:
    told = json.loads((Path(export) / "export.json").read_text())
    size = sum(file["bytes"] for file in told["files"].values()) / 2**20
    model = told["model"]
    lines = [
        "# The runtime without PyTorch",
        "",
        f"A bundle of {model['ensemble_size']} x {model['dim'] // model['ensemble_size']} dimensions that reads "
        f"{model['max_length']} events; its export is {size:,.0f} MiB, ONNX opset {told['opset']}. One thread; best of "
        f"{_STARTS} processes each, on a machine that others use too: read CPU seconds. Answers are of one user at a time.",
        "",
        "| | import, load and first answer: CPU s | wall s | peak MiB | answer p50 CPU ms | p99 CPU ms |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {one['cpu']:.2f} | {one['start']:.2f} | {one['peak']:.0f} | {one['p50']:.2f} | {one['p99']:.2f} |"
            for name, one in rows.items()
        ),
        "",
        f"{same['answers']:,} answers beside the bundle's: {same['overlap']:.2%} of the ten best, {same['same_order']:.2%} "
        f"at the same rank; the largest difference of a score is {same['score_difference']:.1e} of the largest score.",
        "",
        "## Served",
        "",
        "From the start of the process until `/readyz` answers: imports, verified files, and a warm-up on 32 users and one "
        "text. Then one user at a time over HTTP, the CPU time of all threads of the server; quality is not sampled.",
        "",
        "| | until ready: CPU s | wall s | peak MiB | request p50 CPU ms | p99 CPU ms | peak MiB afterwards |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {one['cpu']:.2f} | {one['wall']:.2f} | {one['peak']:.0f} | {one['p50']:.2f} | {one['p99']:.2f} | "
            f"{one['after']:.0f} |"
            for name, one in servers.items()
        ),
        "",
        f"    python training/benchmarks/runtime.py RUN EXPORT --out training/results{' --python PYTHON' if own else ''}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
