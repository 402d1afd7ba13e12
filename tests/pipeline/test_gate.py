"""The gate asks about new events one by one, tells better from worse on the same users, and says when it cannot tell."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.config.gate import GateOptions
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.pipeline.gate import GateReport, judge, question
from tests.evaluation.fixed_lists import FixedLists

ITEMS = [f"i{n}" for n in range(40)]
USERS = [f"u{n}" for n in range(60)]


def walked() -> tuple[Interactions, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Each user has items 0 to 4 in the old log and 10 to 14 in the new one; u0 returns to an old item at the end."""
    rows = [(user, f"i{n}", 100 * n + at) for at, user in enumerate(USERS) for n in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)]
    rows.append(("u0", "i0", 2000))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    log = Interactions.from_frame(frame)
    assert log.timestamps is not None
    return log, log.timestamps >= 1000


def ranker(first: list[str], *, good: int = 1000) -> FixedLists:
    """Puts these items first for some users, and last for the others."""
    rest = [one for one in ITEMS if one not in first]
    users = [*USERS, *(f"w{n}" for n in range(40))]
    return FixedLists(ITEMS, {user: [*first, *rest] if at < good else [*rest, *first] for at, user in enumerate(users)})


def blind(items: list[str]) -> FixedLists:
    """Puts these items last."""
    return ranker([one for one in ITEMS if one not in items])


def judged(before: FixedLists, after: FixedLists, **options: object) -> GateReport:
    log, fresh = walked()
    asked = GateOptions(judge_share=0.4, **options)  # type: ignore[arg-type]
    cut = question(log, fresh, asked, keep_seen=False)
    return judge(before, {"update": lambda: (after, 1.0)}, cut, asked, new_events=int(fresh.sum()), keep_seen=False)


def test_each_judged_event_has_the_history_up_to_it() -> None:
    log, fresh = walked()
    cut = question(log, fresh, GateOptions(judge_share=0.4), keep_seen=False)
    holdout = cut.holdout
    assert holdout is not None
    assert (~cut.learned).sum() == 121
    assert len(holdout) == 120  # u0's return to an old item cannot be found while seen items are filtered
    ids = [log.items.to_ids(one).to_list() for one in (holdout.histories[0], holdout.histories[1], holdout.targets[1])]
    assert ids[0] == ["i0", "i1", "i2", "i3", "i4", "i10", "i11", "i12"]
    assert (ids[1][-1], ids[2]) == ("i13", ["i14"])
    assert not cut.old_item.any()
    assert cut.old_user.all()
    kept = question(log, fresh, GateOptions(judge_share=0.4), keep_seen=True).holdout
    assert kept is not None
    assert len(kept) == 121
    assert len(question(log, fresh, GateOptions(judge_share=0.4, most_judged=50), keep_seen=True).people) == 50


def test_events_of_one_instant_are_judged_by_users() -> None:
    log, _ = walked()
    frame = log.frame().with_columns(timestamp=pl.when(pl.col("timestamp") >= 1000).then(5000).otherwise("timestamp"))
    log = Interactions.from_frame(frame)
    assert log.timestamps is not None
    cut = question(log, log.timestamps == 5000, GateOptions(judge_share=0.4), keep_seen=False)
    late = log.frame().filter(pl.Series(~cut.learned))
    assert late["user_id"].n_unique() == pytest.approx(24, abs=1)
    assert len(late) == pytest.approx(120, abs=5)
    assert set(late["timestamp"]) == {5000}


def test_a_better_update_is_accepted_and_a_worse_one_is_not() -> None:
    good, bad = ranker(["i13", "i14"]), blind(["i13", "i14"])
    better = judged(bad, good)
    assert (better.accepted, better.chosen, better.events["judged"]) == (True, "update", 120)
    assert {one.verdict for one in better.judged} == {"not worse"}
    worse = judged(good, bad)
    assert (worse.accepted, worse.chosen) == (False, None)
    assert "worse: recall@10 of all users went from 1.0000 to 0.0000" in str(worse)
    assert {one.group for one in worse.judged if one.verdict == "worse"} == {"all users", "old users", "new items"}
    assert judged(good, ranker(["i13", "i14"])).accepted  # the same


def test_a_loss_within_the_margin_is_none() -> None:
    good, slightly = ranker(["i13", "i14"]), ranker(["i13", "i14"], good=58)
    assert judged(good, slightly, margin=0.2).accepted
    report = judged(good, slightly, margin=0.05)
    assert not report.accepted
    assert {one.verdict for one in report.judged} == {"unsure"}
    assert "too few events to tell: recall@10 of all users went from 1.0000 to 0.9667" in report.reasons[0]
    assert judged(good, slightly, margin=0.05, when_unsure="accept").accepted


def test_a_group_alone_can_refuse() -> None:
    """All users together gain by new items, and old items are lost."""
    rows = [(user, f"i{n}", 100 * n + at) for at, user in enumerate(USERS) for n in (0, 1, 2, 3, 10, 11)]
    rows += [(user, "i1" if user in USERS[:2] else "i30", 1300 + at) for at, user in enumerate(USERS)]
    rows += [(f"w{at}", one, 50 * n) for at in range(40) for n, one in enumerate(("i5", "i6", "i7"))]
    rows += [(f"w{at}", "i2", 1400) for at in range(40)]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    assert log.timestamps is not None
    fresh = log.timestamps >= 1000
    options = GateOptions(judge_share=0.45)
    cut = question(log, fresh, options, keep_seen=False)
    before, after = ranker(["i2"]), ranker(["i30", *(one for one in ITEMS if one not in ("i2", "i30"))])
    report = judge(before, {"update": lambda: (after, 1.0)}, cut, options, new_events=int(fresh.sum()), keep_seen=False)
    assert not report.accepted
    assert report.reasons[0].startswith("update: worse: recall@10 of old items")
    assert {one.verdict for one in report.judged if one.group == "all users"} == {"not worse"}


def test_of_two_the_update_is_taken_unless_the_retrain_is_really_better() -> None:
    log, fresh = walked()
    options = GateOptions(judge_share=0.4)
    cut = question(log, fresh, options, keep_seen=False)
    bad, good, fair = blind(["i13", "i14"]), ranker(["i13", "i14"]), ranker(["i13", "i14"], good=59)

    def chosen(update: FixedLists, retrain: FixedLists) -> str | None:
        makes = {"update": lambda: (update, 1.0), "retrain": lambda: (retrain, 9.0)}
        return judge(bad, makes, cut, options, new_events=300, keep_seen=False).chosen

    assert chosen(bad, good) == "retrain"
    assert chosen(fair, good) == "update"


def test_too_few_events_are_told() -> None:
    report = judged(ranker([]), ranker([]), least_judged=100)
    assert not report.accepted
    assert "too few events: 60 users can be judged by, and 100 are needed" in str(report)
    assert judged(ranker([]), ranker([]), least_judged=100, when_unsure="accept").chosen == "update"
    log, fresh = walked()
    newcomers = log.select(fresh)
    cut = question(newcomers, np.ones(len(newcomers), dtype=np.bool_), GateOptions(judge_share=0.0), keep_seen=False)
    assert cut.holdout is None
    with pytest.raises(ConfigError, match="judge_share is a share"):
        GateOptions(judge_share=1.0)
