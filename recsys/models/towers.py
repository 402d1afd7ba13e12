"""Fitted towers: from histories, items and free text to vectors that can be compared."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.core.growing import GrowingTensor
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked, SparseScores, check_k
from recsys.data.user_table import UserFeature
from recsys.errors import DataError, UnsupportedError
from recsys.index.exact.search import search
from recsys.index.exact.table import VectorTable, pair_scores
from recsys.index.sparse_sum import with_sparse
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.whitening import Whitening
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.group_factors import GroupFactors
from recsys.models.networks.context import Context, Padding, collate, request_times
from recsys.models.networks.item_tower import NO_TEXT
from recsys.models.networks.popularity import PopularityTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.pictures import NO_PICTURES, Pictures

FAST_NAME = "fast model"
_BLOCK_TOKENS = 16_384
_REMADE = ("vectors", "dense", "text_vectors", "picture_vectors", "encoder")
_NO_ENCODER = (
    "this model was saved without its text encoder, as nothing proved it to be the right one; fit again to read text"
)


@torch.inference_mode()
def encode_histories(
    net: TwoTowerNetwork,
    table: Tensor,
    histories: Ragged,
    features: Int32 | None = None,
    requests: Int64 | None = None,
    target_event: int | None = None,
) -> Tensor:
    """User vectors of histories, longest first so that a batch holds next to no padding.

    Parameters
    ----------
    net : TwoTowerNetwork
        In evaluation mode.
    table : float (n_items, D)
        Item vectors as the item tower gives them.
    histories : Ragged (n)
        Item rows in time order, with times and event types where the tower reads these; only the last ``max_length``
        are read.
    features : int32 (n, F), optional
        Codes of each user's features; None: unknown.
    requests : int64 (n,), optional
        Clock of each request in seconds, for a tower with ``time_bias="request"``; by default the last event's time.
    target_event : int, optional
        Type of the event to come, for a tower with ``event_heads``; by default any.

    Returns
    -------
    float32 (n, D)

    Raises
    ------
    DataError
        A history is empty, or lacks times or event types that the tower reads.
    """
    recent = histories.tail(net.users.max_length)
    lengths = recent.lengths
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise DataError(f"{len(empty)} of {len(lengths)} histories are empty (the first is number {empty[0] + 1})")
    _check_context(net, recent)
    out = torch.empty(len(recent), table.shape[1], device=table.device)
    order = np.argsort(-lengths, kind="stable")
    begin = 0
    while begin < len(order):
        chosen = order[begin : begin + max(1, _BLOCK_TOKENS // int(lengths[order[begin]]))]
        some = recent.take(chosen)
        rows, context = _padded(
            net,
            some,
            None if features is None else features[chosen],
            None if requests is None else requests[chosen],
            target_event,
        )
        sizes = torch.from_numpy(some.lengths).to(table.device)
        vectors = net.user_vectors(table, rows.to(table.device), sizes, context.to(table.device))
        out[torch.from_numpy(chosen).to(table.device)] = vectors
        begin += len(chosen)
    return out


def _check_context(net: TwoTowerNetwork, histories: Ragged) -> None:
    """Refuse histories without what the user tower reads besides items."""
    needed = {"times": net.users.time_bias != "none", "event types": net.users.event_types > 0}
    given = {"times": histories.times, "event types": histories.events}
    for name, reads in needed.items():
        if reads and given[name] is None:
            raise DataError(f"this model reads the {name} of a history, and these histories have none")


def _padded(
    net: TwoTowerNetwork,
    histories: Ragged,
    features: Int32 | None,
    requests: Int64 | None,
    target_event: int | None,
) -> tuple[Tensor, Context]:
    """The item rows of histories, int64 (B, T), and what the user tower reads besides them."""
    padding = Padding.of(histories.lengths)
    reads_times = histories.times is not None and net.users.time_bias != "none"
    context = collate(
        padding,
        times=histories.times if reads_times else None,
        events=histories.events if net.users.event_types else None,
        features=features,
    )
    if histories.times is not None and context.times is not None:
        now = histories.times[histories.offsets[1:] - 1] if requests is None else requests
        asked = request_times(context.times, torch.from_numpy(histories.lengths), torch.from_numpy(now))
        context = replace(context, request=asked)
    if target_event is not None:
        context = replace(context, target_event=torch.full((len(histories),), target_event))
    return padding.pad(histories.rows), context


@dataclass(frozen=True, eq=False)
class ItemTables:
    """Tables that follow from the item tower and were made already.

    Attributes
    ----------
    table : GrowingTensor float32 (n_items, D)
        Item vectors as the user tower reads them.
    item_vectors : GrowingTensor float32 (n_items, D)
        Item vectors as they are compared and indexed.
    inputs : dict of GrowingTensor
        The buffers of the item tower that grew, by name.
    """

    table: GrowingTensor
    item_vectors: GrowingTensor
    inputs: dict[str, GrowingTensor] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Tensor, item_vectors: Tensor) -> ItemTables:
        """Hold two tables, float32 (n_items, D)."""
        return cls(GrowingTensor.of(table), GrowingTensor.of(item_vectors))


@dataclass(eq=False)
class TwoTowerModel:
    """A network with everything that turns raw input into its input.

    Attributes
    ----------
    net : TwoTowerNetwork
    users, items : IdMap
    whitening : Whitening or None
    held_encoder : HeldEncoder or None
        The files of the text encoder; None where the model reads no text.
    device : str
    event_names : tuple of str
        The event types that the user tower knows, by code.
    user_codes : int32 (n_users, F) or None
        Features of the users, by row.
    reader : FeatureEncoder
        Reads words, categories and numbers of items as they were read when the towers were trained.
    tables : ItemTables or None
        Item vectors that need not be made again; None: they are made at first use.
    moments : dict of Tensor or None
        Of the optimiser that trained the network, by weight; None: they were not kept.
    user_features : tuple of UserFeature
        What ``user_codes`` mean; empty without any, and in bundles of older versions.
    group_factors : GroupFactors or None
        What the scores of groups of items are multiplied by, as the network does; None: there are no floors of exposure.
    pictures : Pictures or None
        How pictures of items are read; None where the model reads none, and in bundles of older versions.
    """

    net: TwoTowerNetwork
    users: IdMap
    items: IdMap
    whitening: Whitening | None
    held_encoder: HeldEncoder | None
    device: str = "cpu"
    event_names: tuple[str, ...] = ()
    user_codes: Int32 | None = None
    reader: FeatureEncoder = field(default_factory=lambda: FeatureEncoder(None, None), repr=False)
    tables: ItemTables | None = field(default=None, repr=False)
    moments: dict[str, Tensor] | None = field(default=None, repr=False)
    user_features: tuple[UserFeature, ...] = ()
    group_factors: GroupFactors | None = None
    pictures: Pictures | None = None

    @property
    def name(self) -> str:
        """What reports call the model."""
        return FAST_NAME if self.fast else "two towers"

    @property
    def fast(self) -> bool:
        """Whether there are no towers, and popularity stands in their place."""
        return isinstance(self.net.items, PopularityTower)

    def check_vectors(self, what: str) -> None:
        """Refuse what compares vectors where there are none.

        Raises
        ------
        UnsupportedError
            The model is a fast one.
        """
        if self.fast:
            raise UnsupportedError(
                f"{what} compares vectors, and a fast model has none; fit it again without fast (--fast)"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without what follows from the rest: a loaded encoder, and copies of vectors."""
        held = () if self.tables is None else ("table", "item_vectors")
        return {name: value for name, value in vars(self).items() if name not in (*_REMADE, *held)}

    @cached_property
    def vectors(self) -> Float32:
        """float32 (n_items, D): :attr:`item_vectors` on the host."""
        return numpy_of(self.item_vectors)

    @cached_property
    def table(self) -> Tensor:
        """float32 (n_items, D): item vectors as the user tower reads them."""
        if self.tables is not None:
            return self.tables.table.rows
        self.net.eval()
        with torch.inference_mode():
            table: Tensor = self.net.items().float()
        return table

    @cached_property
    def item_vectors(self) -> Tensor:
        """float32 (n_items, D): item vectors as they are compared and indexed."""
        if self.tables is not None:
            return self.tables.item_vectors.rows
        with torch.inference_mode():
            vectors: Tensor = self.net.compared(self.table).contiguous()
        return vectors

    @cached_property
    def dense(self) -> VectorTable:
        """:attr:`item_vectors`, prepared for search."""
        return VectorTable.of(self.item_vectors)

    @cached_property
    def text_vectors(self) -> Float32:
        """float32 (n_items, E): the items' texts in the encoder's own space, of unit length; zeros without a text.

        Training bends the projection behind the encoder towards taste, which blurs language; free text is therefore
        compared before it.

        Raises
        ------
        UnsupportedError
            The model reads no text.
        """
        whitening = self._whitening()
        whitened = numpy_of(self.net.items.text)
        return _unit(whitening.undo(whitened)) * whitened.any(axis=1, keepdims=True)

    def readable_pictures(self) -> Pictures:
        """How pictures are read.

        Raises
        ------
        UnsupportedError
            The model reads none, or was saved by an older version.
        """
        self.check_vectors("search by pictures")
        if self.pictures is None:
            raise UnsupportedError(NO_PICTURES)
        return self.pictures

    @cached_property
    def picture_vectors(self) -> Float32:
        """float32 (n_items, E): the items' pictures in the encoder's own space, of unit length; zeros without one.

        Raises
        ------
        UnsupportedError
            The model reads no pictures.
        """
        return self.readable_pictures().undone(self.net.items.images)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder, loaded at first use."""
        if self.held_encoder is None:
            raise UnsupportedError(NO_TEXT if self.whitening is None else _NO_ENCODER)
        return self.held_encoder.opened(self.device)

    def settle_encoder(self) -> None:
        """Where a text encoder was trained along: write it out whole, and let go of it."""
        tuned = self.net.items.encoder
        if tuned is None:
            return
        folder = Path(tempfile.mkdtemp(prefix="recsys-encoder-"))
        try:
            tuned.save(folder / "encoder")
            self.held_encoder = HeldEncoder.of(folder / "encoder")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.net.items.encoder = None

    @property
    def reads_request_time(self) -> bool:
        """Whether recommendations depend on when they are asked for."""
        return self.net.users.time_bias == "request"

    def user_vectors(
        self,
        histories: Ragged,
        users: Int32 | None = None,
        requests: Int64 | None = None,
        target_event: int | None = None,
    ) -> Tensor:
        """float32 (n, D): one vector per history; see :func:`encode_histories`.

        Parameters
        ----------
        histories : Ragged (n)
        users : int32 (n,), optional
            User rows, by which features are looked up; −1: unknown.
        requests : int64 (n,), optional
            Clock of each request, in seconds.
        target_event : int, optional
            Type of the event to come.
        """
        if self.net.training:  # walking through all modules takes a tenth of a short request
            self.net.eval()
        features = None
        if self.user_codes is not None and users is not None:
            features = np.where(users[:, None] >= 0, self.user_codes[users], 0).astype(np.int32)
        return encode_histories(self.net, self.table, histories, features, requests, target_event)

    def codes_for(self, users: IdMap) -> Int32 | None:
        """int32 (len(users), F): features of other users, 0 for those of whom nothing is known; None without features."""
        if self.user_codes is None:
            return None
        place = self.users.find_rows(users.ids)
        return np.where(place[:, None] >= 0, self.user_codes[place], 0).astype(np.int32)

    def query_vectors(self, texts: list[str]) -> Float32:
        """float32 (n, E): free text in the same space as :attr:`text_vectors`.

        Raises
        ------
        UnsupportedError
            The model reads no text.
        """
        whitening = self._whitening()
        return _unit(whitening.undo(whitening(self.encoder.encode_queries(texts))))

    def _whitening(self) -> Whitening:
        self.check_vectors("search by text")
        if self.whitening is None:
            raise UnsupportedError(NO_TEXT)
        return self.whitening

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
        added: SparseScores | None = None,
    ) -> Ranked:
        """Rank all items for each history; ``users`` are read for their features alone, where the model has any.

        ``added``, SparseScores (n), is added to the towers' score.
        """
        check_k(k)
        return rank_vectors(self.user_vectors(histories, users, request_times), self.dense, k, exclude, eligible, added)


def rank_vectors(
    queries: Tensor,
    table: Tensor | VectorTable,
    k: int,
    exclude: Ragged | None = None,
    eligible: Bool | None = None,
    added: SparseScores | None = None,
) -> Ranked:
    """Rank all items by inner product; see :func:`recsys.index.exact.search.search`.

    Parameters
    ----------
    queries : float32 (n, D)
    table : float32 (n_items, D), or prepared
    k, exclude : as there
    eligible : bool (n_items,), optional
        Which items may be returned; by default all.
    added : SparseScores (n), optional
        Scores to add to the inner products.

    Returns
    -------
    Ranked (n)
    """
    items = table if isinstance(table, VectorTable) else VectorTable.of(table)
    ranked = search(queries, items, k, exclude, eligible)
    if added is None:
        return ranked

    def dense_scores(owners: Int64, rows: Int64) -> Float32:
        at, to = (torch.from_numpy(one).to(queries.device) for one in (owners, rows))
        return numpy_of(pair_scores(queries, items.stored, at, to))

    return with_sparse(ranked, added, min(k, len(items)), len(items), dense_scores, exclude, eligible)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def numpy_of(vectors: Tensor) -> Float32:
    """A float32 array on the host."""
    array: Float32 = vectors.float().cpu().numpy()
    return array
