"""An ordinary day passes; a half-loaded, doubled, poisoned or foreign one is refused by the check that is for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from recsys.config.day import DayBounds
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.evaluation.usual import usual
from recsys.pipeline.day import MEANING, DayReport, check_day
from tests.pipeline.shop import DAY, START, events

KNOWN = events(range(70))
TODAY = events(range(70, 71))
NOW = START + 71 * DAY


def joint(known: pl.DataFrame, day: pl.DataFrame) -> tuple[Interactions, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    both = pl.concat([known.with_columns(weight=pl.lit(0.0)), day.with_columns(weight=pl.lit(1.0))])
    log = Interactions.from_frame(both)
    assert log.weights is not None
    return log, log.weights > 0.5


def checked(day: pl.DataFrame, known: pl.DataFrame = KNOWN, **how: object) -> DayReport:
    return check_day(*joint(known, day), **{"now": NOW + 9 * DAY} | how)  # type: ignore[arg-type]


def refused(report: DayReport) -> set[str]:
    return {one.name for one in report.refused}


def test_ordinary_days_pass() -> None:
    for day in range(70, 78):
        report = checked(events(range(day, day + 1)), events(range(day)))
        assert refused(report) == set(), str(report)
        assert report.windows == 8
    assert refused(checked(events(range(70, 77)))) == set()  # a week at once
    assert {one.name for one in report.checks} == set(MEANING)


SPOILED: dict[str, tuple[Callable[[], pl.DataFrame], set[str]]] = {
    "nothing but one item": (lambda: TODAY.with_columns(item_id=pl.lit("i7")), {"top-item", "reach", "items"}),
    "one item by everybody": (
        lambda: pl.concat([TODAY, TODAY.unique("user_id").with_columns(item_id=pl.lit("gift"))]),
        {"top-item", "reach", "new-items"},
    ),
    "broken off": (lambda: TODAY.head(len(TODAY) // 2), {"events"}),
    "every other row": (lambda: TODAY.gather_every(2), {"events", "rate"}),
    "half the rows of a busy day": (
        lambda: pl.concat([TODAY, events(range(71, 72)).with_columns(pl.col("timestamp") - DAY)]).gather_every(2),
        {"rate"},
    ),
    "loaded twice": (lambda: pl.concat([TODAY, TODAY]), {"repeats"}),
    "robots": (lambda: pl.concat([TODAY, TODAY.with_columns(user_id=pl.lit("bot"))]), {"top-user"}),
    "another shop": (lambda: TODAY.with_columns(pl.col("user_id", "item_id") + "x"), {"new-items", "new-users"}),
    "an old file": (lambda: TODAY.with_columns(pl.col("timestamp") - 30 * DAY), {"late"}),
    "milliseconds": (lambda: TODAY.with_columns(pl.col("timestamp") + 9000 * DAY), {"ahead", "gap"}),
    "a week later": (lambda: TODAY.with_columns(pl.col("timestamp") + 7 * DAY), {"gap"}),
}


@pytest.mark.parametrize("what", list(SPOILED))
def test_a_spoiled_day_is_refused(what: str) -> None:
    make, expected = SPOILED[what]
    report = checked(make())
    assert expected <= refused(report), str(report)
    passed = checked(make(), accept=sorted(refused(report)))
    assert not passed.refused
    assert {one.name for one in passed.checks if one.verdict == "accepted"} == refused(report)


def test_bounds_and_reasons_are_told() -> None:
    report = checked(TODAY.head(30))
    assert "events: the number of events is 30, allowed 58.500 to 270" in report.reasons
    assert "broke" not in str(report)
    assert "30 new events from 2024" in str(report)
    assert refused(checked(TODAY.head(30), bounds=DayBounds(least_events=0.3))) == set()
    assert refused(checked(TODAY, bounds=DayBounds(usual_events=1000))) == {"events"}
    assert checked(TODAY.head(30)).to_dict()["checks"][0]["verdict"] == "refused"


def test_part_of_a_day_is_ordinary_if_it_is_said_where_it_ends() -> None:
    """Events come from 10:00 to 12:00; half of them are there at 11:00."""
    morning = TODAY.filter(pl.col("timestamp") < START + 70 * DAY + 39_600)
    assert "events" in refused(checked(morning))
    assert refused(checked(morning, until=START + 70 * DAY + 39_600)) == set()


def test_a_day_that_broke_off_is_silent_at_its_end() -> None:
    """So few are there on a day that no count tells; but they come all day long, save for the last half of this one."""
    random = np.random.default_rng(0)
    days = [
        pl.DataFrame({
            "user_id": [f"u{one}" for one in random.integers(0, 40, size)],
            "item_id": [f"i{one}" for one in random.integers(0, 60, size)],
            "timestamp": START + day * DAY + np.sort(random.integers(0, DAY, size)),
        })
        for day, size in enumerate(random.choice([15, 25, 90], 71))
    ]  # fmt: skip
    known, today = pl.concat(days[:70]), pl.concat([days[70]] * 1)
    whole = checked(today, known)
    assert not {"silence", "events"} & refused(whole), str(whole)
    half = checked(today.filter(pl.col("timestamp") < START + 70 * DAY + DAY // 2), known)
    assert "silence" in refused(half), str(half)
    assert "events" not in refused(half)
    assert "silence" not in refused(checked(today.head(len(today) // 2), known, bounds=DayBounds(longest_silence=9)))


def test_without_times_or_a_past_only_what_cannot_be_right_is_refused() -> None:
    known, day = (one.drop("timestamp") for one in (KNOWN, TODAY))
    report = checked(day, known)
    assert refused(report) == set()
    assert {one.name: one.verdict for one in report.checks}["events"] == "not judged"
    assert not {"late", "ahead", "gap", "silence"} & {one.name for one in report.checks}
    quiet = day.unique("user_id", keep="first", maintain_order=True)  # one event of each: any cut of a log can look so
    assert refused(checked(quiet, known)) == set()
    assert {one.verdict for one in checked(quiet, known).checks if one.name in ("activity", "histories")} == {"not judged"}
    strange = day.with_columns(pl.col("user_id", "item_id") + "x")
    assert {"new-items", "new-users"} <= refused(checked(strange, known))
    assert "top-item" in refused(checked(day.with_columns(item_id=pl.lit("i7")), known))
    young = checked(TODAY, events(range(68, 70)))
    assert (young.windows, refused(young)) == (0, set())


def test_figures_are_those_of_a_count_by_hand() -> None:
    log, fresh = joint(KNOWN, TODAY)
    found = usual(log, fresh)
    before = set(KNOWN["item_id"])
    assert found.found.events == 90
    assert found.found.new_items == pytest.approx(np.mean([one not in before for one in TODAY["item_id"]]))
    assert found.found.top_item == pytest.approx(TODAY["item_id"].value_counts()["count"].max() / 90)
    assert found.found.reach == pytest.approx(
        TODAY.unique(["user_id", "item_id"])["item_id"].value_counts()["count"].max() / TODAY["user_id"].n_unique()
    )
    week = KNOWN.filter((pl.col("timestamp") - START) // DAY == 63)
    assert found.past[0].events == len(week) == 90
    assert found.gap == int(TODAY["timestamp"].min()) - int(KNOWN["timestamp"].max())  # type: ignore[arg-type]


def test_what_cannot_be_checked_is_refused() -> None:
    log, fresh = joint(KNOWN, TODAY)
    with pytest.raises(ConfigError, match=r"accept \(--accept\) names 'event'; the checks are events, repeats"):
        check_day(log, fresh, accept=["event"])
    with pytest.raises(DataError, match="no event is new"):
        check_day(log, np.zeros_like(fresh))
    with pytest.raises(DataError, match="no event is known"):
        check_day(log, np.ones_like(fresh))
    with pytest.raises(ConfigError, match="late is a share"):
        DayBounds(late=2)
