"""The words of the page and the card: about metrics, groups, intervals and the main result."""

from __future__ import annotations

from typing import Any

from recsys.bundle.lineage import lineage_sentence
from recsys.evaluation.segments import HISTORY, POPULARITY, TEMPERATURE, TIME
from recsys.pages.tables import number, percent

MEANING = {
    "recall": "share of a user's held-out items among the first k",
    "hit_rate": "share of users with a held-out item among the first k",
    "precision": "share of the k places that hold a held-out item",
    "ndcg": "like recall, but a hit counts more the higher it ranks",
    "mrr": "1 / place of the first hit, 0 without one",
    "map": "mean of the precision at each hit",
    "novelty": "how rare the shown items are: mean of −log2 of the share of users who interacted with them",
    "popularity": "mean number of training events of the shown items",
    "popularity_lift": "how much more popular the shown items are than the user's own: 0 means equally, 1 twice as popular",
    "serendipity": "hits that popularity alone would have missed",
    "diversity": "how different the items of a list are: 1 − mean cosine of their vectors",
    "category_diversity": "how different the categories within a list are",
    "calibration": "how far the categories of a list are from those of the history; 0 is a perfect match",
    "coverage": "share of the catalogue that appears in at least one list",
    "gini": "how unequally the places are spread over items; 0: all items equally, 1: all places to one item",
}
"""One line per metric family."""

GROUPS = {
    HISTORY: ("By length of history", "Users by the number of items in their history that the model could read."),
    TIME: ("By time", "Users by the day of their first held-out item; each part has the same number of users."),
    POPULARITY: (
        "By popularity of the item",
        "Head, middle and tail each hold a third of the training events; the head is the few most popular items. "
        "Untouched items have no training events.",
    ),
    TEMPERATURE: (
        "By hot or warm item",
        "Hot items have training events; warm items are known by their features only.",
    ),
}
"""Title and explanation of each grouping that is not a catalogue column."""


def group_words(name: str) -> tuple[str, str]:
    """Title and explanation of a grouping."""
    column = (
        f"By {name}",
        f"Items by the values in the catalogue's column {name!r}; rare values are “other”.",
    )
    return GROUPS.get(name, column)


def metric_number(name: str, value: float | None) -> str:
    """A metric's value: counts of events with one decimal, others with four, or two digits if it is tiny."""
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return number(value, 1 if name.startswith("popularity@") else 4)


def shown(value: Any) -> str:
    """An option or a fact as text."""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else str(value)


def ends(valued: dict[str, Any], name: str = "") -> str:
    """An interval as text; empty if it is unknown, or if all users have the same value, so that resamples do not differ."""
    if valued.get("low") is None or valued.get("high") is None or valued["low"] == valued["high"]:
        return ""
    return f"{metric_number(name, valued['low'])}–{metric_number(name, valued['high'])}"


def finding(figures: dict[str, Any]) -> str:
    """The main result in one or two sentences."""
    head = figures["headline"]
    recall = head["metrics"][f"recall@{head['k']}"]
    low_high = "" if recall["low"] is None else f" (95 % interval {percent(recall['low'])} to {percent(recall['high'])})"
    result = (
        f"Ranking {head['items']:,} items, {head['model']} finds {percent(recall['mean'])}{low_high} of the held-out items "
        f"of {head['users']:,} users among its first {head['k']}."
    )
    return f"{result} {verdict(figures)}".strip()


def verdict(figures: dict[str, Any]) -> str:
    """How the model compares with the others, by the paired tests."""
    own, metric = figures["headline"]["model"], figures["tests"]["metric"]
    above = [row["worse"] for row in figures["tests"]["rows"] if row["better"] == own and row["significant"]]
    below = [row["better"] for row in figures["tests"]["rows"] if row["worse"] == own and row["significant"]]
    alike = [
        row["worse"] if row["better"] == own else row["better"]
        for row in figures["tests"]["rows"]
        if own in (row["better"], row["worse"]) and not row["significant"]
    ]
    parts = [
        f"{what} {_enumerated(names)}"
        for what, names in (("better than", above), ("worse than", below), ("not significantly different from", alike))
        if names
    ]
    return f"By {metric} it is {_enumerated(parts)}." if parts else ""


def _enumerated(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def keys_of(rows: list[dict[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they appear first: not every epoch is validated."""
    return list(dict.fromkeys(key for row in rows for key in row))


def later_sentence(training: dict[str, Any]) -> str:
    """What a record of a training says of what was done after it: distilled, trained again, updated; empty without any."""
    return _again(training) + (lineage_sentence(training["lineage"]) if training.get("lineage") else "")


def _again(training: dict[str, Any]) -> str:
    if members := training.get("distilled_from"):
        return (
            f" The {members} members of that training were then distilled into one, whose epochs these are "
            "(`TwoTower.distil`)."
        )
    if not (events := training.get("refitted_events")):
        return ""
    return (
        f" The weights were then trained again for as long, on {events:,} events, those of validation among them; "
        "where that was after the test (--refit all), the figures are of before."
    )
