"""The table of all cells of a setting that are there: figures, costs, and whether the default is really ahead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from cells import CELLS, DEFAULT, GOALS, Setting
from places import ahead, check_same_people, gains_of

from recsys.core.files import atomic_file

SHOWN = ("recall@10", "ndcg@10", "recall@50", "recall@100")
_PROTOCOLS = {"last": "leave-last-out", "time": "one cut in time"}
_CANDIDATES = {"touched": "of the log", "catalog": "of the catalogue"}


def write_table(out: Path, setting: Setting) -> None:
    """Make the table ``OUT/quality-NAME.md`` anew."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((out / "cells" / setting.name).glob("*.json")):
        found = json.loads(file.read_text())
        cells.setdefault(found["cell"], []).append(found | {"file": file})
    if not cells:
        return
    order = {cell: place for place, cell in enumerate(dict.fromkeys([DEFAULT, f"{DEFAULT}, refit", *CELLS]))}
    names = sorted(cells, key=lambda name: (order.get(name, len(order) // 2), name))
    first = cells[names[0]][0]
    lines = [
        f"# {setting.data}, {_PROTOCOLS[setting.protocol]}, all {first['items']:,} items "
        f"{_CANDIDATES[setting.candidates]} ranked, seen items filtered",
        "",
        f"{first['interactions']:,} interactions ({first['without_order']:,} without an order left out), "
        f"{first['users']:,} users judged. {setting.told}{' ' * bool(setting.told)}recall@k = hits / relevant. "
        f"{GOALS.get(setting.name, 'Goal: the default is really ahead of every row')}. Mean over seeds ± the half-width of "
        "its 95 % interval (Student's t) where there are several. CPU s: of fitting; for the towers and SASRec with "
        "validating, without encoding texts (once per catalogue); with transitions and of the default, of all that a fit "
        "does. Towers have a transition memory beside them only where the name says so, or where the default decides so. "
        "Ablations (ids, text, losses, encoder) are of one member of the recipe, and SASRec was given about the CPU time "
        "of one. A blank was not measured.",
        "",
        *_figures(cells, names),
        *_tests(cells, names),
        *_decided(cells.get(DEFAULT, [{}])[0]),
        "",
        f"Command: `python training/benchmarks/quality.py PATH/{setting.data} --out training/results{setting.flags}` "
        f"(SASRec: `quality_rectools.py`, see there); cells: `training/results/cells/{setting.name}`.  ",
        f"Machine: {first['machine']}, {max(run['date'] for runs in cells.values() for run in runs)}",
    ]
    with atomic_file(out / f"quality-{setting.name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _figures(cells: dict[str, list[dict[str, Any]]], names: list[str]) -> list[str]:
    levels = ndcg_levels(cells)
    touched = [
        f"{metric}, items of the log alone" for metric in SHOWN[:2] if any("touched" in one[0] for one in cells.values())
    ]
    heads = ["model", "seeds", *SHOWN, *touched, "CPU s", "best epoch"]
    heads += [f"CPU s to validation NDCG@10 {level:.3f}" for level in levels]
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for name in names:
        runs = cells[name]
        values = [spread([run["test"].get(metric) for run in runs]) for metric in SHOWN]
        if touched:
            values += [spread([run.get("touched", {}).get(metric) for run in runs]) for metric in SHOWN[:2]]
        epochs = "/".join(str(run["best_epoch"]) for run in runs) if "best_epoch" in runs[0] else ""
        reached = [when(runs[0].get("curve", []), level) for level in levels]
        cpu = f"{np.mean([run['cpu_seconds'] for run in runs]):,.1f}"
        lines.append(_row([name, str(len(runs)), *values, cpu, epochs, *reached]))
    return lines


def _tests(cells: dict[str, list[dict[str, Any]]], names: list[str]) -> list[str]:
    """Whether the default is really ahead of each other row; nothing while there is no default."""
    if DEFAULT not in cells:
        return []
    again = f"{DEFAULT}, refit"
    plain = [name for name in names if name != DEFAULT and not name.endswith(", refit")]
    refits = [name for name in names if name != again and name.endswith(", refit")]
    lines = [
        "",
        "Whether the default is really ahead, on the same users: the difference of the means, and a paired randomisation "
        "test (two-sided, 5 %, Holm's correction over the rows; the mean over its seeds is a user's figure).",
        *_test_rows(cells, DEFAULT, plain if again in cells else [*plain, *refits]),
    ]
    return lines + (_test_rows(cells, again, refits) if again in cells else [])


def _test_rows(cells: dict[str, list[dict[str, Any]]], ours: str, others: list[str]) -> list[str]:
    check_same_people(cells[ours][0]["file"], [cells[name][0]["file"] for name in others])
    columns = []
    for metric in SHOWN:
        own, gains = _gains(cells[ours], metric), [_gains(cells[name], metric) for name in others]
        columns.append([""] * len(others) if own is None else ahead(own, gains))
    heads = [f"{ours} against", *SHOWN]
    rows = [_row([name, *values]) for name, *values in zip(others, *columns, strict=True)]
    return ["", _row(heads), "|" + "---|" * len(heads), *rows]


def _decided(run: dict[str, Any]) -> list[str]:
    """What the default decided from the log with its first seed."""
    if not run.get("decisions"):
        return []
    taken = (
        f" (deciding took {run['deciding_seconds']:,.0f} of {run['seconds']:,.0f} s)" if "deciding_seconds" in run else ""
    )
    heads = ["option", "value", "because", "instead of"]
    rows = [[one["option"], one["value"], one["because"], one["against"]] for one in run["decisions"]]
    lines = ["", f"What the default decided{taken}:", "", _row(heads), "|" + "---|" * len(heads)]
    return lines + [_row([str(cell) for cell in row]) for row in rows]


def _gains(runs: list[dict[str, Any]], metric: str) -> Any:
    if any(metric not in run["test"] for run in runs):
        return None
    return gains_of([run["file"] for run in runs], metric, [run["test"][metric] for run in runs])


def ndcg_levels(cells: dict[str, list[dict[str, Any]]]) -> list[float]:
    """Half, three quarters and 95 % of the best validation NDCG@10 of the towers' own recipe."""
    points = [p["ndcg@10"] for run in cells.get("two towers", []) for p in run["curve"]]
    return [share * max(points) for share in (0.5, 0.75, 0.95)] if points else []


def when(points: list[dict[str, float]], level: float) -> str:
    """CPU seconds at which a curve first reaches a level."""
    if not points:
        return ""
    return next((f"{p['cpu_seconds']:,.0f}" for p in points if p["ndcg@10"] >= level), "not reached")


def spread(values: list[float | None]) -> str:
    """Mean, and the half-width of its 95 % interval where there are several; blank where a run lacks the figure."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    if len(known) == 1:
        return f"{known[0]:.4f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / np.sqrt(len(known))
    return f"{np.mean(known):.4f} ± {half:.4f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
