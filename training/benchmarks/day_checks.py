"""What the checks of a day say about ordinary windows of real logs, and about spoiled ones.

    python training/benchmarks/day_checks.py PATH --out training/results

``PATH`` holds the folders ml-latest-small, ml-1m and amazon-beauty. Logs with times are cut into windows of some lengths
over the second half of their events (amazon-beauty without its last month, in which it thins out to nothing); ml-1m, whose
real times are known in part, has a part of each history as the new events. Each window is checked as it is, and spoiled:
half of it (a load that broke off in the middle, and every other row, both with --until at the end of the window), one item
bought by everybody beside the rest and instead of it, a tenth of all events on one item, loaded twice, and the events of
another log in its place.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.interactions import Interactions
from recsys.evaluation.usual import DAY
from recsys.pipeline.day import check_day

SPANS = {"amazon-beauty": (1, 7, 30), "ml-latest-small": (7, 30, 90), "ml-1m": (0,)}
SPOILED = ("as it is", "half (broke off)", "half (every other row)", "one item by everybody too", "one item alone",
           "a tenth on one item",
           "loaded twice", "another shop")  # fmt: skip


def logs(folder: Path) -> dict[str, pl.DataFrame]:
    found = {}
    for name in SPANS:
        frame = pl.read_parquet(folder / name / "interactions.parquet")
        if name == "ml-1m":
            frame = frame.drop_nulls("seq").sort("user_id", "seq").select("user_id", "item_id")
        else:
            frame = frame.sort("timestamp", maintain_order=True).select("user_id", "item_id", "timestamp")
        found[name] = frame.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    return found


def spoiled(how: str, day: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    if how == "half (broke off)":
        return day.head(len(day) // 2)
    if how == "half (every other row)":
        return day.gather_every(2)
    if how.startswith("one item"):
        bought = day.unique("user_id", keep="last", maintain_order=True).with_columns(item_id=pl.lit("special offer"))
        return bought if how == "one item alone" else pl.concat([day, bought])
    if how == "a tenth on one item":
        item = day["item_id"].mode()[0]
        lucky = pl.Series(np.random.default_rng(0).random(len(day)) < 0.1)
        return day.with_columns(item_id=pl.when(lucky).then(pl.lit(item)).otherwise("item_id"))
    if how == "loaded twice":
        return pl.concat([day, day])
    if how == "another shop":
        ids = other.tail(len(day)).select("user_id", "item_id")
        return day.head(len(ids)).with_columns(ids)
    return day


def checked(known: pl.DataFrame, day: pl.DataFrame, until: int | None) -> tuple[list[str], int]:
    """Names of the checks that refuse, and how many earlier windows there were."""
    both = pl.concat([known.with_columns(fresh=pl.lit(0.0)), day.with_columns(fresh=pl.lit(1.0))])
    log = Interactions.from_frame(both.rename({"fresh": "weight"}))
    report = check_day(log, np.asarray(log.weights) > 0.5, until=until)
    return [one.name for one in report.refused], report.windows


def windows(name: str, frame: pl.DataFrame, days: int, most: int) -> list[tuple[pl.DataFrame, pl.DataFrame, int | None]]:
    """What was known, new events, and the end of their window."""
    if not days:
        place = pl.int_range(pl.len()).over("user_id") / pl.len().over("user_id")
        cut = frame.with_columns(place=place)
        starts = np.linspace(0.7, 0.97, most)
        return [
            (cut.filter(pl.col("place") < one).drop("place"),
             cut.filter((pl.col("place") >= one) & (pl.col("place") < one + 0.03)).drop("place"), None)
            for one in starts
        ]  # fmt: skip
    times = frame["timestamp"].to_numpy()
    first, last = int(np.quantile(times, 1 / 2)) // DAY, int(times.max()) // DAY - (30 if name == "amazon-beauty" else 0)
    found = []
    for start in np.linspace(first, last - days, most).astype(int):
        day = frame.filter(pl.col("timestamp").is_between(start * DAY, (start + days) * DAY, closed="left"))
        if len(day) >= 20:
            found.append((frame.filter(pl.col("timestamp") < start * DAY), day, (start + days) * DAY))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--windows", type=int, default=20)
    given = parser.parse_args()
    frames = logs(given.path)
    rows, why = [], defaultdict(Counter[str])
    for name, frame in frames.items():
        other = frames["ml-1m" if name == "ml-latest-small" else "ml-latest-small"]
        for days in SPANS[name]:
            cut = windows(name, frame, days, given.windows)
            row = {"log": name, "window": f"{days} days" if days else "3 % of each history", "windows": len(cut)}
            for how in SPOILED:
                found = [checked(known, spoiled(how, day, other), end) for known, day, end in cut]
                row[how] = f"{sum(1 for names, _ in found if names)}"
                why[name, days, how].update(one for names, _ in found for one in names)
            rows.append(row)
            print(row, {how: dict(why[name, days, how]) for how in SPOILED}, flush=True)
    lines = [
        "# What the checks of a day refuse",
        "",
        "`python training/benchmarks/day_checks.py PATH --out training/results`. How many of the windows are refused: of "
        "those as they are, none should be, and of the spoiled ones all. Below: by which checks.",
        "",
        "| log | window | windows | " + " | ".join(SPOILED) + " |",
        "|" + "---|" * (3 + len(SPOILED)),
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
        "",
        "| log | window | day | refused by |",
        "|---|---|---|---|",
        *(
            f"| {name} | {days or '3 %'} | {how} | {', '.join(f'{one} {n}' for one, n in counts.most_common())} |"
            for (name, days, how), counts in why.items()
            if counts
        ),
        "",
    ]
    if given.out:
        (given.out / "day-checks.md").write_text("\n".join(lines), encoding="utf-8")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
