"""Read logs, catalogues, and tables of items and users from files and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from recsys.core.arguments import different, texts, whole_number
from recsys.core.arguments import text as column
from recsys.core.arguments import text_or_none as column_or_none
from recsys.core.id_map import IdMap, encode
from recsys.core.schema import (
    ITEM,
    MOVIELENS_CATALOG,
    MOVIELENS_INTERACTIONS,
    MOVIELENS_USERS,
    RELATED,
    RELATION,
    TEXT_COLUMNS,
    USER,
    WEIGHT,
)
from recsys.data.catalog import Catalog
from recsys.data.events import join_columns
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format, PathLike
from recsys.data.formats.table import Table, rows_of, unproven_rows_of
from recsys.data.interactions import Interactions
from recsys.data.log_request import DROP_HINT, LogRequest
from recsys.data.order import Ties
from recsys.data.parse import ParsedColumns, check_ids, parse_columns, unique_ids
from recsys.data.quarantine import OnError, Quarantine, refuse_all
from recsys.data.relations import ItemRelations
from recsys.data.several_files import joined
from recsys.data.sources import Source, sources, tables_of
from recsys.data.times.units import TimeUnit
from recsys.data.user_table import UserFeature, UserTable, check_choice
from recsys.errors import DataError

_IDS = (ITEM, RELATED)


def read_interactions(
    source: Source,
    *,
    format: Format | None = None,
    user: str = USER,
    item: str = ITEM,
    timestamp: str | None = None,
    time_unit: TimeUnit | None = None,
    order: str | None = None,
    ties: Ties = "file",
    weight: str | None = None,
    event: str | None = None,
    event_weights: Mapping[str, float] | None = None,
    drop_unordered: bool = False,
    unordered: bool = False,
    drop_duplicates: bool = False,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
    on_error: OnError = "raise",
    quarantine: PathLike | None = None,
    quarantine_limit: float = 0.1,
) -> Interactions:
    r"""Read an interaction log.

    Parameters
    ----------
    source : path, pattern, folder, frame, or a list of these
        CSV, TSV, MovieLens ``::``, Parquet, Arrow IPC or NDJSON; text formats may be gzipped. The files of a folder or a
        pattern are read in sorted order, those of a list in its own. A path is a pattern only if no such file exists. Names
        in a folder that begin with ``.`` or ``_`` are left out; a partition (``year=2024/part.parquet``) gives a column. A
        frame of polars (lazy too) or pandas, a table, reader or data set of pyarrow, or anything that has
        ``__arrow_c_stream__``: only the named columns are read.
    format : str, optional
        By default, each file's ending shows it.
    user, item : str
        The columns that hold the ids.
    timestamp : str, optional
        Column of times: seconds, milliseconds, microseconds or nanoseconds since 1970, dates, ISO 8601 text (UTC unless it
        names a zone), or compact dates such as 20240531. By default ``timestamp``, if the log has such a column and no
        ``order`` is given.
    time_unit : {"s", "ms", "us", "ns"}, optional
        The unit of timestamps that are numbers. By default, it is found from the values of all files, and logged.
    order : str, optional
        Column to sort each user's events by (any numbers); wins over the timestamp. With neither column, file order is the
        order.
    ties : {"file", "item"}
        How events of one user with an equal order or timestamp are ordered: as in the file, or by item id as text (by code
        point: 10 before 9), whatever the order of rows and files; events on one item keep file order. Published sets with
        dates for times come in either order, and the figures of the two do not compare.
    weight : str, optional
        Column with the strength of an event, such as a rating.
    event : str, optional
        Column with the type of an event, such as view, cart or buy: at most 127 different ones.
    event_weights : mapping, optional
        Event type → strength, for every type that occurs; instead of ``weight``.
    drop_unordered : bool
        Leave out rows whose timestamp or order is null, instead of refusing them.
    unordered : bool
        The order of the events is unknown: no column gives it, and the order of the rows means nothing. Histories are then
        shuffled once, times are not read, and :func:`recsys.random_split` holds out random items.
    drop_duplicates : bool
        Leave out rows that equal an earlier one in user, item, and those of time, order and event type that are read; log
        their number.
    separator : str, optional
        Of CSV and TSV: one character, or its name (comma, semicolon, tab, pipe). By default the format's own, or another
        that the first rows show, which is logged.
    quote : str, optional
        Of CSV and TSV: the character around fields that hold separators or line ends; ``""`` if quotes are ordinary
        characters. By default ``"`` for CSV, none for TSV.
    encoding : str, optional
        Of text formats, such as cp1252, latin-1 or utf-16; by default UTF-8, or what a byte order mark shows.
    null_values : str or sequence of str, optional
        Texts that mean a missing value, such as ``NULL`` or ``\N``, and numbers, such as ``-1``.
    on_error : {"raise", "quarantine"}
        What to do about a row without an id, time, order, weight or event type, or with one that cannot be read: refuse the
        log, or set the row aside. So with damaged lines of NDJSON, CSV and TSV (another number of fields than the header,
        a quote that does not close); text that is not in its encoding is refused either way.
    quarantine : path, optional
        The new folder for rows that are set aside: ``rows.parquet`` (file, row, the line of a text, reason, and the raw
        values as text) and ``counts.json``, written once the log is read.
    quarantine_limit : float
        The largest share of rows that may be set aside: above it, a column is probably the wrong one, and the log is
        refused.

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        A file, column or value cannot be used; the message names it.
    ConfigError
        ``event_weights`` is given with ``weight`` or without ``event``, or does not give each type a finite strength;
        ``user`` and ``item`` name one column; ``unordered`` is given with ``timestamp``, ``order`` or ``drop_unordered``;
        ``ties`` is "item" and no column orders the events.

    Examples
    --------
    >>> pl.DataFrame({"who": [1, 1, 2], "what": [7, 8, 7], "stars": [5, 3, 4]}).write_csv("ratings.csv")
    >>> log = recsys.read_interactions("ratings.csv", user="who", item="what", weight="stars")
    >>> log.users.ids.to_list(), log.weights.tolist()
    ([1, 2], [5.0, 3.0, 4.0])
    >>> recsys.read_interactions(pl.scan_csv("ratings.csv"), user="who", item="what")  # or pandas, Arrow, DuckDB
    Interactions(3 by 2 users on 2 items)
    """
    request = LogRequest(
        user,
        item,
        timestamp,
        time_unit,
        order,
        ties,
        weight,
        event,
        event_weights,
        drop_unordered,
        unordered,
        drop_duplicates,
    )
    aside = Quarantine.of(on_error, quarantine, quarantine_limit, keep_unordered=request.drop_unordered)
    dialect = Dialect.of(separator, quote, encoding, null_values)
    log = read_log(source, request, dialect, format=format, null_values=null_values, aside=aside)
    if aside is not None:
        with aside.kept():
            pass
    return log


def read_log(
    source: Source,
    request: LogRequest,
    dialect: Dialect,
    *,
    format: Format | None = None,
    null_values: str | Sequence[str] | None = None,
    aside: Quarantine | None = None,
) -> Interactions:
    """As :func:`read_interactions`; the quarantine is filled, and its files are left for the caller to write."""
    if aside is not None:
        dialect = replace(dialect, damaged=aside.tell)
    parts, others = list[ParsedColumns](), dict[str, None]()
    for table in tables_of(sources(source), format, MOVIELENS_INTERACTIONS, dialect):
        wanted = request.columns_of(table)
        others |= dict.fromkeys(name for name in table.columns if name not in wanted.values())
        rule = table.words(null_values)
        raw, name = unproven_rows_of(table, wanted), table.name
        if aside is not None:
            height = raw.height
            raw = aside.sift(raw, wanted, table.name, words=rule)
            aside.find_lines(table.name, table.lines)
            if not raw.height:
                continue
            name += "" if raw.height == height else " without its quarantined rows"
        parts.append(parse_columns(raw, wanted, name, words=rule, prove=table.prove))
    if aside is not None:
        aside.check()
        if not parts:
            refuse_all()
    events = join_columns(parts, request.time_unit, drop_unordered=request.drop_unordered, hint=DROP_HINT)
    log = Interactions.from_events(
        events,
        ties=request.ties,
        unordered=request.unordered,
        drop_duplicates=request.drop_duplicates,
        others=tuple(others),
        weight=request.weight,
    )
    return log if request.event_weights is None else log.weighted_by_event(request.event_weights)


def read_catalog(
    source: Source,
    *,
    format: Format | None = None,
    item: str = ITEM,
    text: str | Sequence[str] | None = None,
    title: str | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> Catalog:
    """Read an item catalogue.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`read_interactions`.
    item : str
        The column of ids.
    text : str or sequence of str, optional
        Columns that make the item's text, in this order. By default, the file's columns among ``title``, ``name``,
        ``description``, ``categories``, ``category``, ``genres`` and ``brand``.
    title : str, optional
        The column shown to people; by default the first text column.

    Returns
    -------
    Catalog

    Raises
    ------
    DataError
        A file, column or value cannot be used, or an item occurs twice.

    Examples
    --------
    >>> pl.DataFrame({"item_id": [7, 8], "name": ["Alien", "Brazil"], "year": [1979, 1985]}).write_csv("films.csv")
    >>> recsys.read_catalog("films.csv", text=["name", "year"]).texts.to_list()
    ['Alien. 1979', 'Brazil. 1985']
    """
    source = sources(source)
    column(item, "item")
    column_or_none(title, "title")
    text = [text] if isinstance(text, str) else None if text is None else different(texts(text, "text"), "text= (--text)")
    dialect = Dialect.of(separator, quote, encoding, null_values)
    tables, frames, ids, used = list[Table](), list[pl.DataFrame](), list[IdMap](), set[str]()
    for table in tables_of(source, format, MOVIELENS_CATALOG, dialect):
        present = table.columns
        chosen = list(text) if text is not None else [name for name in TEXT_COLUMNS if name in present]
        used.update(chosen)
        if item != ITEM and ITEM in present:
            raise DataError(
                f"{table.name}: has a column {ITEM!r} beside {item!r}, which you named as the item's id; rename one of them"
            )
        if not chosen:
            raise DataError(
                f"{table.name}: name the columns of the text, text=[...] (--text); its columns are {', '.join(present)}"
            )
        wanted = {ITEM: item} | {name: name for name in present if name not in (item, ITEM)}
        wanted |= {name: name for name in (*chosen, *([title] if title else [])) if name not in wanted}
        frame = rows_of(table, wanted)
        ids.append(unique_ids(frame[ITEM], f"{table.name}, column {item!r}", "item", words=table.words(null_values)))
        frames.append(frame)
        tables.append(table)
    chosen = list(text) if text is not None else [name for name in TEXT_COLUMNS if name in used]
    frame = joined(frames, [one.ids for one in ids], tables)
    items = ids[0] if len(ids) == 1 else IdMap(frame[ITEM], "item", checked=True)
    return Catalog.of_items(items, frame, text=chosen, title=title or chosen[0])


def read_items(
    source: Source,
    *,
    format: Format | None = None,
    item: str = ITEM,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> pl.DataFrame:
    """Read a table of items as it is written, for :meth:`recsys.serving.retriever.Retriever.add_items`.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`read_interactions`.
    item : str
        The column of ids; it is named ``item_id`` in the result.

    Raises
    ------
    DataError
        A file or its column of ids cannot be used.
    """
    source = sources(source)
    column(item, "item")
    dialect = Dialect.of(separator, quote, encoding, null_values)
    tables, frames, ids = list[Table](), list[pl.DataFrame](), list[pl.Series]()
    for table in tables_of(source, format, MOVIELENS_CATALOG, dialect):
        wanted = {ITEM: item} | {name: name for name in table.columns if name not in (item, ITEM)}
        frame = rows_of(table, wanted)
        found, rows = encode(
            check_ids(frame[ITEM], f"{table.name}, column {item!r}", words=table.words(null_values)), "item"
        )
        ids.append(found.to_ids(rows))
        frames.append(frame)
        tables.append(table)
    return joined(frames, ids, tables)


def read_relations(
    source: Source,
    *,
    format: Format | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> ItemRelations:
    """Read a table of related items: ``item_id``, ``related_item_id`` and, if it has them, ``relation`` and ``weight``.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`read_interactions`.

    Raises
    ------
    DataError
        A file or a column cannot be used; see :meth:`recsys.ItemRelations.from_frame`.

    Examples
    --------
    >>> recsys.read_relations("relations.csv")  # doctest: +SKIP
    """
    source = sources(source)
    dialect = Dialect.of(separator, quote, encoding, null_values)
    frames, names = list[pl.DataFrame](), list[str]()
    for table in tables_of(source, format, (ITEM, RELATED), dialect):
        if absent := [name for name in _IDS if name not in table.columns]:
            raise DataError(f"{table.name} has no column {absent[0]!r}; its columns are {', '.join(table.columns)}")
        columns = [name for name in (*_IDS, RELATION, WEIGHT) if name in table.columns]
        frames.append(rows_of(table, {name: name for name in columns}))
        names.append(table.name)
    if not frames:
        raise DataError("there is no table of relations")
    if len({tuple(one.columns) for one in frames}) > 1:
        raise DataError(f"{names[0]} and other files of relations have different columns; give all the same")
    ids = {name: pl.concat([one[name].cast(pl.String) for one in frames]) for name in frames[0].columns if name in _IDS}
    rest = pl.concat([one.drop(*ids) for one in frames], how="vertical_relaxed")
    return ItemRelations.from_frame(pl.DataFrame(ids).hstack(rest), name=names[0] if len(names) == 1 else "the relations")


def read_users(
    source: Source,
    user: str,
    *columns: str,
    format: Format | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> pl.DataFrame:
    """Read columns of a table of users, for groups in an evaluation.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`read_interactions`.
    user, columns : str
        The column of ids, and the columns to read.

    Returns
    -------
    DataFrame
        ``user_id`` and ``columns``, as they are written.

    Raises
    ------
    DataError
        A file or a column cannot be used.
    """
    source = sources(source)
    for name in (user, *columns):
        column(name, "each column")
    dialect = Dialect.of(separator, quote, encoding, null_values)
    wanted, frames = {USER: user} | {name: name for name in columns}, list[pl.DataFrame]()
    for table in tables_of(source, format, MOVIELENS_USERS, dialect):
        frame = rows_of(table, wanted)
        ids, rows = encode(check_ids(frame[USER], f"{table.name}, column {user!r}", words=table.words(null_values)), "user")
        frames.append(frame.with_columns(ids.to_ids(rows).alias(USER)))
    return pl.concat(frames, how="vertical_relaxed")


def read_user_table(
    source: Source,
    *,
    user: str = USER,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    buckets: int = 10,
    like: Sequence[UserFeature] = (),
    format: Format | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null_values: str | Sequence[str] | None = None,
) -> UserTable:
    """Read features of users as codes for a model.

    Parameters
    ----------
    source, format, separator, quote, encoding, null_values
        As for :func:`read_interactions`; one row per user.
    user : str
        The column of ids.
    categorical, numeric : sequence of str
        Columns of categories, and of numbers to cut into buckets of about equally many users.
    buckets : int
        Most buckets per numeric column.
    like : sequence of UserFeature
        Features of an earlier table, as a bundle holds them (``bundle.towers.user_features``): categories keep their codes,
        and numbers their buckets.

    Returns
    -------
    UserTable

    Raises
    ------
    DataError
        A file, column or value cannot be used, or a user occurs twice.
    ConfigError
        No column is named, one is named twice, or ``buckets`` is below 2.

    Examples
    --------
    >>> pl.DataFrame({"user_id": [1, 2], "country": ["fr", "de"], "age": [31, 54]}).write_csv("users.csv")
    >>> recsys.read_user_table("users.csv", categorical=["country"], numeric=["age"], buckets=2).names
    ('country', 'age')
    """
    categorical, numeric = texts(categorical, "categorical"), texts(numeric, "numeric")
    buckets = whole_number(buckets, "buckets", least=2)
    check_choice(categorical, numeric, buckets)
    source = sources(source)
    column(user, "user")
    dialect = Dialect.of(separator, quote, encoding, null_values)
    wanted = {USER: user} | {name: name for name in (*categorical, *numeric)}
    tables, frames, ids = list[Table](), list[pl.DataFrame](), list[IdMap]()
    for table in tables_of(source, format, MOVIELENS_USERS, dialect):
        frame = rows_of(table, wanted)
        ids.append(unique_ids(frame[USER], f"{table.name}, column {user!r}", "user", words=table.words(null_values)))
        frames.append(frame)
        tables.append(table)
    frame = joined(frames, [one.ids for one in ids], tables, USER, "user")
    users = ids[0] if len(ids) == 1 else IdMap(frame[USER], "user", checked=True)
    more = f" and {len(tables) - 1:,} more files, rows counted through all" if len(tables) > 1 else ""
    source = f"{tables[0].name}{more}"
    return UserTable.of_users(
        users, frame, categorical=categorical, numeric=numeric, buckets=buckets, source=source, like=like
    )
