"""A bundle survives what goes wrong while it is written: a second writer, a full disk, an index that is not its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.core.files import exclusive
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import BundleError, DataError
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec


@pytest.fixture
def run(ring: Interactions, ring_catalog: Catalog, tmp_path: Path) -> Path:
    model = recsys.TwoTower(encoder=None, word_features="on", dim=16, heads=2, max_length=8)
    model.fit(ring, ring_catalog, training=recsys.Training(epochs=1, device="cpu")).retriever().save(tmp_path / "run")
    return tmp_path / "run"


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_second_writer_is_refused_and_tells_who_is_first(run: Path) -> None:
    before, retriever = content(run), recsys.load(run)
    with exclusive(run), pytest.raises(DataError, match=f"written by process {os.getpid()}"):
        retriever.save(run, overwrite=True)
    assert content(run) == before
    retriever.save(run, overwrite=True)
    assert [file.name for file in run.parent.iterdir()] == ["run"]


def test_a_writer_that_died_blocks_nobody(run: Path) -> None:
    code = (
        f"import os, pathlib, recsys.core.files\nwith recsys.core.files.exclusive(pathlib.Path({str(run)!r})): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (run.parent / ".run.lock").exists()
    recsys.load(run).save(run, overwrite=True)


def test_many_writers_leave_one_whole_bundle(run: Path) -> None:
    retriever, refused = recsys.load(run), []

    def write() -> None:
        try:
            retriever.save(run, overwrite=True)
        except DataError:
            refused.append(1)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(refused) < 6
    assert recsys.load(run).recommend("u1", k=3).height == 3


def test_a_full_disk_leaves_the_old_bundle_as_it_was(run: Path) -> None:
    before = content(run)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [sys.executable, "-m", "recsys", "index", str(run), "--remove", "i1"],
        capture_output=True, text=True, check=False, preexec_fn=small,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert content(run) == before
    assert [file.name for file in run.parent.iterdir()] == ["run"]


def test_a_bundle_keeps_its_approximate_index(run: Path, tmp_path: Path) -> None:
    retriever = recsys.load(run)
    index = ItemIndex.build(retriever.vectors, IndexSpec("ivf", lists=3, nprobe=3))
    retriever.bundle = retriever.bundle.with_index(index)
    retriever.save(tmp_path / "ivf")
    again = recsys.load(tmp_path / "ivf")
    assert str(again.index.spec) == "ivf, lists 3, nprobe 3"
    assert again.recommend("u1", k=20).equals(retriever.recommend("u1", k=20))


def test_vectors_that_are_not_finite_are_refused_when_a_bundle_is_opened(run: Path) -> None:
    import json

    from recsys.core.files import sha256_of
    from recsys.core.sealed import sealed

    vectors = np.load(run / "item_vectors.npy")
    vectors[3] = np.nan
    np.save(run / "item_vectors.npy", vectors)
    manifest = json.loads((run / "manifest.json").read_text())
    file = run / "item_vectors.npy"
    manifest["files"]["item_vectors.npy"] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    (run / "manifest.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(BundleError):
        recsys.load(run)
