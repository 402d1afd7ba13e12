"""The script that checks a GPU, where there is none: what it can do without one, and that a fault stays where it is."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "training" / "benchmarks" / "gpu_check.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.mark.parametrize("name", ["training speed", "exact search", "FAISS flat", "IVF"])
def test_a_dry_run_passes(script: ModuleType, name: str) -> None:
    found = script.one(name, script.CPU)
    assert found["status"] == "passed", found
    json.dumps(found)


def test_the_flops_of_a_step_are_those_that_torch_counts_and_attention(script: ModuleType) -> None:
    """Torch counts no attention on CPUs; all else must be equal."""
    found = script.training_speed(script.CPU)
    batch = script.widest(script.training_parts(script.CPU)[3], script.CPU)
    windows, length = batch.inputs.shape
    attention = 6 * windows * length**2 * script.CPU.dim * script.CPU.blocks / 1e12
    assert found["model_tflop_per_step"] - attention == pytest.approx(found["tflop_per_step_counted_by_torch"])


def test_a_fault_and_a_missing_part_are_recorded_while_the_rest_goes_on(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: Any) -> dict[str, Any]:
        raise ZeroDivisionError("as broken as can be")

    monkeypatch.setattr(script, "CHECKS", {"broken": (broken, 9), "CAGRA": script.CHECKS["CAGRA"]})
    monkeypatch.setattr(script, "apart", lambda name, cpu: script.one(name, script.CPU if cpu else script.GPU))
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--cpu", "--out", str(tmp_path / "found.json")])
    assert script.main() == 1
    found = json.loads((tmp_path / "found.json").read_text())["checks"]
    assert found["broken"]["message"] == "ZeroDivisionError: as broken as can be"
    assert found["CAGRA"]["status"] == "not there"


def test_the_limits_add_up_to_ten_minutes(script: ModuleType) -> None:
    assert sum(limit for _, limit in script.CHECKS.values()) <= 600
