"""How an updated bundle came about, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def lineage_facts(lineage: dict[str, Any]) -> dict[str, str]:
    """The facts of a lineage, each as one line; see :attr:`recsys.bundle.contents.Bundle.lineage`."""
    facts = {
        "parent": str(lineage.get("parent") or "not saved"),
        "updates": f"{lineage.get('updates', 1):,} since the model was trained",
    }
    for name in ("events", "users", "items"):
        if counts := lineage.get(name):
            facts[name] = f"{counts['old']:,} old, {counts['new']:,} new"
    for name in ("old_times", "new_times"):
        if times := lineage.get(name):
            facts[name.replace("_", " ")] = _span(times)
    if (spent := lineage.get("cpu_seconds")) is not None:
        facts["cpu seconds"] = f"{spent:,.1f}"
    if options := lineage.get("options"):
        facts["options"] = ", ".join(f"{name} {value}" for name, value in options.items())
    if isinstance(gate := lineage.get("gate"), dict):
        facts["gate"] = str(gate.get("verdict", "judged")) + (", accepted by force" if lineage.get("forced") else "")
    return facts


def lineage_sentence(lineage: dict[str, Any]) -> str:
    """What an update did to trained weights, for a model card; with a blank before it."""
    parent = f" Its parent is the bundle {lineage['parent'][:12]}." if lineage.get("parent") else ""
    if not lineage.get("updates", 1):
        return f" It was trained anew, on what that bundle knew and on later events.{parent}"
    events, items, users = (lineage.get(name) or {"old": 0, "new": 0} for name in ("events", "items", "users"))
    times = f", from {_span(lineage['new_times'])}" if lineage.get("new_times") else ""
    count = lineage.get("updates", 1)
    often = "once" if count == 1 else f"{count:,} times, lastly"
    return (
        f" The weights were then updated {often} with {events['new']:,} new events{times}, of {users['new']:,} new users "
        f"and {items['new']:,} new items among others, for {lineage.get('cpu_seconds', 0):,.0f} CPU seconds.{parent}"
    )


def _span(times: Sequence[int]) -> str:
    return " to ".join(_day(time) for time in times)


def _day(time: int) -> str:
    """An instant, in seconds since 1970; as it is where no calendar has it."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return str(time)
