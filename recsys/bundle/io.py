"""The bundle: one self-contained, hashed, pickle-free folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.bundle import config as saved_config
from recsys.bundle import manifest, saved_tables
from recsys.core.arguments import place
from recsys.core.files import Held, atomic_folder, exclusive
from recsys.core.opened import Source
from recsys.core.place_checks import refuse_loss
from recsys.core.processes import begin_threads
from recsys.errors import BundleError, DamagedError, DataError, DependencyError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

_FIGURES, CARD, _COMPRESSION = "report.json", "MODEL_CARD.md", "compression.json"


def save(
    bundle: Bundle,
    folder: Path,
    *,
    overwrite: bool,
    metrics: dict[str, Any] | None = None,
    extras: dict[str, str] | None = None,
    like: str | Path | None = None,
    held: Held | None = None,
) -> None:
    """Write a bundle under a temporary name, then exchange it for what has its name: all or nothing.

    At every moment the path holds one whole bundle, old or new; see :func:`recsys.core.files.atomic_folder`.

    Parameters
    ----------
    bundle : Bundle
    folder : Path
    overwrite : bool
        Whether an older bundle there may be replaced. A folder that is not a bundle never is.
    metrics : dict, optional
        Kept in the manifest.
    extras : dict, optional
        Name → text of more files to keep in the bundle, such as :func:`recsys.report.bundle_files` makes.
    like : path, optional
        An older bundle of the same model, whose metrics, report, card and evidence of a compression are taken over.
    held : Held, optional
        The lock of ``folder`` (:func:`recsys.core.files.exclusive`), if the caller has held it since loading.

    Raises
    ------
    DataError
        Something else, or without ``overwrite`` anything, is in the way, or another writer is at it; or the older bundle's
        folder holds files of others, which would be lost.
    OSError
        It cannot be written, as on a full disk; what was there before stays.
    """
    from recsys.bundle import saved_towers  # noqa: PLC0415

    folder = Path(folder)
    with exclusive(folder) if held is None else contextlib.nullcontext(held) as lock:
        folder = lock.target
        if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / manifest.FILE).is_file():
            raise DataError(f"{folder} holds something that is not a recsys bundle; it is not overwritten")
        if overwrite:
            refuse_loss(folder)
        with atomic_folder(folder, replace=overwrite) as target:
            if like is not None:
                older = _taken_over(Path(like), target)
                metrics = older if metrics is None else metrics
            with _full_disk_told(folder):
                saved_config.write(bundle, target)
                saved_tables.write(bundle, target)
                saved_towers.write(bundle, target)
            for name, text in (extras or {}).items():
                (target / name).write_text(text, encoding="utf-8")
            more = {"lineage": bundle.lineage} | {name: bundle.record.get(name) for name in ("privacy", "exposure")}
            manifest.write(target, bundle.data, metrics or {}, **more)


def _taken_over(like: Path, target: Path) -> dict[str, Any]:
    """Copy report, card and what a compression found of an older bundle, all of one version; returns its metrics."""

    def read(told: dict[str, Any], source: Source) -> dict[str, Any]:
        for name in (_FIGURES, CARD, _COMPRESSION):
            if name in source:
                source.files[name].copy(target / name)
        source.close()
        metrics: dict[str, Any] = told["metrics"]
        return metrics

    return manifest.reading(like, read)


@contextlib.contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        yield
    except (pl.exceptions.PolarsError, SafetensorError, RuntimeError) as error:  # how they tell of a full disk
        raise OSError(f"{folder} cannot be written: {str(error).splitlines()[0]}") from error


def load(folder: str | Path, *, device: str = "auto") -> Bundle:
    """Open a bundle.

    Parameters
    ----------
    folder : path
        What :func:`save` wrote.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``: where the towers run.

    Returns
    -------
    Bundle
        It owns all that it answers from: what was read, and the opened files of the encoder.

    Raises
    ------
    BundleError
        The bundle is damaged, incomplete, newer, or its parts do not belong together.
    ForkError
        This process was forked from one in which recsys had begun its threads.

    Examples
    --------
    >>> retriever.save("bundle")
    >>> recsys.load("bundle").recommend("u7", k=3)["rank"].to_list()
    [1, 2, 3]
    """
    begin_threads()
    folder = place(folder, "folder")
    return manifest.reading(folder, lambda told, source: _loaded(told, source, device))


def _loaded(told: dict[str, Any], source: Source, device: str) -> Bundle:
    from recsys.bundle.saved_towers import ENCODER, IMAGE_ENCODER  # noqa: PLC0415

    try:
        bundle = assembled(told, source, device)
        for file in source.files.values():
            if not file.proven:  # the encoder's, and what is for people
                file.check()
    except (BundleError, DamagedError, DependencyError):
        source.close()
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # whatever parts raise that do not belong together
        source.close()
        raise BundleError(f"{source.folder} is not whole: {saved_config.first_line(error)}") from error
    source.close(keep=lambda name: name.startswith((ENCODER, IMAGE_ENCODER)))
    return bundle


def assembled(manifest: dict[str, Any], source: Source, device: str) -> Bundle:
    """The bundle in a folder's files: first what was chosen, then the tables, then the towers."""
    from recsys.bundle import saved_towers  # noqa: PLC0415
    from recsys.bundle.contents import Bundle  # noqa: PLC0415

    config = saved_config.read(source)
    tables = saved_tables.read(source, config)
    corpus = saved_towers.read(source, config, tables, device)
    return Bundle(
        corpus=corpus,
        users=tables.users,
        histories=tables.histories,
        config=config.model,
        objective=config.objective,
        augment=config.augment,
        training=config.training,
        reading=config.reading,
        record=config.record,
        holdout=tables.holdout,
        data=manifest["data"],
        trained=tables.trained,
        event_names=config.event_names,
        lineage=manifest.get("lineage"),
        seal=manifest.get("sha256"),
    )
