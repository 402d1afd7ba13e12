"""Ranked rows as what callers read: frames, Arrow tables, lists."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int64, Ragged
from recsys.core.ranking import Ranked, distinct_eligible
from recsys.core.schema import RANK, SCORE, SOURCE
from recsys.errors import ConfigError, DependencyError
from recsys.serving.request import LeftOut

Output: TypeAlias = Literal["polars", "arrow", "lists"]


@dataclass(frozen=True, eq=False)
class Answered:
    """An answer, with what is told beside it.

    Attributes
    ----------
    frame : DataFrame
        One row per item.
    lengths : int64 (n,)
        Rows of each who asked, in the order of asking.
    left_out : LeftOut
        What could not be heeded, in numbers.
    rule_effects : DataFrame or None
        What the rules moved.
    """

    frame: pl.DataFrame
    lengths: Int64
    left_out: LeftOut
    rule_effects: pl.DataFrame | None


def spread(ranked: Ranked, able: Int64, n: int) -> Ranked:
    """The lists of some, int64 (m,), as lists of all n: empty for the others."""
    lengths = np.zeros(n, dtype=np.int64)
    lengths[able] = ranked.lists.lengths
    return Ranked(Ragged.from_lengths(lengths, ranked.lists.rows), ranked.scores)


def frame_of(ranked: Ranked, owners: pl.Series, items: IdMap, item_name: str) -> pl.DataFrame:
    """One row per item: who asked, the item, ``score`` (null for a pinned item that nobody scored), ``rank`` from 1.

    Parameters
    ----------
    ranked : Ranked (n)
    owners : Series (n,)
    items : IdMap
        Of the ranked rows.
    item_name : str
        The column of the items.
    """
    lists = ranked.lists
    place = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)
    return pl.DataFrame(
        {
            owners.name: owners.gather(pl.Series(lists.list_index(), dtype=pl.UInt32)),
            item_name: items.to_ids(lists.rows),
            SCORE: pl.Series(ranked.scores).fill_nan(None),
            RANK: (place + 1).astype(np.int32),
        }
    )


def filled_by_popularity(
    ranked: Ranked,
    able: Int64,
    counts: Int64,
    eligible: Bool,
    hidden: Ragged,
    k: int,
) -> tuple[Ranked, pl.Series]:
    """The model's lists, and the most popular items for all who have none; with the source of each list.

    Parameters
    ----------
    ranked : Ranked (len(able))
    able : int64
        Whose lists these are.
    counts : int64 (n_items,)
        Interactions of each item.
    eligible : bool (n_items,)
    hidden : Ragged (n)
        What each must not get.
    k : int

    Returns
    -------
    Ranked (n)
    Series (n,)
        ``"model"`` or ``"popular"``.
    """
    n, n_items = len(hidden), len(counts)
    rest = np.setdiff1d(np.arange(n), able)
    if len(rest) == 0:  # nothing to sort the catalogue for
        return ranked, pl.Series(SOURCE, ["model"] * n, dtype=pl.String)
    own = hidden.take(rest)
    longest = int(distinct_eligible(own, None, n_items).max(initial=0))
    order = np.lexsort((np.arange(n_items), -counts))
    best = order[eligible[order]][: k + longest].astype(np.int32)
    keys = np.repeat(np.arange(len(rest)), len(best)) * n_items + np.tile(best, len(rest))
    kept = ~np.isin(keys, own.list_index() * n_items + own.rows)
    lists = Ragged.from_lengths(np.full(len(rest), len(best), dtype=np.int64), np.tile(best, len(rest)))
    lists = lists.where(kept).head(np.full(len(rest), k))
    popular = Ranked(lists, counts[lists.rows].astype(np.float32))
    place = np.empty(n, dtype=np.int64)
    place[able], place[rest] = np.arange(len(able)), len(able) + np.arange(len(rest))
    both = Ranked.joined([ranked, popular]).take(place)
    by_model = np.zeros(n, dtype=np.bool_)
    by_model[able] = True
    return both, pl.Series(SOURCE, np.where(by_model, "model", "popular"))


def check_output(output: object) -> None:
    """Refuse an output that does not exist (ConfigError)."""
    if output not in get_args(Output):
        raise ConfigError(f"output must be one of {', '.join(get_args(Output))}, not {output!r}")


def as_output(frame: pl.DataFrame, output: Output, lengths: Int64) -> Any:
    """An answer in the type that was asked for.

    Parameters
    ----------
    frame : DataFrame
        Whose first column tells who asked.
    output : {"polars", "arrow", "lists"}
    lengths : int64 (n,)
        Rows of each who asked; in ``"lists"``, whoever gets nothing has an empty list.

    Raises
    ------
    DependencyError
        An Arrow table without the package pyarrow.
    """
    if output == "polars":
        return frame
    if output == "arrow":
        try:
            return frame.to_arrow()
        except ModuleNotFoundError as error:
            raise DependencyError("output='arrow' needs the package pyarrow: pip install 'recsys[arrow]'") from error
    rows = iter(frame.drop(frame.columns[0]).to_dicts())
    return [list(islice(rows, int(length))) for length in lengths]
