"""How an export answers beside its bundle: cold start, memory, time of an answer, and whether the answers are the same.

python training/benchmarks/runtime.py RUN EXPORT --out training/results [--python PYTHON]

EXPORT is what `recsys export RUN --out EXPORT` has written. PYTHON is an interpreter where recsys-runtime is installed;
without it, the one that runs this, with everything blocked that recsys-runtime does not bring.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

_ANSWERS, _STARTS = 1000, 5
_BLOCKED = ("torch", "transformers", "lightning", "sklearn", "sentence_transformers", "scipy", "pandas", "pyarrow", "faiss")
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
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    runs = []
    for _ in range(_STARTS):
        said = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
        runs.append(json.loads(said.splitlines()[-1]))
    return {name: min(run[name] for run in runs) for name in runs[0]}


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
    out.mkdir(parents=True, exist_ok=True)
    (out / "runtime.md").write_text(page(rows, same, export, own=given.python is not None), encoding="utf-8")


def page(rows: dict[str, dict[str, float]], same: dict[str, float], export: str, *, own: bool) -> str:
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
        f"    python training/benchmarks/runtime.py RUN EXPORT --out training/results{' --python PYTHON' if own else ''}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
