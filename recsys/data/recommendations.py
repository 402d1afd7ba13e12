"""Read the lists that any system recommends: a table with a user, an item, and a rank or a score in each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.arguments import text, text_or_none
from recsys.core.id_map import IdMap, encode
from recsys.core.progress import log, warn
from recsys.core.ragged import Bool, Int32, Ragged, stable_order
from recsys.core.schema import ITEM, RANK, SCORE, USER
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format
from recsys.data.formats.table import Table, rows_of
from recsys.data.parse import check_ids, have, parse_order
from recsys.data.sources import Source, sources, tables_of
from recsys.errors import ConfigError, DataError

_FIELDS = (USER, ITEM, RANK, SCORE)
_FILTERED = -3.4e38
"""implicit scores an item that it filtered out by the least number of 32 bits."""
PADDING = -1
"""What implicit and FAISS put where they found no item."""


@dataclass(frozen=True, eq=False)
class Recommendations:
    """A list of items for each of some users, best first.

    Attributes
    ----------
    users, items : IdMap
        Raw ids in order of first appearance.
    lists : Ragged (n_users)
        Item rows; no item twice in a list.
    tied : bool (n_users,)
        Which lists hold equal scores, whose items stay in the order of the rows.
    """

    users: IdMap
    items: IdMap
    lists: Ragged
    tied: Bool

    def __repr__(self) -> str:
        return f"Recommendations({len(self.lists.rows):,} items for {len(self.users):,} users)"


def read_recommendations(
    source: Source,
    *,
    user: str = USER,
    item: str = ITEM,
    rank: str | None = None,
    score: str | None = None,
    format: Format | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> Recommendations:
    """Read lists of any system; all rows of a user, wherever they stand, make one list.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`recsys.read_interactions`: files, folders, or frames of any kind.
    user, item : str
        The columns of ids. A column of lists of items, best first, needs neither ranks nor scores.
    rank : str, optional
        Column to order each list by, the least first: whole numbers from 0 or 1 on, without a gap. By default the column
        ``rank``, if there is one and no ``score`` is named.
    score : str, optional
        Column to order each list by, the greatest first; equal scores stay in the order of the rows. By default the column
        ``score``, if there is no rank.

    Returns
    -------
    Recommendations

    Raises
    ------
    DataError
        A file, column or value cannot be used, an item is twice in a list, or ranks are repeated or missing; the message
        names the user and the item.
    ConfigError
        Both ``rank`` and ``score`` are named, or two of the columns are one.
    """
    found = sources(source)
    for name, asked in (("user", user), ("item", item)):
        text(asked, name)
    for name, given in (("rank", rank), ("score", score)):
        text_or_none(given, name)
    if rank is not None and score is not None:
        raise ConfigError("give either rank= (--rank) or score= (--score), not both: one of them orders the lists")
    named = {"user": user, "item": item, "rank": rank, "score": score}
    for one, other in zip(named, list(named)[1:], strict=False):
        if named[one] is not None and named[one] == named[other]:
            raise ConfigError(f"{one}= and {other}= both name the column {named[one]!r}; name one column for each")
    dialect = Dialect.of(separator, quote, encoding, null_values)
    parts = [_parsed(table, user, item, rank, score, null_values) for table in tables_of(found, format, _FIELDS, dialect)]
    if len({part.by_rank for part in parts}) > 1:
        raise DataError(
            "some tables of the recommendations have ranks and others scores; name the column of all, rank= (--rank) or "
            "score= (--score)"
        )
    users, user_rows = encode(_joined([part.users for part in parts]), "user")
    items, item_rows = encode(_joined([part.items for part in parts]), "item")
    keys = _joined([part.keys for part in parts], pl.Float64)
    made = _made(users, user_rows, items, item_rows, keys, by_rank=parts[0].by_rank)
    scores = [part.scores for part in parts if part.scores is not None]
    if len(scores) == len(parts):
        _tell_rising_scores(user_rows, keys, pl.concat(scores))
    return made


@dataclass(frozen=True, eq=False)
class _Part:
    """The columns of one table: canonical ids, what orders the lists (null-free), and scores beside ranks if any."""

    users: pl.Series
    items: pl.Series
    keys: pl.Series
    by_rank: bool
    scores: pl.Series | None


def _parsed(
    table: Table,
    user: str,
    item: str,
    rank: str | None,
    score: str | None,
    null_values: str | Sequence[str] | None,
) -> _Part:
    named = rank or score
    if named is None:
        rank = RANK if RANK in table.columns else None
        score = SCORE if SCORE in table.columns else None
    wanted = {USER: user, ITEM: item}
    wanted |= {ours: theirs for ours, theirs in ((RANK, rank), (SCORE, score)) if theirs is not None}
    table.refuse_missing(wanted, of_lists=True)
    frame = rows_of(table, wanted)
    if isinstance(frame[ITEM].dtype, pl.List | pl.Array):
        if named is not None:
            raise ConfigError(
                f"{table.name}: the column {item!r} holds whole lists, whose order is that of their items, and the column "
                f"{named!r} cannot order them; leave it out"
            )
        frame, rank = _exploded(frame, table.name, item), "place in the list"
    if rank is None and score is None:
        raise DataError(
            f"{table.name} has neither a column 'rank' nor a column 'score', so the order of its lists is not known; its "
            f"columns are {', '.join(table.columns)}: name the one that orders them, rank= (--rank) or score= (--score)"
        )
    by, column = (RANK, rank) if rank is not None else (SCORE, score)
    where = f"{table.name}, column {column!r}"
    log(f"{table.name}: each list is ordered by {column!r}, {'the least' if by == RANK else 'the greatest'} first")
    words = table.words(null_values)
    users = _ids(frame[USER], f"{table.name}, column {user!r}", "user", words)
    items = _ids(frame[ITEM], f"{table.name}, column {item!r}", "item", words)
    keys = parse_order(frame[by], where)
    if missing := keys.null_count():
        row = keys.is_null().arg_true()[0]
        raise DataError(
            f"{where}: {missing:,} of {len(keys):,} rows {have(missing)} no value, the first is row {row + 1}; it orders "
            f"the lists: fill it in, or remove these rows"
        )
    if by == SCORE and (keys <= _FILTERED).any():
        row = (keys <= _FILTERED).arg_true()[0]
        raise DataError(
            f"{where}: row {row + 1} is {keys[row]!r}, by which implicit marks an item that it filtered out; remove these "
            f"rows, or ask for fewer items (N)"
        )
    beside = _numbers(frame[SCORE]) if by == RANK and SCORE in frame.columns else None
    return _Part(users, items, keys, by == RANK, beside)


def _numbers(column: pl.Series) -> pl.Series | None:
    """The column as Float64; None if a row holds no number."""
    if not (column.dtype.is_numeric() or column.dtype == pl.String):
        return None
    numbers = column.cast(pl.Float64, strict=False)
    return None if numbers.null_count() else numbers


def _ids(column: pl.Series, where: str, kind: str, words: bool | None) -> pl.Series:
    ids, rows = encode(check_ids(column, where, words=words), kind)
    return ids.to_ids(rows)


def _exploded(frame: pl.DataFrame, name: str, item: str) -> pl.DataFrame:
    """One row per item, with its place as the rank, from one row per user with a list of items."""
    lists = frame.select(USER, pl.col(ITEM).arr.to_list() if isinstance(frame[ITEM].dtype, pl.Array) else pl.col(ITEM))
    lists = lists.filter(pl.col(ITEM).list.len() > 0)
    if lists.height == 0:
        raise DataError(f"{name}: every list of the column {item!r} is empty")
    return lists.with_columns(pl.int_ranges(1, pl.col(ITEM).list.len() + 1).alias(RANK)).explode(ITEM, RANK)


def _joined(columns: list[pl.Series], common: type[pl.DataType] = pl.String) -> pl.Series:
    """A column of all tables; those of several types take a common one, such as text for ids."""
    if len({one.dtype for one in columns}) > 1:
        columns = [one.cast(common) for one in columns]
    return pl.concat(columns) if len(columns) > 1 else columns[0]


def _made(
    users: IdMap, user_rows: Int32, items: IdMap, item_rows: Int32, keys: pl.Series, *, by_rank: bool
) -> Recommendations:
    values = keys.to_numpy()
    falling = values if by_rank else ~values if values.dtype.kind == "i" else -values  # ~ reverses whole numbers too
    order = stable_order(user_rows, falling)
    lists = Ragged.from_lengths(np.bincount(user_rows, minlength=len(users)), item_rows[order])
    _refuse_repeated(users, items, lists)
    owners, ordered = lists.list_index(), values[order]
    if by_rank:
        _check_ranks(users, lists, ordered)
        return Recommendations(users, items, lists, np.zeros(len(users), dtype=np.bool_))
    same = (owners[1:] == owners[:-1]) & (ordered[1:] == ordered[:-1])
    return Recommendations(users, items, lists, np.bincount(owners[1:][same], minlength=len(users)) > 0)


def _refuse_repeated(users: IdMap, items: IdMap, lists: Ragged) -> None:
    """Refuse an item that is twice in a list."""
    pairs = lists.list_index() * len(items) + lists.rows
    distinct, counts = np.unique(pairs, return_counts=True)
    if len(distinct) == len(pairs):
        return
    owner, row = divmod(int(distinct[np.argmax(counts > 1)]), len(items))
    user, item = users.ids[owner], items.ids[row]
    if str(item) == str(PADDING):
        raise padding(user)
    more = len(pairs) - len(distinct)
    raise DataError(
        f"the recommendations hold the item {item!r} more than once for the user {user!r} ({more:,} of {len(pairs):,} rows "
        f"repeat a user and item); a list holds each item once: leave out the repeated rows"
    )


def padding(user: object) -> DataError:
    """The refusal of −1 in a list."""
    return DataError(
        f"the recommendations hold the item {PADDING} for the user {user!r}: so implicit and FAISS fill up lists that are "
        f"too short, and no item is called so; remove these rows, such as frame.filter(pl.col('{ITEM}') != {PADDING})"
    )


def _check_ranks(users: IdMap, lists: Ragged, ordered: np.ndarray[tuple[int], np.dtype[np.generic]]) -> None:
    """Refuse ranks of a list that do not rise by one from 1 on, or from 0 on in all lists."""
    first = 0 if ordered.min() == 0 else 1
    places = np.arange(len(ordered)) - np.repeat(lists.offsets[:-1], lists.lengths)
    wrong = ordered != places + first
    if not wrong.any():
        return
    at, owners = int(np.argmax(wrong)), lists.list_index()
    wanted, is_ = int(places[at]) + first, ordered[at].item()
    repeated = places[at] > 0 and ordered[at] == ordered[at - 1]
    affected = len(np.unique(owners[wrong]))
    begins = "" if first else " (some user's begin at 0, so all must)"
    said = f"two items of the rank {is_}" if repeated else f"the rank {is_} where {wanted} is expected{begins}"
    raise DataError(
        f"the recommendations have {said} for the user {users.ids[int(owners[at])]!r} ({affected:,} of {len(users):,} "
        f"lists are so); the ranks of a list go 1, 2, 3 without a gap: number them anew, such as "
        f"frame.with_columns(pl.col('{RANK}').rank('ordinal').over('{USER}')), or order the lists by score= (--score)"
    )


def _tell_rising_scores(user_rows: Int32, ranks: pl.Series, scores: pl.Series) -> None:
    """Warn if scores beside the ranks say another order."""
    order = stable_order(user_rows, ranks.to_numpy())
    owners, ordered = user_rows[order], scores.to_numpy()[order]
    rising = (owners[1:] == owners[:-1]) & (ordered[1:] > ordered[:-1])
    if rising.any():
        warn(
            f"in {len(np.unique(owners[1:][rising])):,} of {int(user_rows.max()) + 1:,} lists of the recommendations a "
            f"score rises with the rank; the ranks order the lists: score= (--score) orders them by the scores instead"
        )
