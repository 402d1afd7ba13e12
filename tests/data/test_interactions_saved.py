"""A saved log comes back equal or is refused, and its fingerprint changes with everything that it holds."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from tests.data.test_interactions import FRAME, log, same
from tests.data.worlds import events_lists, log_of, refused, small, timeless


def test_a_saved_log_comes_back_equal(tmp_path: Path):
    whole = log().with_items(pl.Series(["never touched"]))
    for made in (whole, timeless(whole), dataclasses.replace(whole, weights=None)):
        folder = tmp_path / f"{made.timestamps is None}{made.weights is None}"
        made.save(folder)
        loaded = Interactions.load(folder)
        assert same(loaded, made)
        assert loaded.fingerprint == made.fingerprint
        optional = [name for name, one in (("times", made.timestamps), ("weights", made.weights)) if one is not None]
        ids = [f"{kind}.{name}" for kind in ("items", "users") for name in ("hashes.npy", "parquet", "rows.npy")]
        names = ["manifest.json", "offsets.npy", "rows.npy", *ids, *(f"{name}.npy" for name in optional)]
        assert sorted(os.listdir(folder)) == sorted(names)


@small
@given(events_lists, st.booleans())
def test_saving_keeps_users_without_events_and_any_ids(tmp_path_factory, events, as_text):
    made = log_of([(f"{user:03}" if as_text else user, item, time) for user, item, time in events])
    made = made.select(np.arange(len(made)) % 2 == 0)
    folder = tmp_path_factory.mktemp("log") / "saved"
    made.save(folder)
    assert Interactions.load(folder).fingerprint == made.fingerprint
    assert Interactions.load(folder).histories.to_lists() == made.histories.to_lists()


def test_saving_overwrites_nothing(tmp_path: Path):
    log().save(tmp_path / "saved")
    with refused(tmp_path / "saved", "already holds something", "name a new folder"):
        log(weight=[9.0] * 4).save(tmp_path / "saved")
    assert Interactions.load(tmp_path / "saved").fingerprint == log().fingerprint
    assert os.listdir(tmp_path) == ["saved"]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = pl.DataFrame.write_parquet

    def full(frame: pl.DataFrame, file: Path, **how: object) -> None:
        if file.name == "items.parquet":
            raise OSError("no space left on device")
        write(frame, file, **how)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="no space left"):
        log().save(tmp_path / "saved")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["rows.npy", "users.parquet", "items.parquet", "items.hashes.npy", "manifest.json"])
def test_a_missing_or_half_written_file_is_refused(tmp_path: Path, name):
    log().save(tmp_path / "saved")
    file = tmp_path / "saved" / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")
    file.unlink()
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with refused(tmp_path / "nowhere", "does not hold saved interactions"):
        Interactions.load(tmp_path / "nowhere")


def test_foreign_files_of_the_same_names_are_refused(tmp_path: Path):
    for name in ("events", "users", "items"):
        pl.DataFrame({"x": [1]}).write_parquet(tmp_path / f"{name}.parquet")
    with refused(tmp_path, "is not a store", "saved by an older version", "save or import it"):
        Interactions.load(tmp_path)


def test_files_of_two_different_logs_are_refused(tmp_path: Path):
    log().save(tmp_path / "one")
    log(item_id=["b", "a", "a", "b"]).save(tmp_path / "two")
    (tmp_path / "one" / "rows.npy").replace(tmp_path / "two" / "rows.npy")
    with refused(tmp_path / "two", "rows.npy is damaged"):
        Interactions.load(tmp_path / "two")


def test_events_that_were_reordered_after_saving_are_refused(tmp_path: Path):
    log().save(tmp_path / "saved")
    file = tmp_path / "saved" / "rows.npy"
    np.save(file, np.load(file)[::-1], allow_pickle=False)
    with refused(tmp_path / "saved", "rows.npy is damaged"):
        Interactions.load(tmp_path / "saved")


def test_equal_logs_have_equal_fingerprints():
    assert log().fingerprint == log(FRAME.clone()).fingerprint
    assert log(user_id=[1, 2, 1, 1]).fingerprint == log(user_id=["1", "2", "1", "1"]).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ["u", "w", "u", "u"]},
        {"item_id": ["a", "a", "c", "a"]},
        {"item_id": ["a", "a", "b", "b"]},
        {"timestamp": [3, 1, 2, 5]},
        {"weight": [1.0, 2.0, 0.5, 0.75]},
        {"order": [4, 3, 2, 1]},
    ],
    ids=str,
)
def test_any_change_of_value_changes_the_fingerprint(change):
    assert log(**change).fingerprint != log().fingerprint


def test_any_change_of_shape_changes_the_fingerprint():
    made = log()
    variants = [
        made,
        timeless(made),
        dataclasses.replace(made, weights=None),
        dataclasses.replace(timeless(made), weights=None),
        made.with_items(pl.Series(["c"])),
        made.select(np.array([True, True, True, False])),
        log(FRAME[[1, 0, 2, 3]]),
        log(FRAME.head(3)),
    ]
    assert len({one.fingerprint for one in variants}) == len(variants)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((["a", "bc"], ["d", "d"]), (["a", "b"], ["cd", "cd"])),
        ((["a", "bc"], ["d", "d"]), (["ab", "c"], ["d", "d"])),
        ((["a\nb", "c"], ["d", "d"]), (["a", "b\nc"], ["d", "d"])),
    ],
)
def test_ids_that_only_run_together_alike_have_different_fingerprints(one, other):
    prints = {Interactions.from_frame(pl.DataFrame({"user_id": u, "item_id": i})).fingerprint for u, i in (one, other)}
    assert len(prints) == 2


def test_a_folder_whose_name_looks_like_a_pattern_is_read_as_the_name(tmp_path: Path):
    log_of([(1, 1, 1)]).save(tmp_path / "log1")
    log_of([(2, 2, 2)]).save(tmp_path / "log[1]")
    assert Interactions.load(tmp_path / "log[1]").users.ids.to_list() == [2]
