"""Segments of an evaluation: its figures by group of users and of items."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int64
from recsys.core.schema import ROW, USER, canonical_ids
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.summary import day_of
from recsys.errors import ConfigError
from recsys.evaluation.beyond_accuracy import popularity_thirds
from recsys.evaluation.metrics import Values
from recsys.evaluation.result import Evaluation
from recsys.evaluation.significance import bootstrap_interval

HISTORY, TIME, POPULARITY, TEMPERATURE = "history length", "time", "popularity", "temperature"
_BANDS = (5, 10, 20, 50, 100, 200)
_REST = "other"
_POPULARITY = ("head", "middle", "tail", "untouched")


def by_user(report: Evaluation, labels: pl.Series, metrics: list[str] | None = None) -> pl.DataFrame:
    """Means by group of users.

    Parameters
    ----------
    report : Evaluation
    labels : Series (n_users,)
        One label per held-out user, in the holdout's order, or a list of labels that all count; null leaves the user
        out.
    metrics : list of str, optional
        Such as ``["recall@10"]``; by default recall and NDCG at every k.

    Returns
    -------
    DataFrame
        ``label``, ``users``, and for each metric its mean with ``_low`` and ``_high``, the 95 % bootstrap interval.

    Raises
    ------
    ConfigError
        The number of labels is not the number of users.
    """
    if len(labels) != report.n_users:
        raise ConfigError(f"{len(labels)} labels do not fit {report.n_users} held-out users")
    metrics = metrics or [f"{name}@{k}" for k in report.k for name in ("recall", "ndcg")]
    rows = []
    for label in _ordered(labels):
        chosen = _has(labels, label)
        row: dict[str, object] = {"label": str(label), "users": int(chosen.sum())}
        for metric in metrics:
            row |= _summary(metric, report.per_user[metric][chosen])
        rows.append(row)
    return pl.DataFrame(rows)


def by_item(report: Evaluation, labels: pl.Series) -> pl.DataFrame:
    """Recall and exposure by group of items: who is found, and who is shown.

    The recall of a group is the mean over users of hits among their targets in the group / their targets in the group,
    taken over the users who have such targets; the exposure of a group is its share of all places in the lists.

    Parameters
    ----------
    report : Evaluation
    labels : Series (n_items,)
        One label per item of the model, in row order, or a list of labels that all count; null leaves the item out.

    Returns
    -------
    DataFrame
        ``label``, ``items``, ``targets``, ``users``, then for each k ``recall@k`` with its interval and ``exposure@k``.

    Raises
    ------
    ConfigError
        The number of labels is not the number of items.
    """
    n_items = len(report.exposure[report.k[0]])
    if len(labels) != n_items:
        raise ConfigError(f"{len(labels)} labels do not fit {n_items} items")
    owners, rows = report.holdout.targets.list_index(), report.holdout.targets.rows
    known = rows < n_items
    result = []
    for label in _ordered(labels):
        members = _has(labels, label)
        chosen = np.zeros(len(rows), dtype=np.bool_)
        chosen[known] = members[rows[known]]
        sought = np.bincount(owners[chosen], minlength=report.n_users)
        row: dict[str, object] = {
            "label": str(label),
            "items": int(members.sum()),
            "targets": int(chosen.sum()),
            "users": int((sought > 0).sum()),
        }
        for k in report.k:
            found = chosen & (report.target_places > 0) & (report.target_places <= k)
            hits = np.bincount(owners[found], minlength=report.n_users)
            row |= _summary(f"recall@{k}", hits[sought > 0] / sought[sought > 0])
            row[f"exposure@{k}"] = float(report.exposure[k][members].sum() / max(1, report.exposure[k].sum()))
        result.append(row)
    return pl.DataFrame(result)


def standard_segments(
    report: Evaluation, train: Interactions | None, catalog: Catalog | None = None, category: str | None = None
) -> dict[str, pl.DataFrame]:
    """The segments that every report shows, as far as the data allow.

    Parameters
    ----------
    report : Evaluation
    train : Interactions, optional
        In the model's item rows; for popularity and for items that training never saw.
    catalog : Catalog, optional
        In the model's item rows; with ``category``, a segment by that column.
    category : str, optional

    Returns
    -------
    dict of DataFrame
        Users by ``history length`` and ``time``; items by ``popularity``, ``temperature`` and ``category``.
    """
    cuts = {name: by_user(report, labels) for name, labels in user_labels(report).items()}
    return cuts | {name: by_item(report, labels) for name, labels in item_labels(train, catalog, category).items()}


def user_labels(report: Evaluation) -> dict[str, pl.Series]:
    """The standard labels of held-out users: ``history length``, and ``time`` if the targets have times."""
    labels = {HISTORY: history_bands(report)}
    return labels if report.holdout.times is None else labels | {TIME: time_bands(report)}


def item_labels(train: Interactions | None, catalog: Catalog | None, category: str | None) -> dict[str, pl.Series]:
    """The standard labels of items: ``popularity`` and ``temperature`` in training, and a catalogue column."""
    labels = {} if train is None else {POPULARITY: popularity(train), TEMPERATURE: temperature(train)}
    return labels if catalog is None or category is None else labels | {category: values(catalog, category)}


def history_bands(report: Evaluation) -> pl.Series:
    """A label per held-out user: how many items of the history the model could read."""
    return _banded(report.holdout.histories.lengths)


def time_bands(report: Evaluation, bands: int = 4) -> pl.Series:
    """A label per held-out user: the part of the time span with the first target (each part has as many users).

    Raises
    ------
    ConfigError
        The holdout was made from a log without timestamps.
    """
    times = report.holdout.times
    if times is None:
        raise ConfigError("time bands need a holdout that was made from a log with timestamps")
    first = times[report.holdout.targets.offsets[:-1]]
    edges = np.unique(np.quantile(first, np.linspace(0, 1, bands + 1)[1:-1], method="higher"))
    days = [day_of(int(one)) for one in (first.min(), *edges)]
    place = np.searchsorted(edges, first, side="right")
    return pl.Series([f"from {days[int(i)]}" for i in place])


def temperature(train: Interactions) -> pl.Series:
    """A label per item: ``hot`` with interactions in training, ``warm`` if it is known by its features only."""
    return pl.Series(np.where(train.item_counts > 0, "hot", "warm"))


def popularity(train: Interactions) -> pl.Series:
    """A label per item: ``head`` (the most popular items that make up a third of all events), ``middle``, ``tail``."""
    return pl.Series(np.array(_POPULARITY)[popularity_thirds(train.item_counts)])


def values(catalog: Catalog, name: str, most: int = 12) -> pl.Series:
    """Lists of all labels of each item from a catalogue column: every value of a list, or of text with "|" between values.

    Rare labels become ``other``, once; an item without any is null.

    Raises
    ------
    ConfigError
        The catalogue has no such column.
    """
    matrix, names = catalog.memberships(name)
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    common = np.sort(np.argsort(-counts, kind="stable")[:most])
    rows, places = matrix.nonzero()
    label = np.array([*names, _REST], dtype=object)[np.where(np.isin(places, common), places, len(names))]
    pairs = pl.DataFrame({ROW: rows.astype(np.int64), name: pl.Series(label.tolist(), dtype=pl.String)}).unique()
    lists = pairs.sort(ROW, name).group_by(ROW, maintain_order=True).agg(name)
    every = pl.DataFrame({ROW: np.arange(len(catalog), dtype=np.int64)})
    return every.join(lists, on=ROW, how="left", maintain_order="left")[name]


def column(catalog: Catalog, name: str, most: int = 12) -> pl.Series:
    """A label per item from a catalogue column; the first of a "|" list; rare labels become ``other``; null stays null.

    Raises
    ------
    ConfigError
        The catalogue has no such column.
    """
    first = catalog.listed(name).list.first().cast(pl.String)
    common = first.drop_nulls().value_counts(sort=True).head(most)[name]
    return first.to_frame().select(
        pl.when(pl.col(name).is_null() | pl.col(name).is_in(common.implode())).then(pl.col(name)).otherwise(pl.lit(_REST))
    )[name]


def user_column(report: Evaluation, table: pl.DataFrame, name: str) -> pl.Series:
    """A label per held-out user from a table of users, such as gender or country.

    Parameters
    ----------
    report : Evaluation
    table : DataFrame
        One row per user: ``user_id`` and the column ``name``.
    name : str

    Returns
    -------
    Series of String, or of lists of String if users have several values (n_users,)
        Null for users that the table lacks.

    Raises
    ------
    ConfigError
        The column is missing, or a user is in the table twice.
    """
    for needed in (USER, name):
        if needed not in table.columns:
            raise ConfigError(f"the table of users has no column {needed!r}; it has {', '.join(table.columns)}")
    known = IdMap(canonical_ids(table[USER]), "user")
    users = report.holdout.users.to_ids(report.holdout.user_rows)
    check_join(users, known, "the table of users", source="the evaluation")
    place = known.find_rows(users)
    rows = pl.Series(place, dtype=pl.Int64).set(pl.Series(place < 0), None)
    column = table[name]
    if isinstance(column.dtype, pl.List) and not column.dtype.inner.is_nested():
        return column.cast(pl.List(pl.String)).gather(rows)
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise ConfigError(
            f"the table of users has a column {name!r} of type {column.dtype}, expected text, numbers or lists"
        )
    text = column.cast(pl.String)
    if text.str.contains("|", literal=True).any():
        text = text.str.split("|").list.eval(pl.element().str.strip_chars())
    return text.gather(rows)


def _banded(values: Int64) -> pl.Series:
    names = ["0", f"1–{_BANDS[0]}", *(f"{a + 1}–{b}" for a, b in pairwise(_BANDS)), f"over {_BANDS[-1]}"]
    labels = np.array(names)[np.where(values > 0, 1 + np.searchsorted(_BANDS, values, side="left"), 0)]
    return pl.Series(labels, dtype=pl.Enum(names))


def _ordered(labels: pl.Series) -> list[object]:
    """The labels that occur: an Enum's in its own order, others sorted."""
    labels = labels.explode() if labels.dtype == pl.List else labels
    return labels.drop_nulls().unique().sort().to_list()


def _has(labels: pl.Series, label: object) -> Bool:
    """bool (n,): whether the label, or one of several, is this one."""
    found = labels.list.contains(str(label)) if labels.dtype == pl.List else labels == label
    return found.fill_null(False).to_numpy()


def _summary(metric: str, values: Values) -> dict[str, object]:
    if len(values) == 0:
        return {metric: None, f"{metric}_low": None, f"{metric}_high": None}
    low, high = bootstrap_interval(values)
    return {metric: float(np.nanmean(values)), f"{metric}_low": low, f"{metric}_high": high}
