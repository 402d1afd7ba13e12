"""Every public function says what to pass where it is given something of another kind, before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.data.interactions import Interactions
from recsys.errors import RecsysError
from recsys.evaluation.metrics import PER_USER

FRAME = pl.DataFrame(
    [(f"u{user}", f"i{(user + step) % 7}", step) for user in range(20) for step in range(6)],
    schema=["user_id", "item_id", "timestamp"],
    orient="row",
)
LOG = Interactions.from_frame(FRAME)
SPLIT = recsys.leave_last_out(LOG)
ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(7)], "title": list("abcdefg")})
LISTS = FRAME.with_columns(rank="timestamp")
CATALOG = recsys.Catalog.from_frame(ITEMS, text=["title"])
QUICK = recsys.Training(epochs=1, device="cpu")


def generator() -> Iterator[int]:
    yield 1


WRONG: dict[str, Callable[[], Any]] = {
    "a split": lambda: SPLIT,
    "a path": lambda: "log.csv",
    "a frame": lambda: FRAME,
    "nothing": lambda: None,
    "a list": lambda: [LOG],
    "a holdout": lambda: SPLIT.test,
    "a generator": generator,
    "a number": lambda: 3.5,
    "a dict": lambda: {"a": 1},
    "an array without dimension": lambda: np.array(3),
    "a truth value": lambda: True,
}


def small() -> recsys.TwoTower:
    return recsys.TwoTower(encoder=None, dim=8, max_length=8)


def popularity() -> recsys.Popularity:
    return recsys.Popularity().fit(SPLIT.train)


def other() -> recsys.EASE:
    return recsys.EASE().fit(SPLIT.train)


BORDERS: dict[str, tuple[Callable[[Any], object], tuple[str, ...]]] = {
    "TwoTower.fit(train)": (lambda x: small().fit(x, training=QUICK), ()),
    "TwoTower.fit(catalog)": (lambda x: small().fit(SPLIT.train, x, training=QUICK), ("nothing",)),
    "TwoTower.fit(validation)": (lambda x: small().fit(LOG, validation=x, training=QUICK), ("nothing", "a holdout")),
    "TwoTower.fit(training)": (lambda x: small().fit(SPLIT.train.select(np.arange(80) < 4), training=x), ("nothing",)),
    "TwoTower.fit(objective)": (lambda x: small().fit(SPLIT.train, training=QUICK, objective=x), ("nothing",)),
    "TwoTower.fit(augment)": (lambda x: small().fit(SPLIT.train, training=QUICK, augment=x), ("nothing",)),
    "TwoTower.fit(users)": (lambda x: small().fit(SPLIT.train, training=QUICK, users=x), ("nothing",)),
    "TwoTower.fit(log_folder)": (lambda x: small().fit(SPLIT.train, training=QUICK, log_folder=x), ("nothing", "a path")),
    "TwoTower.fit(checkpoint)": (lambda x: small().fit(SPLIT.train, training=QUICK, checkpoint=x), ("nothing", "a path")),
    "TwoTower.fit(on_epoch)": (lambda x: small().fit(SPLIT.train, training=QUICK, on_epoch=x), ("nothing",)),
    "Popularity.fit(train)": (lambda x: recsys.Popularity().fit(x), ()),
    "Popularity.fit(catalog)": (lambda x: recsys.Popularity().fit(SPLIT.train, x), ("nothing",)),
    "EASE.fit(train)": (lambda x: recsys.EASE().fit(x), ()),
    "ItemKNN.fit(train)": (lambda x: recsys.ItemKNN().fit(x), ()),
    "Transitions.fit(train)": (lambda x: recsys.Transitions().fit(x), ()),
    "Transitions(kind)": (lambda x: recsys.Transitions(x), ()),
    "ALS.fit(train)": (lambda x: recsys.ALS(factors=2).fit(x), ()),
    "BPR.fit(train)": (lambda x: recsys.BPR(factors=2).fit(x), ()),
    "ZeroShot.fit(train)": (lambda x: recsys.ZeroShot().fit(x, CATALOG), ()),
    "ZeroShot.fit(catalog)": (lambda x: recsys.ZeroShot().fit(SPLIT.train, x), ()),
    "ItemKNN(neighbours)": (lambda x: recsys.ItemKNN(x), ()),
    "EASE(regularisation)": (lambda x: recsys.EASE(x), ("a number",)),
    "ALS(factors)": (lambda x: recsys.ALS(x), ()),
    "BPR(seed)": (lambda x: recsys.BPR(seed=x), ()),
    "evaluate(model)": (lambda x: recsys.evaluate(x, SPLIT.test), ()),
    "evaluate(holdout)": (lambda x: recsys.evaluate(popularity(), x), ("a holdout",)),
    "evaluate(k)": (lambda x: recsys.evaluate(popularity(), SPLIT.test, x), ("a generator",)),
    "evaluate(catalog)": (lambda x: recsys.evaluate(popularity(), SPLIT.test, catalog=x), ("nothing",)),
    "evaluate(category)": (lambda x: recsys.evaluate(popularity(), SPLIT.test, catalog=CATALOG, category=x), ("nothing",)),
    "evaluate(eligible)": (
        lambda x: recsys.evaluate(popularity(), SPLIT.test, eligible=x),
        ("nothing", "a generator"),
    ),
    "evaluate(filter_seen)": (
        lambda x: recsys.evaluate(popularity(), SPLIT.test, filter_seen=x),
        ("nothing", "a truth value"),
    ),
    "evaluate(allow_leakage)": (
        lambda x: recsys.evaluate(popularity(), SPLIT.test, allow_leakage=x),
        ("a truth value",),
    ),
    "evaluate(block)": (lambda x: recsys.evaluate(popularity(), SPLIT.test, block=x), ()),
    "evaluate_frame(recommendations)": (lambda x: recsys.evaluate_frame(x, LOG), ()),
    "evaluate_frame(truth)": (lambda x: recsys.evaluate_frame(LISTS, x), ("a frame", "a holdout")),
    "evaluate_frame(history)": (lambda x: recsys.evaluate_frame(LISTS, LOG, history=x), ("nothing",)),
    "evaluate_frame(catalog)": (lambda x: recsys.evaluate_frame(LISTS, LOG, catalog=x), ("nothing",)),
    "evaluate_frame(category)": (
        lambda x: recsys.evaluate_frame(LISTS, LOG, catalog=CATALOG, category=x),
        ("nothing",),
    ),
    "evaluate_frame(k)": (lambda x: recsys.evaluate_frame(LISTS, LOG, k=x), ("a generator",)),
    "compare(models)": (lambda x: recsys.compare(x, SPLIT.test), ()),
    "compare(one of models)": (lambda x: recsys.compare([popularity(), x], SPLIT.test), ()),
    "compare(holdout)": (lambda x: recsys.compare([popularity(), other()], x), ("a holdout",)),
    "compare(metric)": (lambda x: recsys.compare([popularity(), other()], SPLIT.test, metric=x), ()),
    "leave_last_out(log)": (lambda x: recsys.leave_last_out(x), ()),
    "leave_last_out(validation)": (lambda x: recsys.leave_last_out(LOG, validation=x), ("a truth value",)),
    "time_split(log)": (lambda x: recsys.time_split(x), ()),
    "time_split(quantile)": (lambda x: recsys.time_split(LOG, quantile=x), ()),
    "random_split(log)": (lambda x: recsys.random_split(x), ()),
    "random_split(seed)": (lambda x: recsys.random_split(LOG, seed=x), ()),
    "user_split(log)": (lambda x: recsys.user_split(x), ()),
    "user_split(users)": (lambda x: recsys.user_split(LOG, users=x), ()),
    "user_split(fold_in)": (lambda x: recsys.user_split(LOG, fold_in=x), ()),
    "user_split(random)": (lambda x: recsys.user_split(LOG, random=x), ("a truth value",)),
    "item_split(log)": (lambda x: recsys.item_split(x), ()),
    "item_split(share)": (lambda x: recsys.item_split(LOG, share=x), ()),
    "item_split(min_count)": (lambda x: recsys.item_split(LOG, min_count=x), ()),
    "rolling_splits(log)": (lambda x: recsys.rolling_splits(x), ()),
    "rolling_splits(windows)": (lambda x: recsys.rolling_splits(LOG, windows=x), ()),
    "rolling_splits(horizon)": (lambda x: recsys.rolling_splits(LOG, horizon=x), ()),
    "read_interactions(source)": (lambda x: recsys.read_interactions(x), ("a frame",)),
    "read_catalog(source)": (lambda x: recsys.read_catalog(x), ()),
    "read_user_table(source)": (lambda x: recsys.read_user_table(x, categorical=["a"]), ()),
    "Interactions.from_frame(frame)": (lambda x: Interactions.from_frame(x), ("a frame",)),
    "Interactions.load(folder)": (lambda x: Interactions.load(x), ()),
    "Interactions.k_core(user_min)": (lambda x: LOG.k_core(user_min=x), ()),
    "Interactions.select(keep)": (lambda x: LOG.select(x), ()),
    "Interactions.with_items(ids)": (lambda x: LOG.with_items(x), ("a generator",)),
    "Interactions.weighted_by_event(weights)": (lambda x: LOG.weighted_by_event(x), ()),
    "Catalog.from_frame(frame)": (lambda x: recsys.Catalog.from_frame(x, text=["title"]), ()),
    "Catalog.from_frame(text)": (lambda x: recsys.Catalog.from_frame(ITEMS, text=x), ()),
    "Recipe.read(file)": (lambda x: recsys.Recipe.read(x), ("nothing",)),
    "Recipe.read(model)": (lambda x: recsys.Recipe.read(model=x), ()),
    "load(folder)": (lambda x: recsys.load(x), ()),
}


@pytest.mark.parametrize("border", BORDERS)
def test_what_is_of_another_kind_is_refused_with_a_plain_error(
    border: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, right = BORDERS[border]
    for what, make in WRONG.items():
        if what not in right:
            with pytest.raises(RecsysError) as refused:
                call(make())
            assert str(refused.value), (border, what)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [SPLIT, "log.csv", FRAME])
def test_the_likely_slips_are_told_what_to_pass(wrong: Any) -> None:
    with pytest.raises(
        RecsysError, match=r"train must be an Interactions, not .*; pass recsys\.read_interactions\(file\).*"
    ):
        small().fit(wrong)
    with pytest.raises(RecsysError, match=r"the \.train of a split"):
        recsys.Popularity().fit(wrong)
    with pytest.raises(RecsysError, match=r"holdout must be a Holdout, not .*; pass the \.test or \.validation of a split"):
        recsys.evaluate(popularity(), wrong)


def test_a_frame_in_the_place_of_a_file_is_read() -> None:
    assert recsys.read_interactions(FRAME).fingerprint == LOG.fingerprint
    assert recsys.read_catalog(ITEMS, text=["title"]).texts.equals(CATALOG.texts)


def test_a_generator_of_paths_is_read_once_and_whole(tmp_path: Path) -> None:
    for month in (1, 2):
        folder = tmp_path / "log" / f"month={month}"
        folder.mkdir(parents=True)
        FRAME.write_csv(folder / "part.csv")
    folders = (tmp_path / "log" for _ in range(1))
    log = recsys.read_interactions(folders, event="month")  # type: ignore[arg-type]
    assert log.event_names == ("1", "2")
    assert len(log) == 2 * FRAME.height


def test_every_metric_of_accuracy_may_be_compared_by() -> None:
    for metric in PER_USER:
        assert recsys.compare([popularity(), other()], SPLIT.test, metric=f"{metric}@10").metric == f"{metric}@10"
