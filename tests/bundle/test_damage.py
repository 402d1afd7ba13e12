"""Bundles changed by chance or by hand: refused by name, or they answer as before; never a traceback or another answer."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recsys
from recsys.bundle import describe, manifest
from recsys.config.training import Training
from recsys.core.files import sha256_of
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import BundleError, RecsysError
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower
from tests.conftest import make_items

ODD: list[Any] = [None, -1, 0, 3, 10**30, 0.5, 1e400, True, "", "x", [], ["x"], [1], {}, {"x": 1}]


@pytest.fixture(scope="module")
def made(ring: Interactions, ring_split: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Retriever]:
    items = Catalog.from_frame(
        make_items().with_columns(_text=make_items()["title"], __title=make_items()["title"]), text=["title"]
    )
    model = TwoTower(encoder=None, word_features="on", dim=16, max_length=8)
    model.fit(ring_split.train, items, training=Training(epochs=1, batch_tokens=64, device="cpu"))
    retriever = model.retriever(log=ring, holdout=ring_split.test)
    retriever.save(folder := tmp_path_factory.mktemp("made") / "run", metrics={"recall@10": 0.5})
    return folder, retriever


@pytest.fixture
def folder(made: tuple[Path, Retriever], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "run"))


def sealed_anew(folder: Path) -> None:
    told = json.loads((folder / "manifest.json").read_text())
    for name in told["files"]:
        told["files"][name] = {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest.sealed(told), indent=2))


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every key of nested tables and lists."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple, new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return copy


def answers_or_refuses(folder: Path, expected: Any) -> bool:
    """Whether it was refused; a traceback, or another answer, fails."""
    try:
        found = recsys.load(folder, device="cpu").recommend(["u1", "u7"], k=9)
    except BundleError as error:
        return str(folder) in str(error) or pytest.fail(f"no word of where: {error}")
    assert found.equals(expected)
    return False


def test_a_catalogue_may_have_columns_that_are_named_like_ours(made: tuple[Path, Retriever]) -> None:
    columns = recsys.load(made[0]).catalog.columns
    assert columns.equals(made[1].catalog.columns)
    assert {"_text", "__title"} <= {*columns.columns}


def test_every_flipped_byte_of_a_manifest_is_found(made: tuple[Path, Retriever], folder: Path) -> None:
    file = folder / "manifest.json"
    good = file.read_bytes()
    told = json.loads(good)
    for place in range(0, len(good), 3):
        for bit in (1, 0x20):
            bad = bytearray(good)
            bad[place] ^= bit
            file.write_bytes(bad)
            with contextlib.suppress(BundleError):
                assert manifest.read_manifest(folder) == told, (place, bit)  # a blank that became another


@pytest.mark.parametrize("path", [("metrics", "recall@10"), ("data", "users"), ("created",), ("library_versions", "torch")])
def test_an_edited_figure_of_a_manifest_is_found(folder: Path, path: tuple) -> None:
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(changed(told, path, "0.9"), indent=2))
    for read in (recsys.load, describe.describe):
        with pytest.raises(BundleError, match=r"manifest\.json is damaged: it is not what was saved"):
            read(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "a/../../secret", "", "config.json/", "a\\..\\b", "./config.json"]
)
def test_a_manifest_names_no_file_outside_of_its_bundle(folder: Path, name: str) -> None:
    told = json.loads((folder / "manifest.json").read_text())
    told["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest.sealed(told)))
    with pytest.raises(BundleError, match="damaged: files tells of"):
        recsys.load(folder)


def test_a_manifest_with_odd_values_is_refused_by_key(folder: Path) -> None:
    told = json.loads((folder / "manifest.json").read_text())
    tried = refused = 0
    for path in [one for one in places(told) if one[0] != "sha256" and len(one) < 3]:
        for new in [*ODD, ...]:
            (folder / "manifest.json").write_text(json.dumps(manifest.sealed(changed(told, path, new))))
            tried += 1
            try:
                recsys.load(folder) if tried % 10 == 0 else manifest.verify(folder)
            except BundleError:
                refused += 1
    assert refused > tried / 3


def test_a_configuration_with_odd_values_is_refused_or_answers_as_before(
    made: tuple[Path, Retriever], folder: Path
) -> None:
    """Every key, one odd value each by chance; the script in ``tests/faults`` tries them all."""
    expected = made[1].recommend(["u1", "u7"], k=9)
    config = json.loads((folder / "config.json").read_text())
    chance = random.Random(0)  # noqa: S311
    tried = refused = 0
    for path in places(config):
        for new in [chance.choice(ODD), ...] if os.environ.get("RECSYS_LONG") is None else [*ODD, ...]:
            (folder / "config.json").write_text(json.dumps(changed(config, path, new)))
            sealed_anew(folder)
            tried += 1
            refused += answers_or_refuses(folder, expected)
            with contextlib.suppress(BundleError):
                describe.describe_text(describe.describe(folder))
    print(f"{tried} edits, {refused} refused")
    assert refused > tried / 4


@pytest.mark.parametrize(
    ("path", "new", "said"),
    [
        (("model",), [], r"config\.json: model must be a table of options, not \[\]"),
        (("model", "dim"), "wide", r"config\.json: model: dim must be"),
        (("model", "heads"), 4, "the user tower makes other vectors"),
        (("catalog", "trained_items"), 10**6, r"catalog\.trained_items is 1000000"),
        (("catalog", "text_columns"), ["nothing"], r"catalog\.text_columns names 'nothing'"),
        (("training", "seconds"), "long", r"training\.seconds must be a number of seconds"),
        (("event_names",), "view", "event_names must be a list of different names"),
        (("holdout",), ..., "it has no holdout"),
        (("gravity",), 9.81, r"a key that this recsys does not know \(gravity\)"),
    ],
)
def test_the_key_that_is_wrong_is_named(folder: Path, path: tuple, new: Any, said: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(changed(config, path, new)))
    sealed_anew(folder)
    with pytest.raises(BundleError, match=said):
        recsys.load(folder)


def test_parts_that_are_swapped_for_others_are_refused(made: tuple[Path, Retriever], folder: Path) -> None:
    """A file of each kind is cut, emptied, or another's, and hashed anew."""
    expected = made[1].recommend(["u1", "u7"], k=9)
    names = [file.name for file in folder.iterdir() if file.name != "manifest.json"]
    for name in names:
        good = (folder / name).read_bytes()
        others = [(folder / other).read_bytes() for other in names if other != name]
        for bad in [b"", good[: len(good) // 2], b"\0" * len(good), *others[:3]]:
            (folder / name).write_bytes(bad)
            sealed_anew(folder)
            assert answers_or_refuses(folder, expected), name
        (folder / name).write_bytes(good)
    sealed_anew(folder)
    assert not answers_or_refuses(folder, expected)


# Who may read it, and where it is written.


def test_a_bundle_is_as_readable_as_the_umask_says(made: tuple[Path, Retriever], tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        made[1].save(tmp_path / "run")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "run").rglob("*")}
    assert "index_rows.safetensors" in modes
    assert set(modes.values()) == {0o640}
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750


def test_saving_through_a_link_writes_into_its_target(made: tuple[Path, Retriever], tmp_path: Path) -> None:
    _, retriever = made
    retriever.save(tmp_path / "v1")
    (tmp_path / "run").symlink_to("v1")
    created = json.loads((tmp_path / "v1" / "manifest.json").read_text())["metrics"]
    retriever.save(tmp_path / "run", overwrite=True, metrics={"recall@10": 0.75})
    assert (tmp_path / "run").is_symlink()
    assert manifest.read_manifest(tmp_path / "v1")["metrics"] == {"recall@10": 0.75} != created
    assert recsys.load(tmp_path / "run").recommend("u1", k=3).height == 3
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(RecsysError, match="dangling is a symbolic link to nowhere, which is not there"):
        retriever.save(tmp_path / "dangling", overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling", "run", "v1"]


def test_who_is_killed_while_saving_leaves_the_old_bundle_or_the_new_and_the_next_writer_cleans_up(
    made: tuple[Path, Retriever], tmp_path: Path
) -> None:
    """One writer is really killed; before that, it keeps what a kill at each earlier moment would have left."""
    folder = Path(shutil.copytree(made[0], tmp_path / "run"))
    code = """
import os, shutil, sys, recsys
from recsys.core import files
retriever = recsys.load(sys.argv[1])
real, moment = files.sync, [0]
def sync(path):
    moment[0] += 1
    shutil.copytree(sys.argv[1], f"{sys.argv[2]}/{moment[0]}")
    if moment[0] == 14:
        os.kill(os.getpid(), 9)
    real(path)
files.sync = sync
retriever.save(sys.argv[1], overwrite=True)
"""
    (tmp_path / "moments").mkdir()
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "moments")], check=False)
    assert done.returncode == -9
    for left in ((tmp_path / "moments" / str(moment)) for moment in range(1, 15)):
        manifest.verify(left)
    assert recsys.load(folder).recommend("u1", k=3).height == 3
    assert len([entry.name for entry in tmp_path.iterdir() if "run" in entry.name]) > 1
    made[1].save(folder, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir() if "run" in entry.name] == ["run"]
