"""A store to which a log was appended is the store that reading all files together gives."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.core import files
from recsys.data.interactions import Interactions
from recsys.data.store import append as appending
from recsys.data.store.describe import describe
from recsys.errors import ConfigError
from tests.data.worlds import refused, small

some = settings(small, max_examples=8)
numbers, texts = st.integers(0, 4), st.sampled_from(["a", "b", "042", "42", "é\0", "x" * 100])


def histories(log: Interactions, *, shuffled: bool = False) -> dict[str, list]:
    """Raw user id → the events, as text: ids of a store are numbers or text as the whole log has them."""
    frame = log.frame().with_columns(pl.col("user_id", "item_id").cast(pl.String))
    found: dict[str, list] = {}
    for row in frame.iter_rows():
        found.setdefault(row[0], []).append(row[1:])
    return {user: sorted(own, key=str) if shuffled else own for user, own in found.items()}


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[pl.DataFrame], dict]:
    """Logs of the same columns, and how they are read."""
    timed, weighted, typed, unordered = (draw(st.booleans()) for _ in range(4))
    timed &= not unordered
    frames = []
    for names in draw(
        st.lists(st.sets(st.sampled_from(["view", "buy", "cart", "add"]), min_size=1), min_size=2, max_size=4)
    ):
        count = draw(st.integers(1, 12))
        column = lambda values: draw(st.lists(values, min_size=count, max_size=count))  # noqa: B023, E731
        frame = pl.DataFrame({
            "user_id": column(draw(st.sampled_from([numbers, texts]))),
            "item_id": column(draw(st.sampled_from([numbers, texts]))),
        })  # fmt: skip
        if timed:
            frame = frame.with_columns(pl.Series("timestamp", column(st.integers(0, 6))))
        if weighted:
            frame = frame.with_columns(pl.Series("weight", column(st.floats(0, 5, width=32))))
        if typed:
            frame = frame.with_columns(pl.Series("event_type", column(st.sampled_from(sorted(names)))))
        frames.append(frame)
    named = {name: name for name, one in (("weight", weighted), ("event_type", typed)) if one}
    how = {
        "weight": named.get("weight"),
        "event": named.get("event_type"),
        "unordered": unordered,
        "ties": draw(st.sampled_from(["file", "item"])) if timed else "file",
    }
    return frames, how


@pytest.mark.parametrize("share", [0.0, 100.0], ids=["compacted", "runs"])
@some
@given(given_=batches())
def test_append_equals_rebuild(tmp_path_factory: pytest.TempPathFactory, share: float, given_: tuple) -> None:
    frames, how = given_
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "_MOST", share)
        for module in (files, appending):
            patch.setattr(module, "sync", lambda place: None)  # hundreds of stores
        recsys.import_log(frames[0], folder / "grown", **how)
        columns = {name: how[name] for name in ("weight", "event")}
        seen = [describe(folder / "grown")["fingerprint"]]
        for frame in frames[1:]:
            before = recsys.open_store(folder / "grown")
            after = recsys.import_log(frame, folder / "grown", append=True, **columns)
            for mine, theirs in ((before.users, after.users), (before.items, after.items)):  # rows never change
                assert theirs.ids[: len(mine)].cast(pl.String).to_list() == mine.ids.cast(pl.String).to_list()
            seen.append(describe(folder / "grown")["fingerprint"])
    grown = recsys.open_store(folder / "grown", verify=True)
    rebuilt = recsys.import_log(frames, folder / "rebuilt", **how)
    assert histories(grown, shuffled=how["unordered"]) == histories(rebuilt, shuffled=how["unordered"])
    for mine, theirs in ((grown.users, rebuilt.users), (grown.items, rebuilt.items)):
        assert mine.dtype == theirs.dtype
        assert mine.ids.to_list() == theirs.ids.to_list()  # both by first appearance
        assert mine.find_rows(theirs.ids[-1:]).tolist() == [len(theirs) - 1]
    assert (grown.event_names, grown.ordered, grown.ties) == (rebuilt.event_names, rebuilt.ordered, rebuilt.ties)
    facts = describe(folder / "grown")
    assert len(set(seen)) == len(frames)
    assert [one["fingerprint"] for one in facts["imports"]] == seen
    assert facts["runs"] == (0 if share == 0 else len(frames) - 1)
    assert recsys.open_store(folder / "grown").fingerprint == grown.fingerprint


def frame(users: list, items: list, times: list) -> pl.DataFrame:
    return pl.DataFrame({"user_id": users, "item_id": items, "timestamp": times})


OLD = frame(["ann", "ann", "bob"], ["x", "y", "x"], [10, 30, 10])


def test_a_store_with_runs_is_merged_when_an_event_is_looked_at(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"] * 50, "item_id": range(100), "timestamp": range(100), "stars": [1.5] * 100})
    for name, rows in (("old", frame[:95]), ("new", frame[95:])):
        rows.write_parquet(tmp_path / f"{name}.parquet")
    recsys.import_log(tmp_path / "old.parquet", tmp_path / "s", weight="stars")
    recsys.import_log(tmp_path / "new.parquet", tmp_path / "s", weight="stars", append=True)
    assert describe(tmp_path / "s")["runs"] == 1
    log = recsys.open_store(tmp_path / "s")
    assert (len(log), len(log.users), log.histories.lengths.tolist()) == (100, 2, [50, 50])
    assert repr(log.histories) == "Ragged(2 lists, 100 rows, times)"
    assert not {"rows", "times", "whole"} & vars(log.histories).keys()
    assert "weights" not in vars(log)
    again = pickle.loads(pickle.dumps(log))
    whole = recsys.read_interactions(frame, weight="stars")
    for one in (log, again, replace(log, ties="item")):
        assert one.fingerprint == whole.fingerprint
        assert one.weights.tolist() == [1.5] * 100
    assert replace(log.histories, times=None).timed is False
    recsys.open_store(tmp_path / "s").save(tmp_path / "saved")
    assert recsys.Interactions.load(tmp_path / "saved").fingerprint == whole.fingerprint


def test_late_events_find_their_place_and_are_counted(tmp_path: Path) -> None:
    recsys.import_log(OLD, tmp_path / "s")
    new = frame(["ann", "ann", "cy", "ann"], ["z", "q", "x", "p"], [20, 40, 1, 30])
    log = recsys.import_log(new, tmp_path / "s", append=True)
    assert histories(log)["ann"] == [("x", 10), ("z", 20), ("y", 30), ("p", 30), ("q", 40)]
    assert log.users.ids.to_list() == ["ann", "bob", "cy"]
    facts = describe(tmp_path / "s")
    assert [(one["events"], one["users"], one["items"], one["late"]) for one in facts["imports"]] == [
        (3, 2, 2, 0),
        (4, 1, 3, 1),
    ]


def test_a_file_that_is_appended_twice_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    OLD.write_parquet(tmp_path / "log.parquet")
    recsys.import_log(tmp_path / "log.parquet", tmp_path / "s")
    assert len(recsys.import_log(tmp_path / "log.parquet", tmp_path / "s", append=True)) == 6
    assert "was already given log.parquet with as many events" in caplog.text


def test_an_open_log_does_not_change_when_its_store_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recsys.import_log(OLD, tmp_path / "s")
    for share in (9.0, 0.0):
        monkeypatch.setattr(appending, "_MOST", share)
        recsys.import_log(frame(["new"], ["w"], [5]), tmp_path / "s", append=True)
        assert before.users.ids.to_list() == ["ann", "bob"]
        assert len(before) == 3


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    recsys.import_log(OLD.with_columns(weight=1.0), tmp_path / "s", weight="weight")
    kept = {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()}
    with refused("has weights", "weight="):
        recsys.import_log(OLD, tmp_path / "s", append=True)
    with refused("has times", "timestamp="):
        recsys.import_log(OLD.drop("timestamp").with_columns(weight=1.0), tmp_path / "s", append=True, weight="weight")
    with refused("has an order", "--unordered"):
        recsys.import_log(
            OLD.drop("timestamp").with_columns(weight=1.0), tmp_path / "s", append=True, weight="weight", unordered=True
        )
    with refused("event types", "leave them out"):
        recsys.import_log(
            OLD.with_columns(weight=1.0, event_type=pl.lit("a")),
            tmp_path / "s",
            append=True,
            weight="weight",
            event="event_type",
        )
    with refused("ties by file", "give ties='file'"):
        recsys.import_log(OLD.with_columns(weight=1.0), tmp_path / "s", append=True, weight="weight", ties="item")
    with refused("is not a store", "no such folder"):
        recsys.import_log(OLD, tmp_path / "other", append=True)
    with refused("exclude each other", error=ConfigError):
        recsys.import_log(OLD, tmp_path / "s", append=True, overwrite=True)
    with refused("already holds something"):
        recsys.import_log(OLD, tmp_path / "s")
    assert {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()} == kept
    recsys.import_log(OLD, tmp_path / "n", order="timestamp")
    ordered = OLD.rename({"timestamp": "n"})
    recsys.import_log(ordered, tmp_path / "ordered", order="n")
    with refused("ordered by the column 'n'", "import all files together"):
        recsys.import_log(ordered, tmp_path / "ordered", append=True, order="n")


def test_many_small_appends_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "_MOST_RUNS", 3)
    monkeypatch.setattr(appending, "_MOST", 9.0)
    recsys.import_log(frame(["a"] * 200, list(range(200)), list(range(200))), tmp_path / "s")
    runs = []
    for number in range(5):
        recsys.import_log(frame([f"u{number}"], ["i"], [number]), tmp_path / "s", append=True)
        runs.append(describe(tmp_path / "s")["runs"])
    assert runs == [1, 2, 3, 0, 1]
    assert Counter(recsys.open_store(tmp_path / "s", verify=True).histories.lengths.tolist()) == Counter([200] + [1] * 5)


def test_users_without_events_and_empty_histories_stay(tmp_path: Path) -> None:
    log = Interactions.from_frame(OLD)
    log.select(np.array([True, True, False])).save(tmp_path / "s")
    grown = recsys.import_log(frame(["cy"], ["x"], [3]), tmp_path / "s", append=True)
    assert grown.histories.to_lists() == [[0, 1], [], [0]]
    assert recsys.import_log(frame(["bob"], ["y"], [2]), tmp_path / "s", append=True).histories.to_lists() == [
        [0, 1],
        [1],
        [0],
    ]


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    recsys.import_log(frame(["a"] * 50, list(range(50)), list(range(50))), tmp_path / "s")
    recsys.import_log(frame(["a"], [1], [1]), tmp_path / "s", append=True)
    file = next((tmp_path / "s" / "runs").rglob("rows.npy"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\1")
    with refused("rows.npy is damaged"):
        recsys.open_store(tmp_path / "s", verify=True)
    file.unlink()
    with refused("rows.npy is missing"):
        recsys.open_store(tmp_path / "s")
