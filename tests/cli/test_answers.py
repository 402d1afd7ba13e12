"""What commands answer, from stand-ins for the retriever."""

from types import SimpleNamespace

import polars as pl

from recsys.cli.answers import explained
from recsys.core.schema import CONTRIBUTION, ITEM, PLACE, TITLE


def explaining(contributions: list[float]) -> SimpleNamespace:
    """A retriever whose explanations have these contributions, the greatest first."""
    rows = range(len(contributions))
    frame = pl.DataFrame({ITEM: rows, TITLE: [f"t{row}" for row in rows], CONTRIBUTION: contributions, PLACE: rows})
    return SimpleNamespace(
        explain=lambda **_: frame,
        score_breakdown=lambda **_: {"id": sum(contributions)},
        items=SimpleNamespace(to_rows=lambda ids: ids),
        catalog=SimpleNamespace(title_of=lambda _: ["Title"]),
    )


def test_the_strongest_event_is_shown_where_none_raises_the_score() -> None:
    text = explained(explaining([0.001, 0.0, -0.2, -0.7]), ["9"], 1).text  # type: ignore[arg-type]
    assert "although you interacted with t3 (3): -0.70" in text


def test_events_that_move_nothing_are_not_shown() -> None:
    assert "no single event of the history moves the score" in explained(explaining([0.001, -0.001]), ["9"], 5).text  # type: ignore[arg-type]
