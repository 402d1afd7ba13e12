"""Open a saved bundle to ask it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recsys.bundle.manifest import read_manifest
from recsys.core.arguments import place
from recsys.core.pseudonym_key import asked_by_raw_ids, checked_key, read_key
from recsys.serving.retriever import Retriever


def load(folder: str | Path, *, device: str = "auto", pseudonym_key: str | Path | None = None) -> Retriever:
    """Open a bundle to ask it; takes and raises what :func:`recsys.bundle.io.load` does.

    A bundle whose users are pseudonyms is asked by raw ids where their key is known: from the file ``pseudonym_key``, or
    the variable ``RECSYS_PSEUDONYM_KEY``. Without it, it is asked by pseudonyms. Another key raises ConfigError.

    Examples
    --------
    >>> retriever.save("saved")
    >>> recsys.load("saved").recommend("u7", k=3)["rank"].to_list()
    [1, 2, 3]
    """
    from recsys.bundle.io import load as load_bundle  # noqa: PLC0415

    folder = place(folder, "folder")
    key = read_key(None if pseudonym_key is None else place(pseudonym_key, "pseudonym_key"))
    wanted = read_manifest(folder)["data"].get("pseudonym_key")
    if key is not None:
        checked_key(key, wanted, str(folder))  # before a large bundle is read
    bundle = load_bundle(folder, device=device)
    users = asked_by_raw_ids(bundle.users, key, wanted, str(folder))
    return Retriever(bundle if users is bundle.users else replace(bundle, users=users))
