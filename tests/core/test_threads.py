"""Threads wait asleep, and are never more than the process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recsys.core import threads, waiting
from recsys.core.threads import Others, considerate, keep_within, usable


def in_a_fresh_process(code: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    ran = subprocess.run([sys.executable, "-c", code], env=own | environment, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


TELL = "import os; from recsys.core import waiting; print(os.environ['OMP_WAIT_POLICY'], waiting.in_time)"


def test_importing_recsys_lets_threads_sleep_while_they_wait() -> None:
    assert in_a_fresh_process(f"import recsys; {TELL}") == "PASSIVE True"


def test_what_the_environment_says_of_waiting_is_kept() -> None:
    assert in_a_fresh_process(f"import recsys; {TELL}", OMP_WAIT_POLICY="ACTIVE") == "ACTIVE True"


def test_torch_imported_before_recsys_is_known() -> None:
    loaded = "import sys; sys.modules['torch'] = sys"  # what tells of it; the real one takes seconds
    assert in_a_fresh_process(f"{loaded}; import recsys; {TELL}") == "PASSIVE False"
    assert in_a_fresh_process(f"{loaded}; import recsys; {TELL}", GOMP_SPINCOUNT="0") == "PASSIVE True"


def place(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_affinity", lambda: set(range(8)))


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 8),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_a_process_uses_what_its_affinity_and_its_control_groups_allow(
    files: dict[str, str], processors: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        place(tmp_path, name, text)
    assert usable(tmp_path) == processors


def test_threads_are_lowered_to_a_limit_and_never_raised() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        keep_within(8)
        assert torch.get_num_threads() == 3
        keep_within(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_an_affinity_set_after_torch_was_loaded_holds_for_torch_and_faiss() -> None:
    code = """
import os, torch
torch.set_num_threads(4)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from recsys.core.device import pick_device
from recsys.index.faiss_library import faiss
pick_device("cpu")
print(torch.get_num_threads(), faiss().omp_get_max_threads())
"""
    assert in_a_fresh_process(code, OMP_NUM_THREADS="4") == "1 1"


@pytest.mark.usefixtures("eight")
def test_what_others_take_is_what_is_busy_without_oneself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    clock = {"monotonic": 10.0, "process_time": 1.0}
    monkeypatch.setattr("recsys.core.threads.time.monotonic", lambda: clock["monotonic"])
    monkeypatch.setattr("recsys.core.threads.time.process_time", lambda: clock["process_time"])

    def stat(busy: float) -> None:
        """Half of it on a processor that is not ours, too."""
        lines = f"cpu  0 0 0 0 0 0 0 0\ncpu0 {int(busy * ticks)} 0 0 7 9 0 0 0\ncpu9 {int(busy * ticks)} 0 0 0 0 0 0 0\n"
        place(tmp_path, "proc/stat", lines)

    stat(100)
    others = Others(tmp_path)
    clock["monotonic"], clock["process_time"] = 12.0, 2.0
    stat(104)
    assert others.look() == pytest.approx(1.5)  # 4 seconds in 2, of which 1 was ours
    clock["monotonic"], clock["process_time"] = 14.0, 9.0
    assert others.look() == 0.0


def test_where_threads_spin_their_number_follows_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "in_time", False)
    monkeypatch.setattr(threads, "_LOOK", 0.0)
    monkeypatch.setattr(threads, "_affinity", lambda: set(range(4)))
    busy = iter([2.9, 9.0, 0.2])
    monkeypatch.setattr(Others, "look", lambda _: next(busy))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen = []
        with considerate() as share_out:
            for _ in range(3):
                share_out()
                seen.append(torch.get_num_threads())
        assert seen == [1, 1, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_where_threads_sleep_their_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "in_time", True)
    monkeypatch.setattr(Others, "look", lambda _: 99.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with considerate() as share_out:
            share_out()
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
