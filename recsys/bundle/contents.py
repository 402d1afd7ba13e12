"""The bundle: one model with everything that it answers from, and everything that is known about how it was made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.corpus import Corpus
from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.index.item_index import ItemIndex
from recsys.models.towers import TwoTowerModel


@dataclass(frozen=True, eq=False)
class Bundle:
    """What is saved, reported on and served, all in the same item rows. It never changes; a change makes another bundle.

    Attributes
    ----------
    corpus : Corpus
        Towers, index and catalogue as they are now.
    users : IdMap
        The users that can be asked for by id.
    histories : Ragged (n_users)
        Their histories; with the times and types of their events if the log has them.
    config : ModelConfig
    objective, augment, training : Objective, Augment, Training or None
        The other options of the training; None if they are not known.
    reading : dict or None
        How ``recsys fit`` read and split the log; None if it was read in Python.
    record : dict
        What happened in training: ``epochs``, ``best_epoch``, ``seconds``.
    holdout : Holdout or None
        Users and targets kept from training, to evaluate on.
    data : dict
        Fingerprint and size of the log.
    trained : int64 (n_users,) or None
        How many events from the start of each history the model was trained on; None if it was trained on others.
    event_names : tuple of str
        The event types that ``histories.events`` refers to: those that the model was trained on, in the same order.
    lineage : dict or None
        How an update made it of another bundle: ``parent`` (that one's seal), ``events``, ``users`` and ``items`` (``old``
        and ``new``), ``cpu_seconds`` and more; None: it was trained anew.
    seal : str or None
        The sha256 of the manifest that it was loaded from; None: it was not loaded.
    """

    corpus: Corpus
    users: IdMap
    histories: Ragged
    config: ModelConfig = field(default_factory=ModelConfig)
    objective: Objective | None = None
    augment: Augment | None = None
    training: Training | None = None
    reading: dict[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)
    holdout: Holdout | None = None
    data: dict[str, Any] = field(default_factory=dict)
    trained: Int64 | None = None
    event_names: tuple[str, ...] = ()
    lineage: dict[str, Any] | None = None
    seal: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what was derived from them can be derived again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def items(self) -> IdMap:
        """All items in row order, removed ones too."""
        return self.corpus.items

    @property
    def towers(self) -> TwoTowerModel:
        """The fitted towers."""
        return self.corpus.towers

    @property
    def index(self) -> ItemIndex:
        """The index of the item vectors."""
        return self.corpus.index

    @property
    def catalog(self) -> Catalog:
        """What is known about the items, in row order."""
        return self.corpus.catalog

    @property
    def vectors(self) -> Float32:
        """float32 (n_items, D): item vectors as they are compared and indexed."""
        return self.towers.vectors

    @property
    def options(self) -> dict[str, Any]:
        """The model's options as plain values."""
        return self.config.to_dict()

    @property
    def reads_times(self) -> bool:
        """Whether the user tower reads the times of events."""
        return self.towers.net.users.time_bias != "none"

    @property
    def reads_events(self) -> bool:
        """Whether the user tower reads the types of events."""
        return self.towers.net.users.event_types > 0

    @property
    def ordered(self) -> bool:
        """Whether the log has an order; if not, positions in a history mean nothing."""
        return bool(self.data.get("ordered", True))

    @property
    def keep_seen(self) -> bool:
        """Whether the model was validated with items of the history left in the ranking."""
        return self.training is not None and self.training.keep_seen

    @cached_property
    def trained_on(self) -> Interactions | None:
        """The part of the histories that the model was trained on, in its own item rows; None if it is not known."""
        if self.trained is None:
            return None
        names = () if self.histories.events is None else self.event_names
        log = self.histories.head(self.trained)
        return Interactions(self.users, self.items, log, event_names=names, ordered=self.ordered)

    def with_items(self, frame: pl.DataFrame) -> Bundle:
        """Add items that are new, or that were removed before; raises as :meth:`recsys.bundle.corpus.Corpus.with_items`."""
        return replace(self, corpus=self.corpus.with_items(frame))

    def with_updated_items(self, frame: pl.DataFrame) -> Bundle:
        """Replace the content of items that are there; raises as :meth:`Corpus.with_updated_items`."""
        return replace(self, corpus=self.corpus.with_updated_items(frame))

    def without_items(self, rows: Int32) -> Bundle:
        """Remove items, int32 (m,); histories keep them."""
        return replace(self, corpus=self.corpus.without_items(rows))

    def with_index(self, index: ItemIndex) -> Bundle:
        """Replace the index."""
        return replace(self, corpus=replace(self.corpus, index=index))

    def compacted(self) -> Bundle:
        """Drop the rows of removed items that no history and no held-out event refers to, and build the index anew.

        Raises
        ------
        DataError
            No item would be left.
        """
        used = np.zeros(len(self.items), dtype=np.bool_)
        used[self.histories.rows] = True
        if self.holdout is not None:
            used[self.holdout.histories.rows] = used[self.holdout.targets.rows] = True
        corpus, new_rows = self.corpus.compacted(used)
        if corpus.items is self.items:
            return replace(self, corpus=corpus)
        holdout = self.holdout
        if holdout is not None:
            lists = {name: getattr(holdout, name).remap(new_rows) for name in ("histories", "targets")}
            holdout = replace(holdout, items=corpus.items, **lists)
        return replace(self, corpus=corpus, histories=self.histories.remap(new_rows), holdout=holdout)
