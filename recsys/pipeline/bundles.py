"""Recommend to many users of a saved bundle, or change its items or its index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.core.files import atomic_file, exclusive

if TYPE_CHECKING:
    from recsys.serving.batch.run import BatchResult
    from recsys.serving.retriever import Retriever

_WAIT = 60.0
"""Seconds for which a change of a bundle waits for another one."""


def recommend_batch(folder: str | Path, out: str | Path, key: str | Path | None = None, **how: Any) -> BatchResult:
    """Recommend to many users of a bundle; takes what :func:`recsys.recommend_to_parquet` does.

    ``key`` is the file of the key by which pseudonyms are found; they stay pseudonyms in what is written.
    """
    from recsys.serving.batch.run import recommend_to_parquet  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    return recommend_to_parquet(load(folder, pseudonym_key=key), out, bundle=folder, **how)


@dataclass(frozen=True, eq=False)
class ItemChanges:
    """Tables of items to add and to update, ids to remove, and whether to compact the bundle after that."""

    add: pl.DataFrame | None = None
    update: pl.DataFrame | None = None
    remove: Sequence[Any] = ()
    compact: bool = False

    def __bool__(self) -> bool:
        return self.add is not None or self.update is not None or bool(self.remove) or self.compact


def change_bundle(folder: Path, changes: ItemChanges | None = None, page: Path | None = None, **bounds: Any) -> Retriever:
    """Change the items of a saved bundle or, without changes, choose its index anew; the bundle is replaced as a whole.

    Parameters
    ----------
    folder : Path
    changes : ItemChanges, optional
    page : Path, optional
        Where to write the trade-off that was measured, if the index is chosen anew.
    **bounds
        ``recall_target``, ``memory_budget`` and ``kinds`` of :meth:`Retriever.choose_index`.
    """
    from recsys.bundle.io import save  # noqa: PLC0415
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    read_manifest(folder)  # what is not a bundle is refused before anything is locked
    with exclusive(folder, wait=_WAIT) as held:  # from loading to saving: two changes at once are made one after the other
        retriever = load(folder)
        if not changes:
            retriever.choose_index(**bounds)
        else:
            if changes.add is not None:
                retriever.add_items(changes.add)
            if changes.update is not None:
                retriever.update_items(changes.update)
            if changes.remove:
                retriever.remove_items(list(changes.remove))
            if changes.compact:
                retriever.compact()
        save(retriever.bundle, folder, overwrite=True, like=folder, held=held)
    if page is not None and not changes:
        _write_index_page(folder, retriever, page)
    return retriever


def _write_index_page(folder: Path, retriever: Retriever, page: Path) -> None:
    """Write the page with the trade-off that was measured when the index was chosen."""
    from recsys.report.index_page import index_page  # noqa: PLC0415

    html = index_page(folder.resolve().name, len(retriever.index), retriever.index.measured)
    with atomic_file(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
