"""Two processes that share every batch are one: same losses, same weights, one checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.training.checkpoint import FILE
from recsys.two_tower import TwoTower
from tests.training.ring_processes import CASES, RESUMED, figures, fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """What two processes wrote: one folder for each, and the checkpoints that they shared."""
    folder = tmp_path_factory.mktemp("processes")
    shutil.copytree(tiny_encoder, folder / "encoder")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RECSYS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [*torchrun, "-m", "tests.training.ring_processes", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def weights(folder: Path, rank: int, case: str) -> dict[str, Tensor]:
    return load_file(folder / str(rank) / f"{case}.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does_from_the_same_batches(case: str, two: Path) -> None:
    one = fit(case, 1)
    found = json.loads((two / "0" / "figures.json").read_text())[case]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in figures(one)], rel=1e-5)
    assert found == [pytest.approx(row, rel=1e-5) for row in figures(one)]
    shared = weights(two, 0, case)
    for name, value in one.towers.net.state_dict().items():
        # Adam makes whole steps (0.01) of gradients that are nothing but rounding, which differs between machines.
        torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", [*CASES, *(f"resumed, {strategy}" for strategy in RESUMED)])
def test_both_processes_end_with_the_same_weights(case: str, two: Path) -> None:
    one, other = weights(two, 0, case), weights(two, 1, case)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("strategy", RESUMED)
def test_processes_that_were_stopped_go_on_as_if_nothing_had_happened(strategy: str, two: Path) -> None:
    logs = json.loads((two / "0" / "figures.json").read_text())
    assert logs[f"resumed, {strategy}"] == logs[f"whole, {strategy}"]
    for rank in (0, 1):
        whole, resumed = weights(two, rank, f"whole, {strategy}"), weights(two, rank, f"resumed, {strategy}")
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_process_0_alone_writes_checkpoints(two: Path) -> None:
    assert {file.parent.name for file in (two / "0" / "checkpoints").rglob(FILE)} == set(CASES)
    assert not (two / "1" / "checkpoints").exists()


def test_devices_without_processes_are_refused_with_the_command(ring: Interactions) -> None:
    says = "devices=2, but the number of started processes is 1.*torchrun --nproc_per_node 2"
    with pytest.raises(ConfigError, match=says):
        TwoTower(encoder=None, dim=8).fit(ring, training=Training(devices=2, device="cpu"))


def test_processes_without_devices_are_refused(ring: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="devices=1, but the number of started processes is 4"):
        TwoTower(encoder=None, dim=8).fit(ring, training=Training(device="cpu"))
