"""Events of one user at one time keep file order, or are sorted by item id whatever the order of rows and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recsys
from recsys.cli.parser import build_parser, main
from recsys.cli.reading import reading_of
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, RecsysError
from tests.data.worlds import small

GOLDEN = pl.DataFrame(
    {
        "user_id": ["u", "u", "u", "u", "v", "v", "v"],
        "item_id": ["b", "é", "a", "B", "a", "b", "a"],
        "timestamp": [2, 2, 2, 1, 5, 5, 5],
        "weight": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    }
)


def lists(log: Interactions) -> dict[Any, list[Any]]:
    """Each user's items in order, as text."""
    frame = log.frame().cast({"user_id": pl.String, "item_id": pl.String})
    return {user: own["item_id"].to_list() for (user,), own in frame.group_by("user_id", maintain_order=True)}


def test_ties_keep_file_order_or_are_sorted_by_code_point_and_equal_events_keep_file_order() -> None:
    assert lists(Interactions.from_frame(GOLDEN)) == {"u": ["B", "b", "é", "a"], "v": ["a", "b", "a"]}
    log = Interactions.from_frame(GOLDEN, ties="item")
    assert lists(log) == {"u": ["B", "a", "b", "é"], "v": ["a", "a", "b"]}
    assert log.weights is not None
    assert log.weights.tolist() == [4.0, 3.0, 1.0, 2.0, 5.0, 7.0, 6.0]
    assert log.ordered_by == "the column 'timestamp', ties by item"


@small
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 3)), min_size=1, max_size=20, unique=True),
    st.randoms(use_true_random=False),
    st.sampled_from(["timestamp", "order"]),
)
def test_no_order_of_rows_changes_a_history(events: list[tuple[int, int, int]], random: Any, column: str) -> None:
    mixed = random.sample(events, len(events))
    numbers, texts = (
        pl.DataFrame(rows, schema=["user_id", "item_id", column], orient="row").cast({"item_id": kind})
        for rows, kind in ((events, pl.Int64), (mixed, pl.String))
    )
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(events, key=lambda event: (event[0], event[2], str(event[1]))):
        expected.setdefault(str(user), []).append(str(item))
    assert lists(Interactions.from_frame(numbers, ties="item")) == expected
    assert lists(Interactions.from_frame(texts, ties="item")) == expected


def test_formats_and_parts_give_one_order(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 4, "item_id": [9, 10, 100, 11], "when": [0.5] * 4})
    frame.reverse().write_parquet(tmp_path / "log.parquet")
    (tmp_path / "parts").mkdir()
    frame[:2].write_csv(tmp_path / "parts" / "b.csv")
    frame[2:].write_ndjson(tmp_path / "parts" / "a.ndjson")
    for path in (tmp_path / "log.parquet", tmp_path / "parts"):
        log = recsys.read_interactions(path, order="when", ties="item")
        assert lists(log) == {"u": ["10", "100", "11", "9"]}
        log.save(tmp_path / f"saved-{path.name}")
        assert Interactions.load(tmp_path / f"saved-{path.name}").ties == "item"


def test_ties_without_an_order_are_refused(tmp_path: Path) -> None:
    plain = GOLDEN.drop("timestamp")
    plain.write_csv(tmp_path / "log.csv")
    with pytest.raises(ConfigError, match=r"log\.csv; name it, timestamp= \(--timestamp\) or order= \(--order\)"):
        recsys.read_interactions(tmp_path / "log.csv", ties="item")
    with pytest.raises(ConfigError, match="no column orders those of the frame"):
        Interactions.from_frame(plain, ties="item")
    with pytest.raises(ConfigError, match=r"unordered=True \(--unordered\) says that the log has no order"):
        recsys.read_interactions(tmp_path / "log.csv", ties="item", unordered=True)
    with pytest.raises(RecsysError, match=r"ties \(--ties\) must be file or item, not 'random'"):
        recsys.read_interactions(tmp_path / "log.csv", ties="random")  # type: ignore[arg-type]


def test_the_flag_is_read_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GOLDEN.write_csv(tmp_path / "log.csv")
    words = [str(tmp_path / "log.csv"), "--ties", "item"]
    assert main(["inspect", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == "the column 'timestamp', ties by item"
    parsed = build_parser().parse_args(["fit", *words])
    assert reading_of(parsed, parsed.data_flags, "last")["words"] == ["--ties", "item"]
