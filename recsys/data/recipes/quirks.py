"""What no table of columns can say: lists within a field, flags that mean names, properties in a long table."""

from __future__ import annotations

from typing import Final, Protocol

import polars as pl

from recsys.data.recipes.sieve import ROW, Sieve


class Step(Protocol):
    """A named transformation of the rows of a file, block by block."""

    def rows(self, frame: pl.DataFrame, sieve: Sieve) -> pl.DataFrame:
        """What becomes of a block."""
        ...

    def end(self, sieve: Sieve) -> pl.DataFrame | None:
        """What was kept back until the last block."""
        ...


class GenreFlags:
    """MovieLens 100K: a column of 0 and 1 for each genre becomes one column ``genres``, with a bar between names."""

    _FIRST = "unknown"

    def rows(self, frame: pl.DataFrame, sieve: Sieve) -> pl.DataFrame:
        """Join the names of the columns that hold 1."""
        names = frame.columns[frame.columns.index(self._FIRST) :]
        told = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in names]
        return frame.with_columns(pl.concat_str(told, separator="|", ignore_nulls=True).alias("genres"))

    def end(self, sieve: Sieve) -> pl.DataFrame | None:
        """Nothing is kept back."""
        return None


class MindClicks:
    """MIND: each impression holds the user's history, the same each time, and the news shown, of which some were clicked.

    The history's events have no time; ``order`` is below zero for them and the second of the click for the others.
    """

    _TIME = "%m/%d/%Y %I:%M:%S %p"

    def __init__(self) -> None:
        self.met = pl.Series("user", [], pl.String)

    def rows(self, frame: pl.DataFrame, sieve: Sieve) -> pl.DataFrame:
        """The events of a block of impressions."""
        frame = frame.with_columns(
            pl.col("time").str.to_datetime(self._TIME, time_unit="ms", strict=False).dt.epoch("s").alias("second")
        )
        sieve.counted.read -= frame.height  # its rows are events, not impressions
        past = frame.select(ROW, "user", pl.col("history").str.split(" ").alias("item")).drop_nulls(["user", "item"])
        first = past.filter(pl.col("user").is_first_distinct() & ~pl.col("user").is_in(self.met.implode()))
        self.met = pl.concat([self.met, first["user"]])
        old = (
            first.with_columns(pl.int_ranges(-pl.col("item").list.len().cast(pl.Int64), 0).alias("order"))
            .explode("item", "order")
            .with_columns(pl.lit("history").alias("event"), pl.lit(None, pl.String).alias("time"))
        )
        sieve.counted.rows(int(past["item"].list.len().sum()))
        sieve.counted.dropped(
            "the history again, in a later impression of the user", int(past["item"].list.len().sum()) - old.height
        )
        shown = frame.select(
            ROW, "user", "time", pl.col("second").alias("order"), pl.col("shown").str.split(" ").alias("item")
        )
        shown = shown.explode("item").drop_nulls("item")
        clicked = shown.filter(pl.col("item").str.ends_with("-1")).with_columns(
            pl.col("item").str.head(-2), pl.lit("click").alias("event")
        )
        sieve.counted.rows(shown.height)
        sieve.counted.dropped(
            "the news was shown and not clicked, or it is not said whether", shown.height - clicked.height
        )
        wanted = [ROW, "user", "item", "order", "time", "event"]
        return pl.concat([old.select(wanted), clicked.select(wanted)]).with_columns(pl.col("order").cast(pl.String))

    def end(self, sieve: Sieve) -> pl.DataFrame | None:
        """Nothing is kept back."""
        return None


class LatestProperties:
    """RetailRocket: a row for each change of a property becomes a row for each item, with the latest value of four of them.

    All other properties are hashed without a hint of what they mean.
    """

    _KEPT: Final = {"categoryid": "category", "available": "available", "790": "price", "888": "words"}

    def __init__(self) -> None:
        self.found: pl.DataFrame | None = None

    def rows(self, frame: pl.DataFrame, sieve: Sieve) -> pl.DataFrame:
        """Keep what is latest until now; nothing is handed on yet."""
        known = frame.filter(pl.col("property").is_in(list(self._KEPT)))
        sieve.counted.dropped("the property is hashed, and its meaning is unknown", frame.height - known.height)
        for name in ("itemid", "timestamp"):
            unread = known[name].cast(pl.Int64, strict=False).is_null()
            known = sieve.leave_out(known, unread, f"the {name} cannot be read", name)
        changes = known.select(
            "itemid", pl.col("property").replace_strict(self._KEPT), "value", pl.col("timestamp").cast(pl.Int64)
        )
        both = changes if self.found is None else pl.concat([self.found, changes])
        self.found = both.sort("timestamp", maintain_order=True).unique(
            ["itemid", "property"], keep="last", maintain_order=True
        )
        sieve.counted.dropped("a later value of the same property is known", both.height - self.found.height)
        return frame.clear().with_columns(pl.lit(None, pl.String).alias(name) for name in self._KEPT.values())

    def end(self, sieve: Sieve) -> pl.DataFrame | None:
        """A row for each item."""
        if self.found is None:
            return None
        wide = self.found.drop("timestamp").pivot("property", index="itemid", values="value", sort_columns=True)
        sieve.counted.dropped("joined with the other properties of the item", self.found.height - wide.height)
        lacking = [pl.lit(None, pl.String).alias(name) for name in self._KEPT.values() if name not in wide.columns]
        price = pl.col("price").str.strip_prefix("n") if "price" in wide.columns else pl.lit(None, pl.String).alias("price")
        lacking.append(pl.lit(None, pl.Int64).alias(ROW))
        return wide.with_columns(*lacking).with_columns(price).sort("itemid")


STEPS: Final[dict[str, type[Step]]] = {
    "genre flags": GenreFlags,
    "clicks of impressions": MindClicks,
    "latest properties": LatestProperties,
}
"""The name in a recipe → the transformation."""


class MostCommon:
    """A catalogue from a log: for each item, the value of a column that most of its events have."""

    def __init__(self, columns: dict[str, str]) -> None:
        self.columns = columns
        self.counts = dict[str, pl.DataFrame]()

    def rows(self, frame: pl.DataFrame, item: str) -> None:
        """Count a block's values.

        Parameters
        ----------
        frame : DataFrame
        item : str
            The file's column of item ids.
        """
        for ours, theirs in self.columns.items():
            few = frame.select(pl.col(item).alias("item"), pl.col(theirs).alias("value")).group_by("item", "value").len()
            both = few if ours not in self.counts else pl.concat([self.counts[ours], few])
            self.counts[ours] = both.group_by("item", "value").agg(pl.col("len").sum())

    def catalogue(self, name: str) -> pl.DataFrame:
        """A row for each item, in the order of ids; ``name`` is our column of ids."""
        found: pl.DataFrame | None = None
        for ours, counted in self.counts.items():
            by_count = counted.with_columns(pl.col("value").is_null().alias("none")).sort(
                "none", "len", "value", descending=[False, True, False]
            )
            best = by_count.unique("item", keep="first", maintain_order=True).select("item", pl.col("value").alias(ours))
            found = best if found is None else found.join(best, on="item", how="full", coalesce=True)
        if found is None:
            return pl.DataFrame(schema={name: pl.String})
        return found.rename({"item": name}).sort(name)
