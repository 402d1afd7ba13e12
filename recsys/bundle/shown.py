"""What a notebook shows of a bundle that answers."""

from __future__ import annotations

from recsys.bundle.contents import Bundle
from recsys.data.shown import card


def bundle_html(title: str, bundle: Bundle) -> str:
    """The HTML of a bundle's counts, its index and its model."""
    facts = {
        "users": len(bundle.users),
        "items": len(bundle.items),
        "items on offer": int(bundle.index.alive.sum()),
        "index": str(bundle.index.spec),
        "dimensions": bundle.index.dim,
        "transition memory": bundle.corpus.transitions is not None,
        "finds items by text": bundle.towers.held_encoder is not None,
        "held-out users": None if bundle.holdout is None else len(bundle.holdout),
    }
    return card(title, facts)
