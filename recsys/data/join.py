"""Check that a table and a log share ids."""

from __future__ import annotations

import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.data.look_alikes import plain_letters
from recsys.errors import DataError

_LOW = 0.5


def check_join(wanted: pl.Series, table: IdMap, name: str, *, source: str = "the log", refuse: bool = True) -> float:
    """Refuse a table with none of the wanted ids, and warn about a table with few of them.

    Parameters
    ----------
    wanted : Series
        Raw ids that occur, such as those of the items of a log.
    table : IdMap
        The ids of a catalogue or a table of users.
    name, source : str
        What messages call the table and the origin of the wanted ids.
    refuse : bool
        False: warn about a table with none of the ids too.

    Returns
    -------
    float
        The share of the wanted ids in the table.

    Raises
    ------
    DataError
        The table has none of them; the message shows ids of both sides.
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
        f"; without blanks, letter case, leading zeros, a trailing .0 and letters in several pieces, {alike:.0%} would be "
        f"found: write them alike"
        if alike > share + 0.1
        else "; name the right column of ids, or write the ids in the same way"
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
    """The share of ids found if blanks, letter case, leading zeros, a trailing .0 and pieces of letters are ignored."""

    def plain(ids: pl.Series) -> pl.Series:
        text = plain_letters(ids.cast(pl.String)).str.strip_chars().str.to_lowercase()
        return text.str.replace(r"^(-?\d+)\.0+$", "$1").str.replace(r"^0+(\d)", "$1")

    return float(plain(wanted).is_in(plain(known).implode()).mean() or 0.0)  # type: ignore[arg-type]
