"""Lists of other systems are read as they are written, or refused with a remedy; nothing is dropped silently."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from recsys.data.recommendations import Recommendations, read_recommendations
from recsys.errors import ConfigError, DataError


def frame(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns, strict=False)


def as_ids(found: Recommendations) -> dict[object, list[object]]:
    lists = [found.items.to_ids(found.lists[row]).to_list() for row in range(len(found.lists))]
    return dict(zip(found.users.ids.to_list(), lists, strict=True))


WANTED = {1: ["b", "a"], 2: ["c"]}
LIKED: dict[str, pl.DataFrame] = {
    "ranks from 1, as RecTools writes them": frame(
        user_id=[1, 1, 2], item_id=["b", "a", "c"], score=[0.9, 0.5, 0.1], rank=[1, 2, 1]
    ),
    "ranks from 0, a user's rows apart": frame(user_id=[1, 2, 1], item_id=["a", "c", "b"], rank=[1, 0, 0]),
    "ranks as text": frame(user_id=["1", "2", "1"], item_id=["a", "c", "b"], rank=["2", "1", "1"]),
    "scores": frame(user_id=[1, 2, 1], item_id=["a", "c", "b"], score=[-3.0, 0.0, 2.5]),
    "whole scores": frame(user_id=[1, 2, 1], item_id=["a", "c", "b"], score=[-(2**63), 0, 2**63 - 1]),
    "lists": frame(user_id=[1, 2, 3], item_id=[["b", "a"], ["c"], []]),
}


@pytest.mark.parametrize("written", LIKED)
def test_lists_are_read_as_any_system_writes_them(written: str) -> None:
    assert as_ids(read_recommendations(LIKED[written])) == WANTED


def test_files_are_one_table_and_ids_of_two_kinds_become_text(tmp_path: Path) -> None:
    LIKED["scores"].write_csv(tmp_path / "a.csv")
    frame(user_id=["x", "1"], item_id=["a", "z"], score=[1, 9]).write_parquet(tmp_path / "b.parquet")
    assert as_ids(read_recommendations(tmp_path)) == {"1": ["z", "b", "a"], "2": ["c"], "x": ["a"]}


def test_equal_scores_stay_in_the_order_of_the_rows_and_are_told() -> None:
    found = read_recommendations(frame(user_id=[1, 1, 2, 2, 1], item_id=list("dcabe"), score=[1, 1, 2, 3, 1]))
    assert as_ids(found) == {1: ["d", "c", "e"], 2: ["b", "a"]}
    assert found.tied.tolist() == [True, False]


def test_a_named_score_wins_over_ranks_which_else_order_the_list(caplog: pytest.LogCaptureFixture) -> None:
    given = frame(user_id=[1, 1], item_id=["a", "b"], rank=[1, 2], score=["0.1", "0.2"])
    with caplog.at_level(logging.WARNING, "recsys"):
        assert as_ids(read_recommendations(given)) == {1: ["a", "b"]}
    assert "in 1 of 1 lists of the recommendations a score rises with the rank" in caplog.text
    assert as_ids(read_recommendations(given, score="score")) == {1: ["b", "a"]}


REFUSED: dict[str, tuple[pl.DataFrame, str]] = {
    "neither rank nor score": (
        frame(user_id=[1], item_id=["a"], place=[1]),
        "neither a column 'rank' nor .* rank= .--rank",
    ),
    "no item column": (frame(user_id=[1], rank=[1]), "no column 'item_id'"),
    "an item twice": (frame(user_id=[1, 1], item_id=["a", "a"], rank=[1, 2]), "'a' more than once for the user 1 .1 of 2"),
    "padding twice": (frame(user_id=[1, 1], item_id=[-1, -1], score=[1, 1]), "implicit and FAISS fill up .* remove these"),
    "implicit's filter": (frame(user_id=[1], item_id=[5], score=[-3.4028235e38]), "row 1 .* implicit marks an item"),
    "equal ranks": (frame(user_id=[1, 1], item_id=["a", "b"], rank=[1, 1]), "two items of the rank 1 for the user 1"),
    "a gap": (frame(user_id=[1, 1], item_id=["a", "b"], rank=[1, 3]), "the rank 3 where 2 is expected for the user 1"),
    "begins late": (frame(user_id=[1], item_id=["a"], rank=[2]), "the rank 2 where 1 is expected"),
    "from 0 and 1": (frame(user_id=[1, 2], item_id=["a", "b"], rank=[0, 1]), "rank 1 where 0 is expected .some user's"),
    "a fraction": (frame(user_id=[1], item_id=["a"], rank=[1.5]), "the rank 1.5 where 1 is expected"),
    "no rank": (frame(user_id=[1, 1], item_id=["a", "b"], rank=[1, None]), "1 of 2 rows has no value, the first is row 2"),
    "NaN": (frame(user_id=[1, 1], item_id=["a", "b"], score=[1.0, float("nan")]), "row 2 is nan, expected a finite number"),
    "no id": (frame(user_id=[1, None], item_id=["a", "b"], rank=[1, 2]), "column 'user_id': 1 of 2 rows has no value"),
    "words": (frame(user_id=[1], item_id=["a"], score=["good"]), "row 1 is 'good', expected a finite number"),
    "no rows": (frame(user_id=[], item_id=[], rank=[]), "no rows"),
    "empty lists": (pl.DataFrame({"user_id": [1], "item_id": [[]]}), "every list of the column 'item_id' is empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_a_list_is_refused_with_the_remedy(what: str) -> None:
    given, said = REFUSED[what]
    with pytest.raises(DataError, match=said):
        read_recommendations(given)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="either rank= .* or score="):
        read_recommendations(LIKED["scores"], rank="rank", score="score")
    with pytest.raises(ConfigError, match="item= and rank= both name the column 'item_id'"):
        read_recommendations(LIKED["scores"], rank="item_id")
    with pytest.raises(ConfigError, match="holds whole lists"):
        read_recommendations(LIKED["lists"], score="user_id")
    with pytest.raises(DataError, match="some tables of the recommendations have ranks and others scores"):
        read_recommendations([LIKED["scores"], LIKED["ranks as text"]])
