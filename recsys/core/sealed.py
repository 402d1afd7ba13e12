"""JSON that carries the digest of its own content, so that nothing in it can change unseen."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The same object with its digest as ``sha256``; one that it holds already is replaced.

    Parameters
    ----------
    content : dict
        What JSON can hold.

    Returns
    -------
    dict
    """
    bare = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    return bare | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
