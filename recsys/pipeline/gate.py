"""The gate: an updated model is judged on events that it has not learned from, and stays out if it is worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.config.gate import GateOptions
from recsys.core.ragged import Bool, Int64, Ragged, contained, ragged_positions
from recsys.core.text_table import as_text
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.metrics import Values
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.significance import bootstrap_interval, holm, paired_test

Verdict: TypeAlias = Literal["not worse", "worse", "unsure"]
Group: TypeAlias = Literal["all users", "old users", "old items", "new items"]

METRICS: Final = ("recall@10", "ndcg@10")
_LEVEL: Final = 0.05
_ALWAYS: Final = 0.002
"""A difference of a figure that never matters."""
_OF_ONE_USER: Final = 20
"""Events of one user that are judged at most: the latest."""


@dataclass(frozen=True)
class Judged:
    """One figure of one model beside that of the served one, on the same users.

    Attributes
    ----------
    model : str
    group : {"all users", "old users", "old items", "new items"}
        Old is what had an event in the served bundle; users are judged by all their events, items by those on them.
    metric : str
    users, events : int
    before, after : float
        Means over users of the served model and of this one.
    low, high : float
        90 % bootstrap interval of the mean difference.
    p : float
        Of the paired randomisation test, after Holm over all figures of this model.
    verdict : {"not worse", "worse", "unsure"}
    """

    model: str
    group: Group
    metric: str
    users: int
    events: int
    before: float
    after: float
    low: float
    high: float
    p: float
    verdict: Verdict


@dataclass(frozen=True)
class GateReport:
    """What the gate says.

    Attributes
    ----------
    accepted : bool
        Whether a candidate may serve.
    chosen : str or None
        Which one: ``"update"`` or ``"retrain"``.
    reasons : tuple of str
        Why, in words.
    judged : tuple of Judged
    events : dict of int
        ``new``, ``learned`` (by the candidates) and ``judged``.
    cpu_seconds : dict of float
        Of making each candidate.
    """

    accepted: bool
    chosen: str | None
    reasons: tuple[str, ...]
    judged: tuple[Judged, ...]
    events: dict[str, int]
    cpu_seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and for the lineage of the bundle."""
        return asdict(self) | {"verdict": "; ".join(self.reasons)}

    def __str__(self) -> str:
        if not self.judged:
            return "; ".join(self.reasons)
        rows = [
            {
                "model": one.model,
                "group": one.group,
                "figure": one.metric,
                "users": f"{one.users:,}",
                "no update": f"{one.before:.4f}",
                "with it": f"{one.after:.4f}",
                "difference": f"{one.after - one.before:+.4f} ({one.low:+.4f} to {one.high:+.4f})",
                "p": f"{one.p:.2g}",
                "verdict": one.verdict,
            }
            for one in self.judged
        ]
        head = f"judged by {self.events['judged']:,} of {self.events['new']:,} new events, after learning from the others"
        return "\n".join([head, as_text(pl.DataFrame(rows)), *self.reasons])


@dataclass(frozen=True, eq=False)
class Question:
    """What candidates are judged by.

    Attributes
    ----------
    learned : bool (len(joint),)
        The events that candidates may learn from.
    holdout : Holdout or None
        One row for each judged event: the user's history up to it, and its item. None: no event can be judged.
    people : int64 (n,)
        The user of each row, numbered from 0.
    old_user, old_item : bool (n,)
    """

    learned: Bool
    holdout: Holdout | None
    people: Int64
    old_user: Bool
    old_item: Bool


def question(joint: Interactions, fresh: Bool, options: GateOptions, *, keep_seen: bool) -> Question:
    """Cut the last part off the new events in time, or, where they are of one instant or untimed, by users drawn at random.

    An event is judged if its user has a history before it; unless ``keep_seen``, if its item is not in that history. Of a
    user the latest twenty events are judged, of all users ``most_judged``, drawn at random.

    Parameters
    ----------
    joint : Interactions
    fresh : bool (len(joint),)
    options : GateOptions
    keep_seen : bool
        Whether items of the history may be recommended.
    """
    late = _late(joint, fresh, options.judge_share)
    lists, known = joint.histories, joint.select(~fresh)
    owners, positions = lists.list_index(), np.flatnonzero(late)
    before = positions - lists.offsets[owners[positions]]
    backwards = lists.offsets[owners[positions] + 1] - positions  # the last event of a user has 1
    positions = positions[(before > 0) & (backwards <= _OF_ONE_USER)]
    if len(positions) > 4 * options.most_judged:
        positions = _drawn(positions, 4 * options.most_judged)
    targets, past = _cut(lists, owners, positions)
    if not keep_seen and len(positions):
        positions = positions[~contained(targets, past, len(joint.items))]
    positions = _drawn(positions, options.most_judged)
    people = owners[positions]
    old_user, old_item = known.histories.lengths[people] > 0, known.item_counts[lists.rows[positions]] > 0
    if not len(positions):
        return Question(~late, None, people, old_user, old_item)
    targets, past = _cut(lists, owners, positions)
    times = None if lists.times is None else lists.times[positions]
    names = joint.event_names if past.events is not None else ()
    holdout = Holdout(
        joint.users, joint.items, people.astype(np.int32), past, targets, "new events, one by one", times, names
    )
    return Question(~late, holdout, np.unique(people, return_inverse=True)[1].astype(np.int64), old_user, old_item)


def _late(joint: Interactions, fresh: Bool, share: float) -> Bool:
    """bool (len(joint),): about the last share of the new events; never all of them."""
    times = joint.timestamps
    found = np.zeros(len(joint), dtype=np.bool_)
    if share == 0.0:
        return found
    if times is not None and times[fresh].min() < times[fresh].max():
        first = int(times[fresh].min())
        start = max(int(np.quantile(times[fresh], 1.0 - share, method="higher")), first + 1)
        return fresh & (times >= start)
    counts = np.bincount(joint.histories.list_index()[fresh], minlength=len(joint.users))
    active = np.random.default_rng(0).permutation(np.flatnonzero(counts))
    chosen = active[np.cumsum(counts[active]) <= share * fresh.sum()]
    held = np.zeros(len(joint.users), dtype=np.bool_)
    held[chosen] = True
    return fresh & held[joint.histories.list_index()]


def _drawn(positions: Int64, most: int) -> Int64:
    if len(positions) <= most:
        return positions
    return np.sort(np.random.default_rng(0).choice(positions, most, replace=False))


def _cut(lists: Ragged, owners: Int64, positions: Int64) -> tuple[Ragged, Ragged]:
    """Targets at some positions, and the part of the same history before each."""
    starts = lists.offsets[owners[positions]]
    lengths = positions - starts
    taken = ragged_positions(starts, lengths)
    past = Ragged.from_lengths(
        lengths,
        lists.rows[taken],
        None if lists.times is None else lists.times[taken],
        None if lists.events is None else lists.events[taken],
    )
    return Ragged.from_lengths(np.ones(len(positions), dtype=np.int64), lists.rows[positions]), past


def judge(
    served: Ranker,
    candidates: Mapping[str, Callable[[], tuple[Ranker, float]]],
    asked: Question,
    options: GateOptions,
    *,
    new_events: int,
    keep_seen: bool,
) -> GateReport:
    """Hold candidates against the model that serves now, on events that none of them has learned from.

    All models read the same histories, up to each event, as a server does; the served one is what "no update" means. A
    user's figure is the mean over that user's judged events, and figures are compared on the same users. With d the mean
    difference to the served model, [low, high] its 90 % bootstrap interval over users, and the margin δ = ``margin`` times
    the served model's figure for all users, or 0.002 if that is more:

    - *not worse*: low ≥ −δ (one-sided 95 % non-inferiority);
    - *worse*: otherwise, if d < 0 and Holm's p of the paired randomisation test is below 0.05;
    - *unsure*: otherwise, and where a group has fewer than ``least_judged`` users.

    A candidate is accepted if no figure of no group is worse, and both figures of all users are not worse; with
    ``when_unsure="accept"`` they may be unsure too. So a smaller group, such as new items of a quiet day, can refuse a
    candidate that is really worse for it, and cannot hold one back for lack of events. Of two accepted candidates the first
    is chosen, unless the second is really better (NDCG@10 of all users, p < 0.05).

    Parameters
    ----------
    served : Ranker
    candidates : mapping
        Name → makes the model, and tells the CPU seconds of that; in order of preference. None is made if nothing can be
        judged.
    asked : Question
    options : GateOptions
    new_events : int
    keep_seen : bool

    Returns
    -------
    GateReport
    """
    holdout = asked.holdout
    counts = {"new": new_events, "judged": 0 if holdout is None else len(holdout)}
    counts["learned"] = new_events - int((~asked.learned).sum())
    if holdout is None or counts["learned"] == 0:
        return _unjudged("no new event can be judged: it needs users with a history before it", options, counts)
    people = int(asked.people.max()) + 1
    if people < options.least_judged:
        return _unjudged(
            f"{people:,} users can be judged by, and {options.least_judged:,} are needed (least_judged)", options, counts
        )
    before = _figures(served, holdout, keep_seen)
    found, rows, cpu = dict[str, dict[str, Values]](), list[Judged](), dict[str, float]()
    for name, make in candidates.items():
        model, cpu[name] = make()
        found[name] = _figures(model, holdout, keep_seen)
        rows += _compared(name, before, found[name], asked, options)
    good = [name for name in candidates if not _objections(rows, name, options)]
    reasons = [f"{name}: {why}" for name in candidates for why in _objections(rows, name, options)]
    chosen = _preferred(good, found, asked)
    if chosen is not None:
        reasons.append(f"{chosen} is accepted: it is not worse than no update")
    return GateReport(chosen is not None, chosen, tuple(reasons), tuple(rows), counts, cpu)


def _unjudged(why: str, options: GateOptions, counts: dict[str, int]) -> GateReport:
    accepted = options.when_unsure == "accept"
    ending = (
        "accepted unjudged" if accepted else "wait for more events, or accept it unjudged (--when-unsure accept, --force)"
    )
    return GateReport(accepted, "update" if accepted else None, (f"too few events: {why}; {ending}",), (), counts, {})


def _figures(model: Ranker, holdout: Holdout, keep_seen: bool) -> dict[str, Values]:
    found = evaluate(model, holdout, 10, filter_seen=not keep_seen)
    return {name: found.per_user[name] for name in METRICS}


def _groups(asked: Question) -> dict[Group, Bool]:
    every = np.ones(len(asked.people), dtype=np.bool_)
    return {
        "all users": every,
        "old users": asked.old_user,
        "old items": asked.old_item,
        "new items": ~asked.old_item,
    }


def _by_person(values: Values, chosen: Bool, people: Int64) -> Values:
    """The mean of each user who has one of the chosen events, by ascending number."""
    counts = np.bincount(people[chosen])
    sums = np.bincount(people[chosen], weights=values[chosen])
    means: Values = sums[counts > 0] / counts[counts > 0]
    return means


def _compared(
    name: str, before: dict[str, Values], after: dict[str, Values], asked: Question, options: GateOptions
) -> list[Judged]:
    groups = {group: chosen for group, chosen in _groups(asked).items() if chosen.any()}
    cells = [(group, metric) for group in groups for metric in METRICS]
    olds, news = (
        [_by_person(one[metric], groups[group], asked.people) for group, metric in cells] for one in (before, after)
    )
    overall = {metric: float(old.mean()) for (group, metric), old in zip(cells, olds, strict=True) if group == "all users"}
    adjusted = holm([paired_test(new, old) for old, new in zip(olds, news, strict=True)])
    rows = []
    for (group, metric), old, new, p in zip(cells, olds, news, adjusted, strict=True):
        low, high = bootstrap_interval(new - old, level=1.0 - 2.0 * _LEVEL)
        margin = max(options.margin * overall[metric], _ALWAYS)
        verdict: Verdict = (
            "not worse" if low >= -margin else "worse" if new.mean() < old.mean() and p < _LEVEL else "unsure"
        )
        if len(old) < options.least_judged:
            verdict = "unsure"
        sizes = len(old), int(groups[group].sum())
        means = float(old.mean()), float(new.mean())
        rows.append(Judged(name, group, metric, *sizes, *means, low, high, float(p), verdict))
    return rows


def _objections(rows: list[Judged], name: str, options: GateOptions) -> list[str]:
    found = []
    for one in rows:
        if one.model != name:
            continue
        moved = f"{one.metric} of {one.group} went from {one.before:.4f} to {one.after:.4f}"
        if one.verdict == "worse":
            found.append(f"worse: {moved} (p = {one.p:.2g})")
        elif one.verdict == "unsure" and one.group == "all users" and options.when_unsure == "refuse":
            found.append(
                f"too few events to tell: {moved}, and with {one.users:,} users the true difference may be {one.low:+.4f}"
            )
    return found


def _preferred(good: list[str], found: dict[str, dict[str, Values]], asked: Question) -> str | None:
    """The first of the accepted candidates, or a later one that is really better."""
    if not good:
        return None
    chosen = good[0]
    every = np.ones(len(asked.people), dtype=np.bool_)
    for name in good[1:]:
        new, old = (_by_person(found[one]["ndcg@10"], every, asked.people) for one in (name, chosen))
        if new.mean() > old.mean() and paired_test(new, old) < _LEVEL:
            chosen = name
    return chosen
