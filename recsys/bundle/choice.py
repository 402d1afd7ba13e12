"""Choose the index of a bundle by measuring."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.bundle.contents import Bundle
from recsys.models.towers import numpy_of


def with_chosen_index(bundle: Bundle, **bounds: Any) -> Bundle:
    """The bundle with the index that answers fastest within bounds; see :func:`recsys.index.choose.choose`."""
    from recsys.index.choose import SAMPLE, choose  # noqa: PLC0415

    if bundle.towers.fast:
        if bounds.get("kinds"):
            bundle.towers.check_vectors("an approximate index")
        bounds["kinds"] = ()
    rows = np.flatnonzero(bundle.histories.lengths).astype(np.int32)
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    queries = numpy_of(bundle.towers.user_vectors(bundle.histories.take(rows), rows))
    return bundle.with_index(choose(bundle.index, queries, **bounds))
