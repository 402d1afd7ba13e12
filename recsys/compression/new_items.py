"""How well items rank that are read by their content alone, as new ones are: what a text encoder is kept for."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
from torch import Tensor

from recsys.bundle.contents import Bundle
from recsys.core.ragged import Ragged
from recsys.core.schema import ITEM
from recsys.data.split import Holdout
from recsys.evaluation.metrics import Values
from recsys.models.encoders.held import HeldEncoder
from recsys.models.extend import texts_as_new, vectors_as_new
from recsys.models.towers import numpy_of

_ITEMS, _ADDED, _REPEATS = 1000, 8, 3
_CUT = 10


class NewItems:
    """Ranks what held-out users took next among items that are all read as if they were added now.

    Parameters
    ----------
    bundle : Bundle
        Whose items have texts, and which holds its text encoder.
    holdout : Holdout
        Of its users.
    """

    def __init__(self, bundle: Bundle, holdout: Holdout) -> None:
        texts = bundle.catalog.texts.is_not_null().to_numpy() & bundle.index.alive
        targets = holdout.targets
        first = targets.offsets[:-1][targets.lengths > 0]
        able = texts[targets.rows[first]] & (holdout.histories.lengths[targets.lengths > 0] > 0)
        owners = np.flatnonzero(targets.lengths > 0)[able]
        wanted, counts = np.unique(targets.rows[first][able], return_counts=True)
        asked = wanted[np.argsort(-counts, kind="stable")[: _ITEMS // 2]]  # by these most users are judged
        others = np.setdiff1d(np.flatnonzero(texts), asked)
        few = np.random.default_rng(0).permutation(others)[: _ITEMS - len(asked)]
        self.items = np.sort(np.concatenate([asked, few])).astype(np.int32)
        own = np.isin(targets.rows[targets.offsets[owners]], asked)
        self.owners = owners[own]
        self.right = np.searchsorted(self.items, targets.rows[targets.offsets[self.owners]])
        self.holdout = holdout
        self._read: list[tuple[HeldEncoder | None, Tensor]] = []

    def __len__(self) -> int:
        """How many users are judged by."""
        return len(self.owners)

    def ndcg(self, bundle: Bundle) -> Values:
        """float64 (n,): NDCG@10 of each user's next item; what is in the history is left out."""
        vectors = vectors_as_new(bundle.towers, bundle.catalog, self.items, self._texts(bundle))
        histories = self.holdout.histories.take(self.owners)
        read = histories if bundle.reads_events or histories.events is None else histories.without_events()
        users = self.holdout.user_rows[self.owners]
        scores = numpy_of(bundle.towers.user_vectors(read, users)) @ vectors.T
        own = scores[np.arange(len(self)), self.right]
        scores[self._seen(histories)] = -np.inf
        rank = (scores > own[:, None]).sum(axis=1)
        return np.where(rank < _CUT, 1 / np.log2(rank + 2.0), 0.0)

    def _texts(self, bundle: Bundle) -> Tensor:
        """The items' texts as a bundle's encoder reads them, which is most of the work; done once for each encoder."""
        held = bundle.towers.held_encoder
        known = next((texts for one, texts in self._read if one is held), None)
        if known is None:
            known = texts_as_new(bundle.towers, bundle.catalog, self.items)
            self._read.append((held, known))
        return known

    def _seen(self, histories: Ragged) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        place = np.full(int(max(self.items.max(), histories.rows.max(initial=0))) + 1, -1)
        place[self.items] = np.arange(len(self.items))
        columns = place[histories.rows]
        seen = np.zeros((len(self), len(self.items)), dtype=np.bool_)
        seen[histories.list_index()[columns >= 0], columns[columns >= 0]] = True
        seen[np.arange(len(self)), self.right] = False
        return seen

    def milliseconds(self, bundle: Bundle) -> float:
        """Milliseconds until a few new items are added, each, the best of three."""
        rows = self.items[np.linspace(0, len(self.items) - 1, _ADDED).astype(np.int64)]
        ids = bundle.items.ids
        if ids.dtype.is_integer():
            new = pl.Series(ITEM, int(ids.max()) + 1 + np.arange(_ADDED))  # type: ignore[arg-type]
        else:
            longest = "~" * (1 + int(ids.str.len_chars().max() or 0))  # type: ignore[arg-type]
            new = pl.Series(ITEM, [f"{longest}{number}" for number in range(_ADDED)])
        frame = pl.DataFrame([new, *bundle.catalog.columns[rows].iter_columns()])
        best = np.inf
        for _ in range(_REPEATS):
            start = time.perf_counter()
            bundle.with_items(frame)
            best = min(best, time.perf_counter() - start)
        return 1000 * best / _ADDED
