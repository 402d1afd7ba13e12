"""A store is the log that was saved: equal in every column, found in every id, refused where a byte is missing."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.core.id_hash import hash_ids
from recsys.core.sealed import sealed
from recsys.data.interactions import Interactions
from recsys.data.store import ids as stored_ids
from recsys.data.store.writer import store_writer
from recsys.errors import DataError
from tests.data.test_interactions import log
from tests.data.worlds import refused, small

some = settings(small, max_examples=10)
odd = ["a\0", "a\0\0", "a", "é" * 5000, "042", "42.0", "42", "x" * 10_000, "[1]", "\U0001f600"]
any_id = st.one_of(st.text(max_size=12).map("x".__add__), st.sampled_from(odd))


def columns_of(one: Interactions) -> list[np.ndarray | None]:
    return [one.histories.offsets, one.histories.rows, one.timestamps, one.weights, one.events]


def equal(one: Interactions, other: Interactions) -> None:
    for mine, theirs in zip(columns_of(one), columns_of(other), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
    assert one.users.same(other.users)
    assert one.items.same(other.items)
    told = [(log.event_names, log.ordered, log.order_column, log.ties, log.fingerprint) for log in (one, other)]
    assert told[0] == told[1]


@st.composite
def logs(draw: st.DrawFn) -> Interactions:
    count = draw(st.integers(1, 25))
    column = lambda values: draw(st.lists(values, min_size=count, max_size=count))  # noqa: E731
    users = draw(st.sampled_from([st.integers(-3, 3), any_id]))
    items = draw(st.sampled_from([st.integers(-(2**63), 2**63 - 1), any_id]))
    frame = pl.DataFrame({"user_id": column(users), "item_id": column(items)}, strict=False)
    unordered = draw(st.booleans())
    if not unordered and draw(st.booleans()):
        frame = frame.with_columns(pl.Series("timestamp", column(st.integers(0, 9))))
    if draw(st.booleans()):
        frame = frame.with_columns(pl.Series("weight", column(st.floats(0, 5, width=32))))
    if draw(st.booleans()):
        frame = frame.with_columns(pl.Series("event_type", column(st.sampled_from(["view", "buy", "ö"]))))
    made = Interactions.from_frame(frame, unordered=unordered)
    return made.with_items(pl.Series(["never touched"])) if draw(st.booleans()) else made


@some
@given(logs())
def test_a_store_is_the_log_in_memory(tmp_path_factory: pytest.TempPathFactory, made: Interactions) -> None:
    folder = tmp_path_factory.mktemp("store") / "log[1]"
    made.save(folder)
    opened = recsys.open_store(folder)
    assert opened.users.find_rows(made.users.ids[:3]).tolist() == list(range(min(3, len(made.users))))
    assert opened.items.to_ids(made.histories.rows[:5]).equals(made.items.to_ids(made.histories.rows[:5]))
    equal(opened, made)
    equal(recsys.random_split(made, validation=False).train, recsys.random_split(opened, validation=False).train) if (
        made.matrix().getnnz(axis=1).max() > 1
    ) else None
    assert (made.matrix() != opened.matrix()).nnz == 0
    for array in columns_of(opened):
        assert array is None or type(array) is np.ndarray


def test_splits_and_windows_of_a_store_are_those_of_the_log(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({
        "user_id": generator.integers(0, 30, 600), "item_id": generator.integers(0, 40, 600), "timestamp": np.arange(600),
    })  # fmt: skip
    made = Interactions.from_frame(frame)
    made.save(tmp_path / "log")
    opened = recsys.open_store(tmp_path / "log")
    for split in (recsys.leave_last_out, recsys.time_split, recsys.random_split):
        one, other = split(made), split(opened)
        equal(one.train, other.train)
        assert one.test.targets.to_lists() == other.test.targets.to_lists()
        assert one.validation.histories.to_lists() == other.validation.histories.to_lists()
    with pytest.raises(ValueError, match="read-only"):
        opened.histories.rows[0] = 1


@some
@given(st.lists(any_id, unique=True, min_size=1, max_size=20), st.lists(any_id, max_size=10))
def test_ids_are_found_on_disk_and_no_others(tmp_path_factory: pytest.TempPathFactory, known, asked) -> None:
    made = Interactions.from_frame(pl.DataFrame({"user_id": known, "item_id": ["i"] * len(known)}))
    folder = tmp_path_factory.mktemp("store") / "log"
    made.save(folder)
    assert recsys.open_store(folder).users.find_rows(asked).tolist() == made.users.find_rows(asked).tolist()


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_ids, "hash_ids", lambda ids: np.zeros(len(ids), dtype=np.uint64))
    Interactions.from_frame(pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["i"] * 3})).save(tmp_path / "log")
    assert recsys.open_store(tmp_path / "log").users.find_rows(["c", "x"]).tolist() == [2, -1]


def test_a_look_up_reads_no_other_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_ids, "_GROUP", 64)
    names = pl.Series(np.arange(5000)).cast(pl.String) + "x"
    Interactions.from_frame(pl.DataFrame({"user_id": names, "item_id": ["i"] * 5000})).save(tmp_path / "log")
    users = recsys.open_store(tmp_path / "log").users
    monkeypatch.setattr(stored_ids.StoredIds, "read", lambda self: pytest.fail("all ids were read"))
    assert users.find_rows(["4321x", "gone", None]).tolist() == [4321, -1, -1]
    assert users.to_ids(np.array([77, 4000], dtype=np.int32)).to_list() == ["77x", "4000x"]
    with pytest.raises(DataError, match="such as '0x', '1x', '2x'"):
        users.to_rows(["gone"])
    monkeypatch.undo()
    assert pickle.loads(pickle.dumps(users)).same(users)


def test_hashes_are_those_of_every_version() -> None:
    wanted = [4043504466283325091, 14926728488805250076, 17142164871261778134]
    assert hash_ids(pl.Series(["ann", "bob", "a\0"])).tolist() == wanted
    assert hash_ids(pl.Series([0, 1])).tolist() == [16294208416658607535, 10451216379200822465]


def test_an_open_store_outlives_its_folder(tmp_path: Path) -> None:
    made, other = log(), log(user_id=["new", "other", "new", "new"], item_id=["q", "q", "r", "q"])
    made.save(tmp_path / "log")
    opened = recsys.open_store(tmp_path / "log")
    other.save(tmp_path / "log", overwrite=True)
    equal(opened, made)
    equal(recsys.open_store(tmp_path / "log", verify=True), other)


def test_only_a_store_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "thesis.txt").write_text("years")
    with refused("is not a store, which is never overwritten"):
        log().save(tmp_path / "log", overwrite=True)
    (tmp_path / "log" / "thesis.txt").unlink()
    log().save(tmp_path / "log")
    (tmp_path / "log" / "thesis.txt").write_text("years")
    with refused("also holds thesis.txt"):
        log().save(tmp_path / "log", overwrite=True)


def test_what_is_cut_exchanged_or_newer_is_refused_without_reading_all(tmp_path: Path) -> None:
    log().save(tmp_path / "log")
    manifest = tmp_path / "log" / "manifest.json"
    told = json.loads(manifest.read_text())
    for changes, words in (({"format_version": 2}, "version 2"), ({"format": "else"}, "'else'"), ({"hash": "h"}, "hash")):
        manifest.write_text(json.dumps(sealed(told | changes)))
        with refused(words):
            recsys.open_store(tmp_path / "log")
    manifest.write_text(json.dumps(told | {"ties": "item"}))
    with refused("its own sha256 differs"):
        recsys.open_store(tmp_path / "log")
    manifest.write_text(json.dumps(told))
    for file in sorted(one for one in (tmp_path / "log").iterdir() if one != manifest):
        content = file.read_bytes()
        for wrong in (content[:-1], content + b"\0", b""):
            file.write_bytes(wrong)
            with refused(file.name, "is damaged"):
                recsys.open_store(tmp_path / "log")
        file.write_bytes(content)


def test_a_store_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    log().save(tmp_path / "log")
    for one in (tmp_path / "log", tmp_path):
        one.chmod(0o555)
    try:
        equal(recsys.open_store(tmp_path / "log", verify=True), log())
    finally:
        tmp_path.chmod(0o755)


def test_a_writer_gives_its_arrays_and_seals_what_fits(tmp_path: Path) -> None:
    made = log()
    with store_writer(tmp_path / "log", 9, times=True, weights=True) as writer:
        writer.rows[:4], writer.times[:4], writer.weights[:4] = made.histories.rows, made.timestamps, made.weights
        with refused("offsets tell of 10 events"):
            writer.seal(np.array([0, 3, 10]), made.users.ids, made.items.ids)
        writer.rows[0] = 7
        with refused("rows must be from 0 to", "7"):
            writer.seal(made.histories.offsets, made.users.ids, made.items.ids)
        writer.rows[0] = made.histories.rows[0]
        made.users.ids.to_frame().write_parquet(tmp_path / "users.parquet")
        writer.seal(made.histories.offsets, tmp_path / "users.parquet", made.items.ids, order_column="timestamp")
    equal(recsys.open_store(tmp_path / "log", verify=True), made)
    with refused("was not sealed"), store_writer(tmp_path / "other", 3):
        pass
    assert sorted(os.listdir(tmp_path)) == ["log", "users.parquet"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with refused("is being written by process"), store_writer(tmp_path / "log", 3):
        log().save(tmp_path / "log")


@some
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200), st.lists(st.integers(0, 2**64 - 1), max_size=9))
def test_hashes_are_found_where_their_value_tells(hashes: list[int], others: list[int]) -> None:
    ascending = np.sort(np.array(hashes, dtype=np.uint64))
    asked = np.array([*hashes[:9], *others, 0, 2**64 - 1], dtype=np.uint64)
    assert stored_ids._places(ascending, asked).tolist() == np.searchsorted(ascending, asked).tolist()
    close = np.arange(5000, dtype=np.uint64)  # not spread at all
    asked = np.array([0, 77, 4999, 9999], dtype=np.uint64)
    assert stored_ids._places(close, asked).tolist() == [0, 77, 4999, 5000]
