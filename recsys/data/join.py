"""Whether the ids of a table are those of the log: a table that meets none of them tells nothing."""

from __future__ import annotations

import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.errors import DataError

_LOW = 0.5


def check_join(wanted: pl.Series, table: IdMap, name: str, *, source: str = "the log", refuse: bool = True) -> float:
    """Refuse a table that has none of the wanted ids, and tell of one that has few.

    Parameters
    ----------
    wanted : Series
        Ids that occur, such as those of the items of a log; not empty.
    table : IdMap
        The ids of a catalogue or a table of users.
    name, source : str
        What the two are called in messages.
    refuse : bool
        False: no overlap is told as a warning too.

    Returns
    -------
    float
        The share of the wanted ids that the table has.

    Raises
    ------
    DataError
        It has none; the message shows ids of both sides.
    """
    if len(wanted) == 0:
        return 1.0
    missing = pl.Series(table.find_rows(wanted) < 0)
    share = 1.0 - float(missing.mean() or 0.0)  # type: ignore[arg-type]
    if share >= _LOW:
        return share
    kind = f"{table.kind}s"
    lacking = _some(wanted.filter(missing))
    alike = _alike(wanted, table.ids)
    hint = (
        f"; without blanks, letter case, leading zeros and a trailing .0, {alike:.0%} would be found: write them alike"
        if alike > share + 0.1
        else "; name the right column of ids, or write the ids alike"
    )
    found = "none" if share == 0.0 else f"only {len(wanted) - int(missing.sum()):,}"
    message = (
        f"{found} of the {len(wanted):,} {kind} of {source} {'are' if share else 'is'} in {name}: {source} has {lacking}, "
        f"{name} has {_some(table.ids)}{hint}"
    )
    if share == 0.0 and refuse:
        raise DataError(message)
    warn(message)
    return share


def _some(ids: pl.Series) -> str:
    return ", ".join(repr(one) for one in ids[:3].to_list())


def _alike(wanted: pl.Series, known: pl.Series) -> float:
    """The share of ids that would be found if only letters and digits that matter were compared."""

    def plain(ids: pl.Series) -> pl.Series:
        text = ids.cast(pl.String).str.strip_chars().str.to_lowercase()
        return text.str.replace(r"^(-?\d+)\.0$", "$1").str.replace(r"^0+(\d)", "$1")

    return float(plain(wanted).is_in(plain(known).implode()).mean() or 0.0)  # type: ignore[arg-type]
