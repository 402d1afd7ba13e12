"""Interactions: an immutable log, held as one history of item rows per user."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.parse import check_ids, parse_order, parse_timestamp, parse_weight
from recsys.data.row_lists import Bool, Float32, Int64, RowLists
from recsys.data.vocabulary import Vocabulary, encode
from recsys.errors import DataError
from recsys.files import atomic_folder
from recsys.schema import ITEM, ORDER, TIMESTAMP, USER, WEIGHT


@dataclass(frozen=True, eq=False)
class Interactions:
    """One event a row: a user, an item, a place in time.

    Attributes
    ----------
    users, items : Vocabulary
        Raw ids; the position of an id is its row. Items may include some that nobody touched.
    histories : RowLists
        For each user row, the item rows in time order; ties keep file order.
    timestamps : int64 (n,) or None
        Seconds since 1970 of each event, aligned with ``histories.rows``; None where only an order is known.
    weights : float32 (n,) or None
        Strength of each event (a rating, say), aligned likewise; None means 1 throughout.
    """

    users: Vocabulary
    items: Vocabulary
    histories: RowLists
    timestamps: Int64 | None = None
    weights: Float32 | None = None

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Interactions:
        """Build from a frame in our own column names.

        Parameters
        ----------
        frame : DataFrame
            Columns ``user_id`` and ``item_id``; optionally ``timestamp`` (integer seconds, dates or ISO 8601 text),
            ``order`` (any numbers; sorted by instead of the timestamp) and ``weight``. No nulls.

        Raises
        ------
        DataError
            A column is missing, a value is null or of a wrong kind, or there are no rows.
        """
        for name in (USER, ITEM):
            if name not in frame.columns:
                raise DataError(f"the frame has no column {name!r}; its columns are {', '.join(frame.columns)}")
        if frame.height == 0:
            raise DataError("the frame has no rows")
        for name in (USER, ITEM):
            check_ids(frame[name], f"the frame, column {name!r}")
        for name, parse in ((TIMESTAMP, parse_timestamp), (ORDER, parse_order), (WEIGHT, parse_weight)):
            if name in frame.columns:
                parsed = parse(frame[name], f"the frame, column {name!r}")
                if parsed.null_count():
                    raise DataError(f"{parsed.null_count()} of {frame.height} rows have no {name}")
                frame = frame.with_columns(parsed.alias(name))
        users, user_rows = encode(frame[USER], "user")
        items, item_rows = encode(frame[ITEM], "item")
        keys = pl.DataFrame({"user": user_rows, "position": np.arange(frame.height, dtype=np.uint32)})
        sort_by = next((name for name in (ORDER, TIMESTAMP) if name in frame.columns), None)
        if sort_by is not None:
            keys = keys.with_columns(frame[sort_by].alias("time"))
        # File position is the last key: the order of ties never depends on the sort's own stability.
        order = keys.sort(["user", "time", "position"] if sort_by else ["user", "position"])["position"].to_numpy()
        lengths = np.bincount(user_rows, minlength=len(users))
        instants = frame[TIMESTAMP] if TIMESTAMP in frame.columns else None
        if instants is not None and instants.dtype.is_temporal():
            instants = instants.dt.epoch("s")
        return cls(
            users=users,
            items=items,
            histories=RowLists.from_lengths(lengths, item_rows[order]),
            timestamps=None if instants is None else instants.to_numpy()[order],
            weights=frame[WEIGHT].to_numpy()[order] if WEIGHT in frame.columns else None,
        )

    def __len__(self) -> int:
        return len(self.histories.rows)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} by {len(self.users):,} users on {len(self.items):,} items)"

    @cached_property
    def item_counts(self) -> Int64:
        """int64 (n_items,): the number of events on each item row."""
        return np.bincount(self.histories.rows, minlength=len(self.items)).astype(np.int64)

    @cached_property
    def item_users(self) -> Int64:
        """int64 (n_items,): the number of different users who touched each item row."""
        return self.matrix().getnnz(axis=0).astype(np.int64)

    def matrix(self) -> sp.csr_matrix[np.float32]:
        """The user–item matrix.

        Returns
        -------
        float32 CSR (n_users, n_items)
            Sum of the weights of each pair (the number of events where there are no weights); sorted, no duplicates.
        """
        data = np.ones(len(self), dtype=np.float32) if self.weights is None else self.weights.copy()
        shape = (len(self.users), len(self.items))
        matrix = sp.csr_matrix((data, self.histories.rows.copy(), self.histories.offsets.copy()), shape=shape)
        matrix.sum_duplicates()
        return matrix

    def with_items(self, ids: pl.Series) -> Interactions:
        """The same log over more items: those of ``ids`` it lacks come after its own, whose rows stay."""
        return replace(self, items=self.items.extended(ids))

    def select(self, keep: Bool) -> Interactions:
        """Only the events with ``keep`` true, bool (n,) in history order; both vocabularies stay as they are."""
        return replace(
            self,
            histories=self.histories.where(keep),
            timestamps=None if self.timestamps is None else self.timestamps[keep],
            weights=None if self.weights is None else self.weights[keep],
        )

    def compact(self) -> Interactions:
        """Without the users and items that have no event; rows are renumbered in their old order."""
        alive_users = np.flatnonzero(self.histories.lengths)
        alive_items = np.flatnonzero(self.item_counts)
        renumbered = np.full(len(self.items), -1, dtype=np.int32)
        renumbered[alive_items] = np.arange(len(alive_items), dtype=np.int32)
        lists = RowLists.from_lengths(self.histories.lengths[alive_users], renumbered[self.histories.rows])
        return replace(
            self,
            users=Vocabulary(self.users.ids.gather(alive_users), "user"),
            items=Vocabulary(self.items.ids.gather(alive_items), "item"),
            histories=lists,
        )

    def k_core(self, *, user_min: int = 5, item_min: int = 5) -> Interactions:
        """The largest part in which every user has ``user_min`` events or more and every item ``item_min`` or more.

        Removal repeats until nothing changes, since each removal can push others under the limit.

        Raises
        ------
        DataError
            Nothing is left.
        """
        owners, rows = self.histories.owners(), self.histories.rows
        alive = np.ones(len(rows), dtype=np.bool_)
        while True:
            per_user = np.bincount(owners[alive], minlength=len(self.users))
            per_item = np.bincount(rows[alive], minlength=len(self.items))
            kept = alive & (per_user[owners] >= user_min) & (per_item[rows] >= item_min)
            if kept.sum() == alive.sum():
                break
            alive = kept
        if not alive.any():
            raise DataError(f"no interaction is left in the {user_min}/{item_min}-core")
        return self.select(alive).compact()

    def frame(self) -> pl.DataFrame:
        """All events as a frame of raw ids, user by user in time order."""
        owners = self.histories.owners().astype(np.int32)
        columns = {USER: self.users.raw(owners), ITEM: self.items.raw(self.histories.rows)}
        if self.timestamps is not None:
            columns[TIMESTAMP] = pl.Series(self.timestamps)
        if self.weights is not None:
            columns[WEIGHT] = pl.Series(self.weights)
        return pl.DataFrame(columns)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids, histories, times and weights: equal logs have equal fingerprints."""
        digest = hashlib.sha256()
        for vocabulary in (self.users, self.items):
            ids = vocabulary.ids.cast(pl.String)
            digest.update(f"{len(ids)} {vocabulary.kind}s:".encode())
            digest.update(ids.str.len_bytes().to_numpy().tobytes())  # else "a", "bc" would equal "ab", "c"
            digest.update("".join(ids.to_list()).encode())
        for array in (self.histories.offsets, self.histories.rows, self.timestamps, self.weights):
            digest.update(b"|none" if array is None else b"|" + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write three Parquet files (events, users, items) into a new folder, all or nothing."""
        with atomic_folder(Path(folder)) as target:
            self.frame().write_parquet(target / "events.parquet")
            self.users.ids.to_frame().write_parquet(target / "users.parquet")
            self.items.ids.to_frame().write_parquet(target / "items.parquet")

    @classmethod
    def load(cls, folder: str | Path) -> Interactions:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DataError
            A file is missing or broken.
        """
        try:
            events, user_ids, item_ids = (
                pl.read_parquet(Path(folder) / f"{name}.parquet") for name in ("events", "users", "items")
            )
            users, items = Vocabulary(user_ids[USER], "user"), Vocabulary(item_ids[ITEM], "item")
            user_rows, item_rows = users.rows(events[USER]), items.rows(events[ITEM])
        except (OSError, pl.exceptions.PolarsError, DataError) as error:
            raise DataError(f"{folder} does not hold saved interactions: {str(error).splitlines()[0]}") from error
        if (np.diff(user_rows) < 0).any():
            raise DataError(f"{folder}: events.parquet is no longer in the order in which it was saved; save the log again")
        return cls(
            users=users,
            items=items,
            histories=RowLists.from_lengths(np.bincount(user_rows, minlength=len(users)), item_rows),
            timestamps=events[TIMESTAMP].to_numpy() if TIMESTAMP in events.columns else None,
            weights=events[WEIGHT].to_numpy() if WEIGHT in events.columns else None,
        )
