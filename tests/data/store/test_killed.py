"""A store whose writer is killed, or finds no room, is whole: as before, or with everything."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import recsys
from tests.data.store.test_append import OLD

BENCHMARKS = Path(__file__).parents[3] / "training" / "benchmarks"


def test_a_killed_import_or_append_leaves_the_store_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    outcomes = importlib.import_module("store_durability").run(tmp_path, kills=6, rows=3000)
    assert sum(outcomes.values()) == 6


FULL = """
import resource, sys, recsys, polars as pl
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
log = pl.DataFrame({"user_id": list(range(3000)), "item_id": list(range(3000)), "timestamp": list(range(3000))})
for how in ({"append": True}, {"overwrite": True}):
    try:
        recsys.import_log(log, sys.argv[1], **how)
    except OSError as error:
        print("no room")
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    recsys.import_log(OLD, tmp_path / "s")
    kept = {file: file.read_bytes() for file in (tmp_path / "s").rglob("*") if file.is_file()}
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "s")], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["no room", "no room", ""]
    assert [one.name for one in tmp_path.iterdir()] == ["s"]
    assert {file: file.read_bytes() for file in (tmp_path / "s").rglob("*") if file.is_file()} == kept
    assert len(recsys.import_log(OLD, tmp_path / "s", append=True)) == 6
