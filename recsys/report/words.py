"""What the page and the card say in words: of metrics, of groups, of intervals and of what was found."""

from __future__ import annotations

from typing import Any

from recsys.evaluation.segments import HISTORY, POPULARITY, TEMPERATURE, TIME
from recsys.pages.tables import number, percent

MEANING = {
    "recall": "share of a user's held-out items that are among the first k",
    "hit_rate": "share of users with a held-out item among the first k",
    "precision": "share of the k places that hold a held-out item",
    "ndcg": "as recall, but an item further up counts more",
    "mrr": "1 / place of the first hit, 0 without one",
    "map": "mean of the precision at each hit",
    "novelty": "how rare the shown items are: mean of −log2 of the share of users who know them",
    "popularity": "mean number of training events of the shown items",
    "popularity_lift": "how much more popular the shown items are than the user's own: 0 equally, 1 twice as much",
    "serendipity": "hits that popularity alone would not have found",
    "diversity": "how different the items of one list are: 1 − mean cosine of their vectors",
    "category_diversity": "how different the categories within one list are",
    "calibration": "how far the categories shown are from those of the history; 0 is a perfect match",
    "coverage": "share of the catalogue that is shown to anybody",
    "gini": "how unequally places are given out among items; 0 all alike, 1 all to one",
}
"""One line per metric family."""

GROUPS = {
    HISTORY: ("By length of history", "Users are grouped by how many items of their history the model could read."),
    TIME: ("By time", "Users are grouped by the day of the item they were to be recommended, parts of equally many users."),
    POPULARITY: (
        "By popularity of the item",
        "Head, middle and tail each hold a third of the training events: head is the few most popular items. "
        "Untouched items have none.",
    ),
    TEMPERATURE: (
        "By hot or warm item",
        "Hot items have training events, warm ones are known by their features alone.",
    ),
}
"""Title and explanation of the ways of grouping that are not a catalogue column."""


def group_words(name: str) -> tuple[str, str]:
    """Title and explanation of a way of grouping."""
    column = (
        f"By {name}",
        f"Items are grouped by the first value in the catalogue's column {name!r}; rare ones are “other”.",
    )
    return GROUPS.get(name, column)


def metric_number(name: str, value: float | None) -> str:
    """A metric's figure: counts of events with one decimal, all else with four, or two digits where it is tiny."""
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return number(value, 1 if name.startswith("popularity@") else 4)


def told(value: Any) -> str:
    """An option or a fact."""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else str(value)


def ends(valued: dict[str, Any], name: str = "") -> str:
    """An interval, or nothing where there is none: of users who all have the same value, resamples cannot tell one."""
    if valued.get("low") is None or valued.get("high") is None or valued["low"] == valued["high"]:
        return ""
    return f"{metric_number(name, valued['low'])}–{metric_number(name, valued['high'])}"


def finding(figures: dict[str, Any]) -> str:
    """The main result as one or two sentences."""
    head = figures["headline"]
    recall = head["metrics"][f"recall@{head['k']}"]
    low_high = "" if recall["low"] is None else f" (95 % interval {percent(recall['low'])} to {percent(recall['high'])})"
    said = (
        f"{percent(recall['mean'])}{low_high} of what {head['users']:,} users took next is among the first {head['k']} "
        f"that {head['model']} picks from {head['items']:,} items."
    )
    return f"{said} {verdict(figures)}".strip()


def verdict(figures: dict[str, Any]) -> str:
    """How the model stands against the others, by the paired tests."""
    own, metric = figures["headline"]["model"], figures["tests"]["metric"]
    above = [row["worse"] for row in figures["tests"]["rows"] if row["better"] == own and row["significant"]]
    below = [row["better"] for row in figures["tests"]["rows"] if row["worse"] == own and row["significant"]]
    alike = [
        row["worse"] if row["better"] == own else row["better"]
        for row in figures["tests"]["rows"]
        if own in (row["better"], row["worse"]) and not row["significant"]
    ]
    parts = [
        f"{what} {_listed(names)}"
        for what, names in (("better than", above), ("worse than", below), ("not significantly different from", alike))
        if names
    ]
    return f"By {metric} it is {_listed(parts)}." if parts else ""


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
