"""A fit proves where it writes before anything costly, overwrites no checkpoint unasked, and has its places to itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import CheckpointError, ConfigError, DataError
from recsys.training import trainer as fitting
from recsys.training.checkpoint import FILE
from tests.training.test_resume import EVERYTHING, assert_same, contents, fit, model

pytestmark = pytest.mark.usefixtures("no_forecast")
QUICK = replace(EVERYTHING, epochs=1)


@pytest.fixture
def nothing_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the costly part has begun")

    monkeypatch.setattr("recsys.training.prepare.prepare", fail)


@pytest.mark.usefixtures("nothing_costly")
@pytest.mark.parametrize(
    ("places", "says"),
    [
        ({"checkpoint": "/proc/nowhere"}, "the place of the checkpoints /proc/nowhere cannot be written"),
        ({"log_folder": "/proc/nowhere"}, "the place of the curves /proc/nowhere cannot be written"),
        ({"log_folder": "file"}, "the place of the curves .*file is a file"),
        ({"checkpoint": "file/below"}, "file is a file, so there can be no folder in it"),
        ({"checkpoint": "dangling"}, "is a symbolic link to"),
        ({"checkpoint": "x" * 255}, "has 255 bytes"),
        ({"checkpoint": "a", "log_folder": "a"}, "of the same run into it"),
        ({"checkpoint": "a/b", "log_folder": "a"}, "of the same run into it"),
        ({"checkpoint": "a", "resume": True, "overwrite": True}, "choose one"),
        ({"resume": True}, "needs the folder of a checkpoint"),
        ({"checkpoint": "a", "training": {"epochs": 3}}, "training must be a Training, not a dict"),
        ({"objective": "bpr"}, "objective must be an Objective, not the text 'bpr'"),
    ],
)
def test_an_impossible_place_is_told_before_anything_costly(
    places: dict[str, Any], says: str, ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=says):
        model().fit(ring_split.train, **places)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["dangling", "file"]


def test_too_little_room_for_a_checkpoint_is_told_before_training(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_LEAST_FREE", 2**60)
    with pytest.raises(ConfigError, match="MiB are free there and about .* are needed"):
        fit(ring_split, ring_catalog, tmp_path / "run", QUICK)
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_of_an_earlier_run_is_not_overwritten_unasked(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path
) -> None:
    first = fit(ring_split, ring_catalog, tmp_path / "run", QUICK)
    before = (tmp_path / "run" / FILE).read_bytes()
    with pytest.raises(CheckpointError, match=r"holds the checkpoint of an earlier run; continue it with resume=True"):
        fit(ring_split, ring_catalog, tmp_path / "run", QUICK)
    assert (tmp_path / "run" / FILE).read_bytes() == before
    assert_same(first, fit(ring_split, ring_catalog, tmp_path / "run", QUICK, resume=True))
    other = replace(QUICK, seed=5)
    again = fit(ring_split, ring_catalog, tmp_path / "run", other, overwrite=True)
    assert not np.array_equal(again.vectors, first.vectors)
    assert contents(tmp_path / "run")[1] != contents_of_bytes(before, tmp_path)[1]


def contents_of_bytes(data: bytes, folder: Path) -> Any:
    (folder / "before").mkdir()
    (folder / "before" / FILE).write_bytes(data)
    return contents(folder / "before")


def test_two_fits_do_not_share_a_checkpoint(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    refused = []

    def second(_: object) -> None:
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises((DataError, CheckpointError)) as caught:
                fit(ring_split, ring_catalog, tmp_path / "run", QUICK, **options)
            refused.append(str(caught.value))

    training = replace(QUICK, epochs=2, checkpoint_steps=1)
    fit(ring_split, ring_catalog, tmp_path / "run", training, on_epoch=second)
    assert len(refused) == 6
    assert all("is being written by process" in told or "holds the checkpoint" in told for told in refused)
    assert sum("is being written by process" in told for told in refused) >= 4
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run"]


def test_a_fit_from_a_broken_start_leaves_its_places_free(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="devices=2"):
        fit(ring_split, ring_catalog, tmp_path / "run", replace(QUICK, devices=2))
    fit(ring_split, ring_catalog, tmp_path / "run", QUICK)


def test_options_of_numpy_train_and_are_kept(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    training = Training(epochs=np.int64(1), batch_tokens=np.int32(64), learning_rate=np.float32(0.05), device="cpu")
    own: dict[str, Any] = {"dim": np.int64(16), "max_length": np.uint8(8), "dropout": np.float32(0.25)}
    fitted = fit(ring_split, ring_catalog, tmp_path / "run", training, model=model(**own))
    fitted.retriever().save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "config.json").is_file()
