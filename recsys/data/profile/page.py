"""The look at a log as one HTML page: each plot has its numbers in words and in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TypeAlias

from recsys.core.version import __version__
from recsys.data.profile import plots
from recsys.data.profile.moments import WEEKDAYS
from recsys.data.profile.tail import short_number
from recsys.pages.page import cards, figure, left_out, page
from recsys.pages.plots import Specs
from recsys.pages.tables import number, percent, table

Facts: TypeAlias = dict[str, Any]
Section: TypeAlias = Callable[[Facts, Specs], str]


def log_page(name: str, facts: Facts) -> str:
    """Build the page.

    Parameters
    ----------
    name : str
        What the log is called.
    facts : dict
        From :func:`recsys.data.profile.figures.profile`.

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    span = f", {facts['from']} to {facts['to']}" if "from" in facts else ""
    return page(
        title=name,
        about=f"{facts['interactions']:,} events of {facts['users']:,} users on {facts['items']:,} items{span}",
        sections={anchor: (title, made(facts, specs)) for anchor, (title, made) in SECTIONS.items()},
        specs=specs,
        version=__version__,
    )


def _numbers(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "Numbers") -> str:
    shown = table(header, rows, right=range(1, len(header)))
    return f"<details><summary>{escape(title)}</summary>{shown}</details>"


def _facts(pairs: dict[str, str]) -> str:
    return table([], [[escape(name), escape(value)] for name, value in pairs.items()], right=(1,))


def _summary(facts: Facts, specs: Specs) -> str:
    least, median, most = facts["history_min_median_max"]
    boxes = {
        "events": f"{facts['interactions']:,}",
        "users": f"{facts['users']:,}",
        "items": f"{facts['items']:,}",
        "density": f"{100 * facts['density']:.3g}\u00a0%",
        "events of a user, median": f"{median:,.0f}",
        "shortest and longest history": f"{least:,}–{most:,}",
        "events on the top tenth of items": percent(facts["share_of_most_popular_tenth"]),
        "ordered by": escape(str(facts["order"]).removeprefix("the column ").replace("'", "")),
    }
    said = "".join(f"<li>{escape(one)}</li>" for one in facts["hints"]) or "<li>Nothing unusual was found.</li>"
    return (
        f"{cards({key: f'<b>{value}</b>' for key, value in boxes.items()})}\n<h3>Know before training</h3>\n<ul>{said}</ul>"
    )


def _tail(facts: Facts, specs: Specs) -> str:
    found = facts["long_tail"]
    specs["plot-tail"] = plots.tail(found)
    caption = (
        f"Items are sorted by popularity; the line shows which share of all events the n most popular ones have. "
        f"{found['items_with_half_of_the_events']:,} of {facts['items']:,} items have half of the events; "
        f"{found['items_with_one_event']:,} have one event. The Gini coefficient is {found['gini']:.3f}: 0 where all "
        f"items are equally popular, 1 where one has all."
    )
    rows = [[f"{int(k):,}", percent(share)] for k, share in found["top"].items()]
    return figure("plot-tail", caption) + _numbers(["most popular items", "share of the events"], rows)


def _histories(facts: Facts, specs: Specs) -> str:
    found = facts["histories"]
    specs["plot-histories"] = plots.bars(
        found["bins"], {"users": "of the users", "events": "of the events"}, "events of a user", share=True
    )
    quantiles = found["quantiles"]
    caption = (
        f"Users by the length of their history, and the share of the events that these have. Half of the users have "
        f"{quantiles['0.5']:,.0f} events or fewer, a tenth more than {quantiles['0.9']:,.0f}, the longest history is "
        f"{quantiles['1']:,.0f}. The most active hundredth of the users has {percent(found['top_hundredth'])} of the "
        f"events; {facts['users_with_under_3_events']:,} users have fewer than three."
    )
    rows = [[row["label"], f"{row['users']:,}", f"{row['events']:,}"] for row in found["bins"]]
    return figure("plot-histories", caption) + _numbers(["events of a user", "users", "events"], rows)


def _time(facts: Facts, specs: Specs) -> str:
    found = facts["time"]
    if found is None:
        return left_out("Coverage in time", "the log has no times")
    specs["plot-time"] = plots.over_time(found)
    caption = (
        f"Events in {plots.bin_name(found)}, and the users and items that appear for the first time. The log spans "
        f"{found['days']:,} days, {found['empty_days']:,} of them without an event; the longest stretch without one "
        f"is {found['longest_gap_days']:,} days. Times are whole {found['resolution']}s."
    )
    rows = [[row["label"], f"{row['events']:,}"] for row in found["periods"]]
    parts = [figure("plot-time", caption), _numbers(["period", "events"], rows)]
    days = [{"label": name[:3], "events": count} for name, count in zip(WEEKDAYS, found["weekdays"], strict=True)]
    busiest = max(zip(found["weekdays"], WEEKDAYS, strict=True))[1]
    hours = [{"label": f"{hour:02}", "events": count} for hour, count in enumerate(found["hours"] or [])]
    pair = [("plot-weekdays", days, "day of the week", f"{busiest} has the most events.")]
    if hours:
        pair.append(("plot-hours", hours, "hour (UTC)", f"The hour from {_most(hours)}:00 UTC has the most events."))
    drawn = []
    for place, bins, title, said in pair:
        specs[place] = plots.bars(bins, {"events": "of the events"}, title, share=True)
        drawn.append(
            f"<div>{figure(place, f'Events by {title}. {said}')}"
            f"{_numbers([title, 'events'], [[row['label'], format(row['events'], ',')] for row in bins])}</div>"
        )
    return "\n".join([*parts, f'<div class="pair">{"".join(drawn)}</div>'])


def _most(bins: list[dict[str, Any]]) -> str:
    return str(max(bins, key=lambda row: row["events"])["label"])


def _ties(facts: Facts, specs: Specs) -> str:
    found, repeats = facts["ties"], facts["repeats"]
    rows = {"events on an item that the user had before": percent(repeats["pairs"])}
    if repeats["in_a_row"] is not None:
        rows["events on the item just before"] = percent(repeats["in_a_row"])
    if repeats["events"] is not None:
        rows["events that repeat another in user, item and time"] = percent(repeats["events"])
    if found is None:
        return _facts(rows) + left_out("Ties and the time between events", "the log has no times")
    rows |= {
        "events with the time of the one before": percent(found["tied"]),
        "users with such events": f"{found['users_with_ties']:,}",
        "users whose last event has the time of the one before": percent(found["last_tied"]),
        "users whose last two events are of one day": percent(found["same_day"]),
    }
    specs["plot-gaps"] = plots.bars(found["gaps"], {"events": "of the events"}, "time since the event before", share=True)
    total = sum(row["events"] for row in found["gaps"]) or 1
    caption = (
        f"The time between two events of a user that follow each other. "
        f"{percent(found['gaps'][0]['events'] / total)} have one time, "
        f"{percent(sum(row['events'] for row in found['gaps'][:4]) / total)} less than a day apart. Events of one "
        f"time are in the order of the file, or by item if asked for (--ties item)."
    )
    numbers = [[row["label"], f"{row['events']:,}", percent(row["events"] / total)] for row in found["gaps"]]
    shown = figure("plot-gaps", caption) + _numbers(["time since the event before", "events", "share"], numbers)
    return _facts(rows) + shown


def _splits(facts: Facts, specs: Specs) -> str:
    last, cuts, parts = facts["leave_last_out"], facts["time_cuts"], list[str]()
    if last is None:
        parts.append(left_out("Leave-last-out", "the log has no order"))
    elif last["targets"]:
        rows = {
            "users with two events or more": f"{last['targets']:,}",
            "last events on an item that nobody else has (cold)": percent(last["cold"]),
            "last events on an item that the user had before": percent(last["seen"]),
            "last events on the item just before": percent(last["same_as_before"]),
        }
        if "training_later" in last:
            rows["training events that are later than a last event, on average"] = percent(last["training_later"])
        parts += ["<h3>Each user's last event held out</h3>", _facts(rows)]
    if not cuts:
        return "\n".join([*parts, left_out("A split by time", "the log has no times")])
    specs["plot-cold"] = plots.cold(cuts)
    nine = next((one for one in cuts if one["share"] == 0.9), cuts[-1])
    caption = (
        f"Of the events after a cut, the share by users and on items that had none before it. A cut at "
        f"{percent(nine['share'])} of the events falls on {nine['at']}: {percent(nine['cold_users'])} of the events "
        f"after it are by new users, {percent(nine['cold_items'])} on new items, and {nine['users_on_both_sides']:,} "
        f"users have events on both sides."
    )
    rows_ = [
        [
            percent(one["share"]),
            one["at"],
            f"{one['events']:,}",
            percent(one["cold_users"]),
            percent(one["cold_items"]),
            f"{one['new_items']:,}",
            f"{one['users_on_both_sides']:,}",
        ]
        for one in cuts
    ]
    header = ["events before", "cut at", "events after", "by new users", "on new items", "new items", "users on both sides"]
    parts += ["<h3>The log cut at one time</h3>", figure("plot-cold", caption), _numbers(header, rows_)]
    return "\n".join(parts)


def _items(facts: Facts, specs: Specs) -> str:
    found = facts["catalogue_coverage"]
    if found is None:
        return left_out("The catalogue", "none was given (--catalog)")
    rows = {
        "items": f"{found['items']:,}",
        "items with events": f"{found['with_events']:,}",
        "items with text": f"{found['with_text']:,}",
        "items with both": f"{found['with_both']:,}",
        "items with events that are not in the catalogue": f"{found['unknown_items_with_events']:,}",
        "events on these": percent(found["events_on_unknown_items"]),
        "events on items without text": percent(found["events_on_items_without_text"]),
        "texts that equal another item's": f"{found['repeated_texts']:,}",
        "columns of the text": ", ".join(found["text_columns"]) or "none",
    }
    if found["characters"] is not None:
        spread = found["characters"]
        rows["characters of a text: least, median, most"] = " / ".join(f"{spread[at]:,.0f}" for at in ("0", "0.5", "1"))
    columns = [
        [
            escape(one["name"]),
            escape(one["type"]),
            percent(one["missing"]),
            "–" if one["distinct"] is None else f"{one['distinct']:,}",
            number(one["with_popularity"], 2),
        ]
        for one in found["columns"]
    ]
    header = ["column", "type", "missing", "distinct values", "rank correlation with popularity"]
    return "\n".join(
        [
            _facts(rows),
            "<h3>Columns</h3>",
            table(header, columns, right=(2, 3, 4)),
            '<p class="soft">A correlation near 1 or −1 means that the column may have been counted from the log itself, '
            "held-out events included.</p>",
        ]
    )


def _weights(facts: Facts, specs: Specs) -> str:
    parts, found, kinds = list[str](), facts["weight_values"], facts["event_types"]
    if kinds is not None:
        specs["plot-types"] = plots.bars(kinds, {"events": "of the events"}, "event type", share=True)
        rows = [[escape(row["label"]), f"{row['events']:,}", f"{row['users']:,}"] for row in kinds]
        parts += [
            figure("plot-types", f"Events by type; the most frequent is {_most(kinds)}."),
            _numbers(["event type", "events", "users"], rows),
        ]
    if found is not None:
        specs["plot-weights"] = plots.bars(found["bins"], {"events": "of the events"}, "weight", share=True)
        least, mean, median, most = (short_number(found[one]) for one in ("least", "mean", "median", "most"))
        caption = (
            f"Events by weight: from {least} to {most}, mean {mean}, median {median}; {percent(found['not_above_zero'])} "
            f"are zero or below."
        )
        rows = [[row["label"], f"{row['events']:,}"] for row in found["bins"]]
        parts += [figure("plot-weights", caption), _numbers(["weight", "events"], rows)]
    if not parts:
        return left_out("Weights and event types", "the log was read without them (--weight, --event)")
    return "\n".join(parts)


SECTIONS: dict[str, tuple[str, Section]] = {
    "summary": ("Summary", _summary),
    "long-tail": ("Long tail", _tail),
    "histories": ("Histories", _histories),
    "time": ("Time", _time),
    "ties": ("Ties and repeats", _ties),
    "splits": ("Splits and cold start", _splits),
    "catalogue": ("Catalogue", _items),
    "weights": ("Weights and event types", _weights),
}
"""Anchor → title and function, in the order of the page."""
