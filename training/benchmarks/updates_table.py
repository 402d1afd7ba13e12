"""The table and the curves of rolling windows, of all cells that are there."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from contestants import head as head_of
from contestants import row as row_of
from numpy.typing import NDArray

from recsys.core.files import atomic_file

COLOURS = {"retrain": "#3182ce", "no update": "#7d848e", "new items": "#b065c4", "update": "#e08a1e"}
OTHERS = ("#2f9e6e", "#d64550", "#17a2b8", "#8c6d46")
GROUPS = {
    "all": lambda cell: np.ones(len(cell["user"]), dtype=np.bool_),
    "old users": lambda cell: cell["user_window"] == 0,
    "old items": lambda cell: cell["item_window"] == 0,
    "new items": lambda cell: (cell["item_window"] > 0) & (cell["item_window"] <= cell["window"]),
}
"""Which events a group holds; old: there in the first part, new: came since, and a model trained again knows it."""
_DRAWS = 2000


def write_tables(out: Path) -> None:
    """Make ``OUT/updates.md`` and ``OUT/updates.svg`` anew."""
    found = {folder.name.removeprefix("updates-"): _cells(folder) for folder in sorted((out / "cells").glob("updates-*"))}
    found = {data: cells for data, cells in found.items() if cells}
    if not found:
        return
    lines = [
        "# What an update gives back of a model that ages: six rolling windows",
        "",
        "A model is trained on the first 65 % of a log. At the end of each of six windows of 5 % it is left as it was, or "
        "updated from the one before with the events of the window, or trained again from nothing on all so far, and "
        "judged on the window after; ml-latest-small (and `-time`) is cut by time, the others at the same share of each "
        "history. Each event is to be found from all that its user did before, among the items that the model knows (at "
        "most 3000 events of a window, 100 of a user; an item without an event before the window is a miss for all). "
        "Figures are means over windows of the mean over users. Old: there in the first 65 %; new items: came since then, "
        "before the window. `new items`: the first model, which is only told of new items and their texts. "
        "Moderate recipes of one member, words and no text encoder: see the script.",
    ]
    for data, cells in found.items():
        lines += _section(data, cells)
    lines += [
        "",
        "![curves](updates.svg)",
        "",
        "Command: `python training/benchmarks/updates.py PATH/DATA --out training/results`; cells: "
        "`training/results/cells/updates-DATA`.",
    ]
    _write(out / "updates.md", "\n".join(lines) + "\n")
    _write(out / "updates.svg", _curves(found))


def _write(file: Path, text: str) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cells(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Name → window → what was found, with the arrays of its events."""
    cells: dict[str, dict[int, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        kept = json.loads(file.read_text())
        with np.load(file.with_suffix(".npz")) as arrays:
            kept |= {name: arrays[name] for name in arrays.files}
        cells.setdefault(kept["cell"], {})[kept["window"]] = kept
    order = {name: place for place, name in enumerate(COLOURS)}
    return dict(sorted(cells.items(), key=lambda one: (order.get(one[0], len(order)), one[0])))


def per_user(cell: dict[str, Any], metric: str, group: str) -> NDArray[np.float64]:
    """float64 (n_users,): the mean of each user over the events of a group; NaN for a user without any."""
    chosen, users = GROUPS[group](cell), np.unique(cell["user"], return_inverse=True)[1]
    n = int(users.max()) + 1
    counts = np.bincount(users[chosen], minlength=n)
    sums = np.bincount(users[chosen], cell[metric][chosen].astype(np.float64), minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def mean_of(runs: dict[int, dict[str, Any]], windows: list[int], metric: str, group: str) -> float:
    """The mean over windows of the mean over users; NaN if no window has any."""
    means = [np.nanmean(one) for window in windows if (~np.isnan(one := per_user(runs[window], metric, group))).any()]
    return float(np.mean(means)) if means else float("nan")


def ratio(
    ours: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]], windows: list[int], metric: str, group: str
) -> tuple[float, float, float]:
    """Our mean over the other's, with a 95 % bootstrap interval: users are drawn, the same for both, in each window."""
    random = np.random.default_rng(0)
    sums = np.zeros((2, _DRAWS + 1))
    for window in windows:
        values = np.stack([per_user(runs[window], metric, group) for runs in (ours, other)])
        values = values[:, ~np.isnan(values[0])]
        if (n := values.shape[1]) == 0:
            continue
        drawn = random.multinomial(n, np.full(n, 1 / n), size=_DRAWS)
        sums[:, 1:] += values @ drawn.T / n
        sums[:, 0] += values.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[0] / sums[1]
    if not np.isfinite(shares[0]):
        return (float("nan"),) * 3
    low, high = np.nanquantile(shares[1:][np.isfinite(shares[1:])], (0.025, 0.975))
    return float(shares[0]), float(low), float(high)


def _section(data: str, cells: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    windows = sorted(set.union(*(set(runs) for runs in cells.values())))
    first, again = next(iter(cells.values())), cells.get("retrain", {})
    judged = [one["judged"] for one in first.values()]
    users = [len(np.unique(one["user"])) for one in first.values()]
    lines = ["", f"## {data}", ""]
    lines.append(
        f"{len(windows)} windows; events judged in each: {min(judged):,} to {max(judged):,}, of {min(users):,} to "
        f"{max(users):,} users."
    )
    names = ["recall@10", "NDCG@10", *(f"recall@10, {group}" for group in list(GROUPS)[1:])]
    asked = [("recall", "all"), ("ndcg", "all"), *(("recall", group) for group in list(GROUPS)[1:])]
    lines += head_of(["model", "windows", *names, "CPU s of a window", "of retrain"])
    for name, runs in cells.items():
        own = sorted(runs)
        shown = [f"{mean_of(runs, own, *one):.4f}" for one in asked]
        both = sorted(set(runs) & set(again))
        spent = sum(runs[window]["cpu_seconds"] for window in both)
        share = f"{spent / sum(again[window]['cpu_seconds'] for window in both):.1%}" if both else "–"
        cost = np.mean([runs[window]["cpu_seconds"] for window in own])
        lines.append(row_of([name, str(len(own)), *shown, f"{cost:,.1f}", share]))
    if len(again) < len(windows):
        lines += ["", f"Training again was measured after {len(again)} of {len(windows)} windows so far."]
    if again:
        lines += [
            "",
            "Of what training again gives, where it was measured (95 % interval, users drawn anew in each window):",
        ]
        lines += head_of(["model", *names])
        for name, runs in cells.items():
            if name != "retrain" and (both := sorted(set(runs) & set(again))):
                found = [ratio(runs, again, both, *one) for one in asked]
                lines.append(row_of([name, *(f"{a:.1%} ({b:.1%} to {c:.1%})" for a, b, c in found)]))
    lines += ["", "recall@10 by window:", *head_of(["model", *(str(window) for window in windows)])]
    for name, runs in cells.items():
        by_window = [
            f"{np.nanmean(per_user(runs[window], 'recall', 'all')):.4f}" if window in runs else "" for window in windows
        ]
        lines.append(row_of([name, *by_window]))
    run = cells.get("update", first)[max(cells.get("update", first))]
    lines += ["", f"Recipe: `{json.dumps(run['recipe'])}`; {run['machine']}, {run['date']}"]
    for name, runs in cells.items():
        if "options" in (last := runs[max(runs)]):
            lines.append(f"{name}: `{last['options']}`")
    return lines


def _curves(found: dict[str, dict[str, dict[int, dict[str, Any]]]]) -> str:
    """One panel per data set: recall@10 against the window."""
    wide, high, parts = 330, 250, list[str]()
    for place, (data, cells) in enumerate(found.items()):
        left = 20 + place * wide
        lines = {
            name: [(window, float(np.nanmean(per_user(runs[window], "recall", "all")))) for window in sorted(runs)]
            for name, runs in cells.items()
        }
        top = 1.1 * max(value for points in lines.values() for _, value in points)
        parts.append(f'<text x="{left + 40}" y="18" font-weight="bold">{escape(data)}</text>')
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = high - 200 * share
            parts.append(
                f'<line x1="{left + 40}" x2="{left + 300}" y1="{y}" y2="{y}" stroke="#c3c9d1" stroke-width="0.5"/>'
            )
            parts.append(f'<text x="{left + 34}" y="{y + 4}" text-anchor="end">{top * share:.2f}</text>')
        for number, (name, points) in enumerate(lines.items()):
            colour = COLOURS.get(name, OTHERS[number % len(OTHERS)])
            drawn = " ".join(f"{left + 10 + 40 * x},{high - 200 * y / top:.1f}" for x, y in points)
            parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
            y = high + 34 + 15 * number
            parts.append(f'<rect x="{left + 40}" y="{y - 8}" width="14" height="4" fill="{colour}"/>')
            parts.append(f'<text x="{left + 60}" y="{y - 2}">{escape(name)}</text>')
        for window in range(1, 7):
            parts.append(f'<text x="{left + 10 + 40 * window}" y="{high + 16}" text-anchor="middle">{window}</text>')
    most = max(len(cells) for cells in found.values())
    size = f'width="{40 + wide * len(found)}" height="{high + 44 + 15 * most}"'
    style = 'font-family="sans-serif" font-size="11" fill="#333"'
    about = "recall@10 of each model against the number of the window after which it was left, updated or trained again"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img">\n<title>{about}</title>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
