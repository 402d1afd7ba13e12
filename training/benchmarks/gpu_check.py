"""Everything that needs a GPU, in at most ten minutes, into one JSON.

    make gpu-check                                              # writes training/results/gpu-check.json
    python training/benchmarks/gpu_check.py --cpu --out FILE    # a dry run without a GPU, in tiny sizes

Each check is a function that runs in a process of its own with a time limit, so that a fault of one (a broken CUDA context
too) leaves the others alone. It is recorded as ``passed``, ``failed`` with its message, or ``not there`` where a part that
it needs is not installed. The exit code is 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_workloads import (
    CPU,
    GPU,
    MismatchError,
    NotThereError,
    Size,
    model_flops,
    search_parts,
    synthetic_log,
    timed_steps,
    training_parts,
    widest,
)

HERE = Path(__file__)
PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "A10G": 70, "A10": 125, "L40S": 362, "L40": 181,
    "L4": 121, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Dense bfloat16 matrix products by name of the device, as their makers state it; the first name that fits counts."""


def device(size: Size) -> dict[str, Any]:
    """What there is: device, memory, drivers, how devices are linked, and the builds of torch and FAISS."""
    import torch

    from recsys.index.faiss_library import installed_builds

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "faiss": installed_builds()}
    if size.device == "cpu":
        return found | {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    about = torch.cuda.get_device_properties(0)
    found |= {"name": about.name, "capability": f"{about.major}.{about.minor}", "GiB": about.total_memory / 2**30}
    found |= {"count": torch.cuda.device_count(), "cudnn": torch.backends.cudnn.version()}
    if (smi := shutil.which("nvidia-smi")) is not None:
        links = subprocess.run([smi, "topo", "-m"], capture_output=True, text=True, check=False, timeout=20)
        found["links"] = links.stdout.splitlines()
    return found


def training_speed(size: Size) -> dict[str, Any]:
    """Targets a second, model FLOPs utilisation and peak memory of full-softmax training, beside the forecast."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from recsys.training.forecast import forecast
    from recsys.training.trainer import make_fabric

    _, training, loss, batches = training_parts(size)
    expected = forecast(make_fabric(training, size.device), loss, batches, copies=3.0)
    fixed = widest(batches, size)
    counter = FlopCounterMode(display=False)
    with loss.restored(), counter:
        loss(fixed).backward()
    flops = model_flops(loss, fixed)
    if size.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, losses = timed_steps(loss, fixed, training, size)
    found: dict[str, Any] = {
        "parameters": sum(p.numel() for p in loss.weights().values()),
        "positions_per_step": fixed.inputs.numel(),
        "seconds_per_step": seconds,
        "targets_per_second": len(fixed.targets) / seconds,
        "model_tflop_per_step": flops / 1e12,
        "tflop_per_step_counted_by_torch": counter.get_total_flops() / 1e12,
        "tflops": flops / seconds / 1e12,
        "losses": losses,
        "forecast_GiB": expected.memory / 2**30,
    }
    if size.device == "cpu":
        return found
    name = torch.cuda.get_device_name(0)
    peak = next((tflops for known, tflops in PEAK_TFLOPS.items() if known in name), None)
    return found | {
        "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        "peak_tflops_assumed": peak,
        "mfu": None if peak is None else flops / seconds / 1e12 / peak,
    }


def compiled(size: Size) -> dict[str, Any]:
    """``--compile``: the same losses as without it, and its speed."""
    found = {}
    for compile_ in (False, True):
        _, training, loss, batches = training_parts(size, compile=compile_, precision="fp32")
        fixed = widest(batches, size)
        begun = time.perf_counter()
        with loss.restored():
            loss(fixed).backward()
        first = time.perf_counter() - begun
        seconds, losses = timed_steps(loss, fixed, training, size)
        found["compiled" if compile_ else "eager"] = {"first": first, "seconds_per_step": seconds, "losses": losses}
    _close(found["compiled"]["losses"], found["eager"]["losses"], 1e-3, "losses compiled and eager")
    return found


def loss_parity(size: Size) -> dict[str, Any]:
    """The first loss and its gradients on the device and on a CPU, for each loss, in float32 without dropout."""
    found = {}
    for name in ("softmax", "sampled", "bce", "gbce", "bpr"):
        values, norms = [], []
        for where in (size.device, "cpu"):
            small = replace(size, device=where, tokens=min(size.tokens, 2048), items=min(size.items, 5000))
            _, _, loss, batches = training_parts(small, loss=name, precision="fp32", dropout=0.0)
            value = loss.to(where)(widest(batches, small))
            value.backward()
            grads = [p.grad.double().norm().cpu() for p in loss.weights().values() if p.grad is not None]
            values.append(float(value.detach()))
            norms.append(float(sum(norm.square() for norm in grads) ** 0.5))
        _close(values[:1], values[1:], 1e-4, f"loss {name} on {size.device} and cpu")
        _close(norms[:1], norms[1:], 1e-3, f"gradient of {name} on {size.device} and cpu")
        found[name] = {"loss": values, "gradient_norm": norms}
    return found


def bf16(size: Size) -> dict[str, Any]:
    """Losses of some steps in bfloat16 and in float32 from the same start."""
    from recsys.core.device import has_bf16

    if not has_bf16(size.device):
        raise NotThereError(f"{size.device} has no bfloat16 matrix products")
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        _, training, loss, batches = training_parts(size, precision=precision, dropout=0.0)
        seconds, losses = timed_steps(loss, widest(batches, size), training, size)
        found[precision] = {"seconds_per_step": seconds, "losses": losses}
    _close(found["bf16"]["losses"], found["fp32"]["losses"], 0.02, "losses in bf16 and fp32")
    return found


def exact_search(size: Size) -> dict[str, Any]:
    """Exact search on the device against a CPU: same items and scores, with exclusions and a filter."""
    from recsys.index.item_index import ItemIndex

    vectors, queries, exclude, eligible = search_parts(size)
    there, here = (ItemIndex.build(vectors, device=where) for where in (size.device, "cpu"))
    found = {}
    for name, mask in (("all", None), ("filtered", eligible)):
        begun = time.perf_counter()
        ranked = there.search(queries, 100, exclude, mask)
        seconds = time.perf_counter() - begun
        truth = here.search(queries, 100, exclude, mask)
        _same(ranked, truth, name)
        found[name] = {"seconds": seconds, "queries": len(queries), "vectors": len(vectors)}
    return found


def faiss_flat(size: Size) -> dict[str, Any]:
    """FAISS's own flat index on the device against our exact search."""
    import numpy as np

    from recsys.index.item_index import ItemIndex

    library = _faiss(size)
    vectors, queries, _, _ = search_parts(size)
    index = library.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    if size.device == "cuda":
        index = library.index_cpu_to_all_gpus(index)
    begun = time.perf_counter()
    scores, _ = index.search(queries, 100)
    seconds = time.perf_counter() - begun
    ours = ItemIndex.build(vectors, device=size.device).search(queries, 100)
    worst = float(np.abs(np.sort(scores, 1) - np.sort(ours.scores.reshape(scores.shape), 1)).max())
    if worst > 1e-3:
        raise MismatchError(f"scores of FAISS flat and exact search differ by {worst:.2g}")
    return {"seconds": seconds, "largest_difference": worst}


def ivf(size: Size) -> dict[str, Any]:
    """IVF on the device, with exclusions and filters."""
    return _approximate(size, "ivf", lists=64 if size.device == "cpu" else 1024, nprobe=16)


def cagra(size: Size) -> dict[str, Any]:
    """CAGRA on the device, with exclusions and filters."""
    if size.device == "cpu":
        raise NotThereError("CAGRA is a graph on a GPU")
    if not hasattr(_faiss(size), "GpuIndexCagra"):
        raise NotThereError("this FAISS is built without cuVS")
    return _approximate(size, "cagra", hnsw_m=32)


def ddp(size: Size) -> dict[str, Any]:
    """DDP of one process learns what a plain run learns."""
    return _distributed(size, "ddp")


def fsdp(size: Size) -> dict[str, Any]:
    """FSDP of one process learns what a plain run learns."""
    return _distributed(size, "fsdp")


CHECKS: dict[str, tuple[Callable[[Size], dict[str, Any]], int]] = {
    "device": (device, 20),
    "training speed": (training_speed, 90),
    "compile": (compiled, 120),
    "loss parity": (loss_parity, 50),
    "bf16": (bf16, 50),
    "exact search": (exact_search, 50),
    "FAISS flat": (faiss_flat, 30),
    "IVF": (ivf, 50),
    "CAGRA": (cagra, 50),
    "DDP of one": (ddp, 45),
    "FSDP of one": (fsdp, 45),
}
"""Name, function, most seconds; together ten minutes."""


def _close(found: list[float], expected: list[float], tolerance: float, what: str) -> None:
    for one, other in zip(found, expected, strict=True):
        if not abs(one - other) <= tolerance * abs(other):
            raise MismatchError(f"{what} differ: {one:.6g} and {other:.6g} (allowed: {tolerance:g} of the second)")


def _same(found: Any, truth: Any, what: str) -> None:
    """Raise unless lists agree but for items whose scores are equal up to rounding."""
    import numpy as np

    if not np.array_equal(found.lists.lengths, truth.lists.lengths):
        raise MismatchError(f"{what}: lists of other lengths")
    worst = float(np.abs(found.scores - truth.scores).max(initial=0.0))
    if worst > 1e-5:
        raise MismatchError(f"{what}: scores at equal ranks differ by {worst:.2g}")


def _faiss(size: Size) -> Any:
    from recsys.errors import DependencyError
    from recsys.index.faiss_library import faiss

    try:
        library = faiss()
    except DependencyError as error:
        raise NotThereError(str(error)) from error
    if size.device == "cuda" and not (hasattr(library, "StandardGpuResources") and library.get_num_gpus()):
        raise NotThereError("this FAISS sees no GPU: pip install 'recsys[gpu]' in place of recsys[cpu]")
    return library


def _approximate(size: Size, kind: str, **options: Any) -> dict[str, Any]:
    """Recall and speed of an index, and that its filters hold."""
    import numpy as np

    from recsys.core.ragged import is_in
    from recsys.index.choose import recall_of
    from recsys.index.item_index import ItemIndex
    from recsys.index.spec import IndexSpec

    _faiss(size)
    vectors, queries, exclude, eligible = search_parts(size)
    begun = time.perf_counter()
    gpus = "none" if size.device == "cpu" else "replicated"
    index = ItemIndex.build(vectors, IndexSpec(kind, gpus=gpus, **options), device=size.device)  # type: ignore[arg-type]
    found: dict[str, Any] = {"build_seconds": time.perf_counter() - begun}
    exact = ItemIndex.build(vectors, device=size.device)
    for name, mask in (("all", None), ("nine in ten eligible", eligible)):
        begun = time.perf_counter()
        ranked = index.search(queries, 100, exclude, mask)
        seconds = time.perf_counter() - begun
        rows = ranked.lists.rows
        if not (ranked.lists.lengths == 100).all():
            raise MismatchError(f"{kind}, {name}: a list has fewer than 100 items")
        if mask is not None and not mask[rows].all():
            raise MismatchError(f"{kind}, {name}: an item came that is not eligible")
        pairs = np.sort(exclude.list_index() * len(vectors) + exclude.rows)
        if is_in(ranked.lists.list_index() * len(vectors) + rows, pairs).any():
            raise MismatchError(f"{kind}, {name}: an excluded item came")
        recall = recall_of(ranked, exact.search(queries, 100, exclude, mask))
        if recall < 0.7:
            raise MismatchError(f"{kind}, {name}: recall@100 is {recall:.3f}")
        found[name] = {"recall@100": recall, "seconds": seconds}
    return found


def _distributed(size: Size, strategy: str) -> dict[str, Any]:
    """Losses of a run of one process under torchrun, and of a plain one."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    command = [*torchrun, str(HERE), "--fit", strategy, *(["--cpu"] if size.device == "cpu" else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MismatchError(f"torchrun ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    found = {strategy: json.loads(done.stdout.strip().splitlines()[-1]), "plain": fit(size, "auto")}
    if found[strategy]["strategy"] == found["plain"]["strategy"]:
        raise MismatchError(f"the run used {found[strategy]['strategy']}, which is not {strategy}")
    _close(found[strategy]["losses"], found["plain"]["losses"], 1e-3, f"losses of {strategy} and of a plain run")
    return found


def fit(size: Size, strategy: str) -> dict[str, Any]:
    """Losses of two epochs without dropout."""
    import recsys
    from recsys.training.trainer import make_fabric

    small = replace(size, users=min(size.users, 500), items=min(size.items, 2000), dim=min(size.dim, 64), blocks=1)
    model = recsys.TwoTower(
        encoder=None, dim=small.dim, heads=2, blocks=1, max_length=small.length, dropout=0.0, id_dropout=0.0,
        transitions="none",
    )  # fmt: skip
    training = recsys.Training(
        epochs=2, batch_tokens=4096, device=size.device, strategy=strategy, precision="fp32"  # type: ignore[arg-type]
    )  # fmt: skip
    model.fit(synthetic_log(small), training=training)
    assert model.log is not None  # noqa: S101 - it has been fitted
    return {
        "losses": [row["loss"] for row in model.log.epochs],
        "strategy": type(make_fabric(training, size.device).strategy).__name__,
    }


def one(name: str, size: Size) -> dict[str, Any]:
    """Run a check in this process."""
    begun = time.perf_counter()
    try:
        found = {"status": "passed"} | CHECKS[name][0](size)
    except NotThereError as error:
        found = {"status": "not there", "message": str(error)}
    except Exception as error:  # whatever is wrong belongs into the record
        found = {"status": "failed", "message": f"{type(error).__name__}: {error}"}
    return found | {"seconds": time.perf_counter() - begun}


def apart(name: str, *, cpu: bool) -> dict[str, Any]:
    """Run a check in a process of its own, no longer than its limit."""
    limit = max(120, CHECKS[name][1]) if cpu else CHECKS[name][1]
    command = [sys.executable, str(HERE), "--one", name, *(["--cpu"] if cpu else [])]
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            printed, complained = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # torchrun's processes too
            return {"status": "failed", "message": f"not done after {limit} s", "seconds": float(limit)}
    try:
        found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        message = f"ended with {process.returncode}: {complained.strip()[-1500:]}"
        return {"status": "failed", "message": message, "seconds": time.perf_counter() - begun}
    return found


def main() -> int:
    """Run the checks one after the other and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="dry run: what can be done without a GPU, in tiny sizes")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), help="default: all (--cpu: but compile)")
    parser.add_argument("--out", type=Path, help="default: print alone")
    parser.add_argument("--one", choices=list(CHECKS), help=argparse.SUPPRESS)
    parser.add_argument("--fit", choices=["ddp", "fsdp"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = CPU if arguments.cpu else GPU
    if arguments.fit:
        print(json.dumps(fit(size, arguments.fit)))
        return 0
    if arguments.one:
        print(json.dumps(one(arguments.one, size)))
        return 0
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": size.device,
        "cores": os.cpu_count(),
        "size": asdict(size),
        "checks": {},
    }
    # Compiling a tower takes minutes on a CPU.
    for name in arguments.only or [name for name in CHECKS if not (arguments.cpu and name == "compile")]:
        found["checks"][name] = apart(name, cpu=arguments.cpu)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        shown = found["checks"][name]
        print(f"{name}: {shown['status']} ({shown['seconds']:.1f} s) {shown.get('message', '')}", flush=True)
    if not arguments.out:
        print(json.dumps(found, indent=1))
    return int(any(one["status"] == "failed" for one in found["checks"].values()))


if __name__ == "__main__":
    sys.exit(main())
