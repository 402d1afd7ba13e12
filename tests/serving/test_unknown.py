"""Ids that a model does not know, people of whom nothing is known, and people for whom nothing is left: told apart."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.serving.batch.run import recommend_to_parquet
from recsys.serving.people import LeftOut
from recsys.serving.retriever import Retriever
from tests.serving.ring_batches import NEW, read


def test_by_default_unknown_users_are_counted_in_an_error(retriever: Retriever) -> None:
    many = [f"u{n}" for n in range(30) if f"u{n}" not in NEW] + ["ghost", "nobody"]
    with pytest.raises(UnknownIdError, match=r"unknown user 'ghost', 'nobody': 2 of 31 ids in users are not among"):
        retriever.recommend(many)
    with pytest.raises(DataError, match=r"2 of 3 users, such as 'u3', have no history"):
        retriever.recommend(["u1", *NEW])


def test_unknown_users_and_those_without_history_are_skipped_and_told_apart(
    retriever: Retriever, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ["u1", "ghost", NEW[0], "u2"]
    frame = retriever.recommend(asked, k=3, unknown="skip")
    assert frame.equals(retriever.recommend(["u1", "u2"], k=3))
    told = "1 of 4 users is unknown and gets nothing; 1 of 4 users has no history to read"
    assert (logging.WARNING, told) in [(one.levelno, one.getMessage()) for one in caplog.records]
    lists = retriever.recommend(asked, k=3, unknown="skip", output="lists")
    assert [len(one) for one in lists] == [3, 0, 0, 3]
    assert retriever.answered(asked, k=3, unknown="skip").left_out == LeftOut(unknown_users=1, without_history=1)


def test_who_has_nothing_left_is_counted_apart(retriever: Retriever, caplog: pytest.LogCaptureFixture) -> None:
    seen = retriever.history("u1")["item_id"].to_list()
    found = retriever.answered(["u1", "u20"], k=3, eligible=seen)
    assert set(found.frame["user_id"]) <= {"u20"}
    assert found.left_out.nothing_left == 2 - found.frame["user_id"].n_unique()
    assert retriever.recommend("u1", eligible=seen).height == 0
    assert "1 of 1 users gets nothing: no item is left for it" in caplog.messages


def test_unknown_items_of_histories_and_filters_are_skipped(retriever: Retriever) -> None:
    frame = retriever.recommend(histories=[["i1", "gone", "i2"], ["gone"]], k=4, unknown="skip", exclude=["i9", "gone2"])
    assert frame.equals(retriever.recommend(histories=[["i1", "i2"]], k=4, exclude=["i9"]))
    found = retriever.answered(histories=[["i1", "gone"], ["gone"]], unknown="skip", eligible=["gone3", "i5"])
    assert found.left_out == LeftOut(without_history=1, unknown_items=3)
    assert found.frame["item_id"].to_list() == ["i5"]
    for name in ("exclude", "eligible"):
        with pytest.raises(UnknownIdError, match=f"unknown item 'gone': 1 of 2 ids in {name}"):
            retriever.recommend("u1", **{name: ["i1", "gone"]})


def test_popular_items_go_to_unknown_users_while_unknown_items_are_skipped(retriever: Retriever) -> None:
    found = retriever.answered(["ghost", "u1"], k=2, fallback="popular", unknown="skip", exclude="gone")
    assert found.frame["source"].to_list() == ["popular"] * 2 + ["model"] * 2
    assert found.left_out == LeftOut(unknown_items=1)


def test_scores_explanations_and_similar_things_skip_too(retriever: Retriever) -> None:
    scored = retriever.score(["u1", "ghost"], ["i1", "gone"], unknown="skip")
    assert scored.equals(retriever.score(["u1"], ["i1"]))
    assert retriever.score(["ghost"], ["i1"], unknown="skip").height == 0
    assert retriever.similar_items(["gone", "i1"], k=2, unknown="skip").equals(retriever.similar_items("i1", k=2))
    assert retriever.similar_users(["ghost", "u1"], k=2, unknown="skip").equals(retriever.similar_users("u1", k=2))
    told = retriever.explain(history=["i1", "gone", "i2"], item="i3", unknown="skip")
    assert told.equals(retriever.explain(history=["i1", "i2"], item="i3"))
    with pytest.raises(UnknownIdError, match="nothing to explain"):
        retriever.explain(history=["gone"], item="i3", unknown="skip")


def test_a_batch_skips_and_counts(retriever: Retriever, tmp_path: Path) -> None:
    seen = retriever.history("u1")["item_id"].to_list()
    done = recommend_to_parquet(
        retriever, tmp_path / "out", users=["u1", "ghost", "u1", NEW[0]], k=3, unknown="skip", eligible=[*seen, "gone"]
    )
    assert (done.users, done.unknown_users, done.without_history, done.nothing_left, done.unknown_items) == (4, 1, 1, 2, 1)
    assert read(tmp_path / "out").height == done.rows == 0
    with pytest.raises(ConfigError, match="all ids being unknown"):
        recommend_to_parquet(retriever, tmp_path / "none", users=["ghost"], unknown="skip")


def test_only_error_and_skip_can_be_asked_for(retriever: Retriever) -> None:
    with pytest.raises(ConfigError, match="unknown must be error or skip, not 'ignore'"):
        retriever.recommend("u1", unknown="ignore")  # type: ignore[arg-type]


def test_the_command_line_skips_counts_and_tells(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = ["--users", "u1", "ghost", "u3"]
    assert main(["recommend", str(bundle), *users]) == 2
    assert "unknown user 'ghost'" in capsys.readouterr().err
    assert main(["recommend", str(bundle), *users, "--unknown", "skip", "--k", "2"]) == 0
    assert "1 of 3 users is unknown and gets nothing; 1 of 3 users has no history to read" in capsys.readouterr().err
    assert main(["recommend", str(bundle), *users, "--unknown", "skip", "--k", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told.pop("rows")) == 2
    assert told == {"unknown_users": 1, "without_history": 1, "nothing_left": 0, "unknown_items": 0}
    for command in (["similar", str(bundle), "i1", "gone"], ["explain", str(bundle), "i3", "--history", "i1", "gone"]):
        assert main(command) == 2
        capsys.readouterr()
        assert main([*command, "--unknown", "skip"]) == 0
        assert "1 item ids are unknown and passed over" in capsys.readouterr().err


def test_a_frame_of_a_skipping_request_keeps_its_columns(retriever: Retriever) -> None:
    frame = retriever.recommend(["ghost"], unknown="skip")
    assert frame.schema == retriever.recommend(["u1"]).schema
    assert frame.schema == pl.Schema({"user_id": pl.String, "item_id": pl.String, "score": pl.Float32, "rank": pl.Int32})
