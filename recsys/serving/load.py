"""Open a saved bundle to ask it."""

from __future__ import annotations

from pathlib import Path

from recsys.serving.retriever import Retriever


def load(folder: str | Path, *, device: str = "auto") -> Retriever:
    """Open a bundle to ask it; takes and raises what :func:`recsys.bundle.io.load` does.

    Examples
    --------
    >>> retriever.save("saved")
    >>> recsys.load("saved").recommend("u7", k=3)["rank"].to_list()
    [1, 2, 3]
    """
    from recsys.bundle.io import load as load_bundle  # noqa: PLC0415

    return Retriever(load_bundle(folder, device=device))
