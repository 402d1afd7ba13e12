"""Tell of items of which a model knows nothing: they all have one vector."""

from __future__ import annotations

import polars as pl
from torch import Tensor

from recsys.core.progress import log, warn
from recsys.models.networks.content import ItemContent

_MANY = 0.1
"""Share of such items above which a warning is logged."""


def tell_items_of_nothing(content: ItemContent, has_id: Tensor, ids: pl.Series) -> None:
    """Log how many items have neither events nor content; warn if they are many.

    Parameters
    ----------
    content : ItemContent
    has_id : bool (n_items,)
        Which items have a vector of their own, learned from events.
    ids : Series (n_items,)
        For the message.
    """
    nothing = ~has_id.cpu()
    for part in (content.text, content.images, content.numbers):
        if part is not None:
            nothing &= (part == 0).all(1).cpu()
    if content.bags is not None:
        nothing &= (content.bags.offsets.diff() == 0).cpu()
    if not (count := int(nothing.sum())):
        return
    message = (
        f"{count:,} of {len(nothing):,} items, such as {ids[int(nothing.int().argmax())]!r}, have no event "
        f"to learn from and nothing else that the model reads: they share one vector, and are ranked all alike"
    )
    (warn if count > _MANY * len(nothing) else log)(message)
