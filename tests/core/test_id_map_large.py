"""A lone look-up among many ids: right, and without a dict of all of them."""

import pickle
import tracemalloc

import numpy as np
import polars as pl
import pytest

from recsys.core import id_map
from recsys.core.id_map import IdMap


@pytest.mark.parametrize("ids", [np.arange(0, 900, 3), [f"user {n}" for n in range(300)]], ids=["numbers", "texts"])
def test_a_few_are_found_as_in_a_dict(ids: object, monkeypatch: pytest.MonkeyPatch) -> None:
    small = IdMap(pl.Series(ids), "user")
    asked = pl.concat([small.ids, small.ids.sample(50, seed=1), pl.Series(small.ids.name, [None, small.ids[0]])])
    expected = small.find_rows(asked)
    assert expected[:300].tolist() == list(range(300))
    monkeypatch.setattr(id_map, "_DICT", 0)
    assert IdMap(small.ids, "user").find_rows(asked).tolist() == expected.tolist()
    assert small.find_rows(["nobody", small.ids[7]]).tolist() == [-1, 7]


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_map, "_DICT", 0)
    alike = lambda series: pl.Series(np.zeros(len(series), dtype=np.uint64))  # noqa: E731
    monkeypatch.setattr(pl.Series, "hash", alike)
    assert IdMap(pl.Series(["a", "b", "c"]), "user").find_rows(["c", "x", "a"]).tolist() == [2, -1, 0]


def test_a_lone_look_up_among_many_makes_no_dict_and_none_is_pickled() -> None:
    users = IdMap(pl.Series(np.arange(300_000)).cast(pl.String) + "x", "user")
    tracemalloc.start()
    assert users.find_rows(["1234x", "gone"]).tolist() == [1234, -1]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40 * len(users)
    again = pickle.loads(pickle.dumps(users))
    assert len(pickle.dumps(again)) < 20 * len(users)
    assert again.find_rows(["7x"]).tolist() == [7]
