"""What the figures of a log ask for, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recsys.pages.tables import percent

_LEAKING = 0.8


def hints(facts: dict[str, Any]) -> list[str]:
    """Sentences about what may surprise: each says what was found and what can be done.

    Parameters
    ----------
    facts : dict
        From :func:`recsys.data.profile.figures.profile`.
    """
    return [*_order(facts), *_repeats(facts), *_splits(facts), *_sizes(facts), *_items(facts)]


def _order(facts: dict[str, Any]) -> Iterator[str]:
    tied, time = facts["ties"], facts["time"]
    if facts["leave_last_out"] is None:
        yield "The log has no order: no figure will say how well a model predicts the future."
    elif tied is None:
        yield f"The events have no times ({facts['order']} orders them): no split by time is possible."
    if time is None:
        return
    if time["resolution"] != "second":
        yield f"All times are whole {time['resolution']}s: events within one have no order of their own."
    if tied["last_tied"] > 0.02:
        yield (
            f"For {percent(tied['last_tied'])} of the users the last event has the time of the one before, so which one is "
            f"held out is an accident of the file: compare --ties file with --ties item, or split by time (--split time)."
        )
    if time["longest_gap_days"] > max(30, time["days"] // 20):
        yield f"There are {time['longest_gap_days']:,} days in a row without an event: is a part of the log missing?"


def _repeats(facts: dict[str, Any]) -> Iterator[str]:
    repeats = facts["repeats"]
    if (repeats["events"] or 0) > 0.01:
        yield (
            f"{percent(repeats['events'])} of the events repeat another one in user, item and time: --drop-duplicates "
            f"leaves them out."
        )
    if repeats["pairs"] > 0.1:
        yield (
            f"{percent(repeats['pairs'])} of the events are of an item that the user had before: decide whether it may be "
            f"recommended again (--keep-seen)."
        )


def _splits(facts: dict[str, Any]) -> Iterator[str]:
    last = facts["leave_last_out"] or {}
    if last.get("training_later", 0) > 0.1:
        yield (
            f"With each user's last event held out, {percent(last['training_later'])} of the training events are "
            f"later than a target, on average: the model learns from its future. A split by time (--split time) does "
            f"not."
        )
    if last.get("cold", 0) > 0.02:
        yield f"{percent(last['cold'])} of the last events are on items without any other event (cold)."
    cut = next((one for one in facts["time_cuts"] if one["share"] == 0.9), None)
    if cut is not None and cut["cold_users"] > 0.5:
        yield (
            f"After a cut at 90 % of the events, {percent(cut['cold_users'])} of the events are by users without a "
            f"history, whom a split by time cannot judge."
        )
    if cut is not None and cut["cold_items"] > 0.05:
        yield (
            f"After a cut at 90 % of the events, {percent(cut['cold_items'])} of the events are on items that were "
            f"not there before: text or other features must carry them."
        )


def _sizes(facts: dict[str, Any]) -> Iterator[str]:
    if facts["users_with_under_3_events"] > 0.3 * facts["users"]:
        yield (
            f"{percent(facts['users_with_under_3_events'] / facts['users'])} of the users have fewer than three "
            f"events: with each user's last two held out, they are not trained on."
        )
    if facts["histories"]["longest_share"] > 0.01 and facts["users"] > 200:
        yield (f"One user has {percent(facts['histories']['longest_share'])} of all events: a person, or a program?")
    weights = facts["weight_values"]
    if weights is not None and weights["not_above_zero"] > 0:
        yield f"{percent(weights['not_above_zero'])} of the weights are zero or below."
    if weights is not None and weights["median"] > 0 and weights["most"] > 1000 * weights["median"]:
        yield "The largest weight is more than 1,000 times the median: a few events will rule; a logarithm tames them."


def _items(facts: dict[str, Any]) -> Iterator[str]:
    coverage = facts["catalogue_coverage"]
    if coverage is None:
        yield "No catalogue was given: items without events cannot be recommended."
        return
    if coverage["events_on_unknown_items"] > 0:
        yield (
            f"{percent(coverage['events_on_unknown_items'])} of the events are on "
            f"{coverage['unknown_items_with_events']:,} items that are not in the catalogue."
        )
    if coverage["with_text"] < 0.95 * coverage["items"]:
        missing = coverage["items"] - coverage["with_text"]
        yield f"{missing:,} items of the catalogue have no text ({', '.join(coverage['text_columns'])})."
    if coverage["repeated_texts"] > 0.05 * coverage["items"]:
        yield f"{coverage['repeated_texts']:,} texts equal that of another item: a model of texts cannot tell them apart."
    for one in coverage["columns"]:
        if abs(one["with_popularity"] or 0) > _LEAKING:
            yield (
                f"The column {one['name']!r} of the catalogue follows the popularity of the items (rank correlation "
                f"{one['with_popularity']:.2f}): counted over the whole log, it tells a model what is held out."
            )
