"""The tables of a bundle on disk: users, items, histories and held-out users as Parquet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.bundle.config import FILE as CONFIG
from recsys.bundle.config import SavedConfig, first_line
from recsys.core.id_map import IdMap
from recsys.core.opened import Source
from recsys.core.ragged import Int32, Int64, Ragged
from recsys.core.schema import ITEM, TEXT, TITLE, USER
from recsys.data.catalog import Catalog
from recsys.data.split import Holdout
from recsys.errors import BundleError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

_HIDDEN = (ITEM, f"_{TEXT}", f"_{TITLE}")


@dataclass(frozen=True, eq=False)
class SavedTables:
    """What the tables of a bundle hold.

    Attributes
    ----------
    users : IdMap
    user_codes : int32 (n_users, F) or None
        Features of the users; None: the model reads none.
    catalog : Catalog
        In item rows.
    histories : Ragged (n_users)
    trained : int64 (n_users,) or None
        How many events from the start of each history the model was trained on.
    holdout : Holdout or None
    """

    users: IdMap
    user_codes: Int32 | None
    catalog: Catalog
    histories: Ragged
    trained: Int64 | None
    holdout: Holdout | None


def write(bundle: Bundle, target: Path) -> None:
    """Write the tables of a bundle into a folder."""
    catalog = bundle.catalog
    codes = bundle.towers.codes_for(bundle.users)
    features = [] if codes is None else [pl.Series(f"feature_{i}", codes[:, i]) for i in range(codes.shape[1])]
    bundle.users.ids.to_frame().hstack(features).write_parquet(target / "users.parquet")
    own = {ITEM: bundle.items.ids, f"_{TEXT}": catalog.texts, f"_{TITLE}": catalog.titles}
    columns = catalog.columns.rename(
        lambda name: f"_{name}" if name.lstrip("_") in (TEXT, TITLE) and name[0] == "_" else name
    )
    pl.DataFrame(own).hstack(columns).write_parquet(target / "items.parquet")
    histories = _nested(bundle.histories, "items", "times", "events")
    if bundle.trained is not None:
        histories = histories.with_columns(pl.Series("trained", bundle.trained))
    histories.write_parquet(target / "histories.parquet")
    if (holdout := bundle.holdout) is not None:
        users = holdout.users.to_ids(holdout.user_rows).alias(USER).to_frame()
        history = _nested(holdout.histories, "history", "history_times", "history_events")
        targets = _nested(replace(holdout.targets.without_events(), times=holdout.times), "targets", "times", "events")
        pl.concat([users, history, targets], how="horizontal").write_parquet(target / "holdout.parquet")


def read(source: Source, config: SavedConfig) -> SavedTables:
    """Read the tables of a bundle, each proven to belong to the others.

    Raises
    ------
    BundleError
        A table is missing, damaged, or does not fit another or the configuration.
    """
    people = _table(source, "users.parquet", {USER})
    users, features = IdMap(people[USER], "user"), people.drop(USER)
    catalog = _catalog(source, config)
    table = _table(source, "histories.parquet", {"items"})
    histories = _lists(table, "items", "times", "events")
    n_items, n_events = len(catalog.items.ids), len(config.event_names)
    _check_rows(source, "histories.parquet", histories, len(users), n_items, n_events)
    holdout = None
    if config.holdout is not None:
        held = _table(source, "holdout.parquet", {USER, "history", "targets"})
        history, targets = _lists(held, "history", "history_times", "history_events"), _lists(held, "targets", "times", "")
        for lists in (history, targets):
            _check_rows(source, "holdout.parquet", lists, len(held), n_items, n_events)
        holdout = Holdout(
            users,
            catalog.items,
            users.to_rows(held[USER]),
            history,
            targets.without_events(),
            config.holdout,
            targets.times,
            () if history.events is None else config.event_names,
        )
    return SavedTables(
        users,
        features.to_numpy().astype(np.int32) if features.width else None,
        catalog,
        histories,
        table["trained"].to_numpy() if "trained" in table.columns else None,
        holdout,
    )


def _catalog(source: Source, config: SavedConfig) -> Catalog:
    """The catalogue, with the text columns that the configuration names."""
    table = _table(source, "items.parquet", set(_HIDDEN))
    names = set(table.columns)
    if missing := [name for name in config.text_columns if name not in names and f"_{name}" not in names]:
        file = source.folder / CONFIG
        raise BundleError(f"{file}: catalog.text_columns names {missing[0]!r}, which items.parquet does not have")
    return Catalog(
        IdMap(table[ITEM], "item"),
        table[f"_{TEXT}"].alias(TEXT),
        table[f"_{TITLE}"].alias(TITLE),
        table.drop(_HIDDEN).rename(
            lambda name: name[1:] if name.lstrip("_") in (TEXT, TITLE) and name[:2] == "__" else name
        ),
        config.text_columns,
    )


def _table(source: Source, name: str, needed: set[str]) -> pl.DataFrame:
    """A table of the bundle.

    Raises
    ------
    BundleError
        It is missing or no Parquet, or lacks a column.
    """
    try:
        frame = pl.read_parquet(source.read(name))
    except (FileNotFoundError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{source.folder / name} cannot be read: {first_line(error)}") from error
    if missing := needed - set(frame.columns):
        raise BundleError(f"{source.folder / name} is not whole: it has no column {min(missing)!r}")
    return frame


def _check_rows(source: Source, name: str, lists: Ragged, owners: int, items: int, events: int) -> None:
    """Refuse lists that refer to what is not there."""
    file = source.folder / name
    if len(lists) != owners:
        raise BundleError(f"{file} has {len(lists)} lists for {owners} users")
    if len(lists.rows) and not 0 <= int(lists.rows.min()) <= int(lists.rows.max()) < items:
        raise BundleError(f"{file} names items that are none of the {items} in items.parquet")
    if (
        lists.events is not None
        and len(lists.events)
        and not 0 <= int(lists.events.min()) <= int(lists.events.max()) < events
    ):
        raise BundleError(f"{file} has event types that are none of the {events} of event_names in config.json")


def _nested(lists: Ragged, rows: str, times: str, events: str) -> pl.DataFrame:
    """One list column for the rows and, where there are any, one for the times and one for the event types."""
    columns = {rows: lists.rows, times: lists.times, events: lists.events}
    flat = pl.DataFrame({"owner": lists.list_index()} | {name: one for name, one in columns.items() if one is not None})
    filled = flat.group_by("owner", maintain_order=True).agg(pl.all())
    every = pl.DataFrame({"owner": np.arange(len(lists))})
    joined = filled.join(every, on="owner", how="right", maintain_order="right").drop("owner")
    return joined.with_columns(pl.all().fill_null([]))


def _lists(frame: pl.DataFrame, rows: str, times: str, events: str) -> Ragged:
    """The lists of columns that :func:`_nested` made; times and event types only where the frame has them."""

    def flat(name: str, dtype: type[pl.DataType]) -> NDArray[Any]:
        return frame[name].explode(empty_as_null=False).cast(dtype).to_numpy()

    return Ragged.from_lengths(
        frame[rows].list.len().to_numpy(),
        flat(rows, pl.Int32),
        flat(times, pl.Int64) if times in frame.columns else None,
        flat(events, pl.Int8) if events in frame.columns else None,
    )
