"""The bundle: one self-contained, hashed, pickle-free folder."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.bundle import config as bundle_config
from recsys.bundle import manifest
from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.core.arguments import place
from recsys.core.files import Held, atomic_folder, exclusive
from recsys.core.id_map import IdMap
from recsys.core.opened import Source
from recsys.core.place_checks import refuse_loss
from recsys.core.processes import begin_threads
from recsys.core.progress import warn
from recsys.core.ragged import Float32, Ragged
from recsys.core.schema import ITEM, TEXT, TITLE, USER
from recsys.data.catalog import Catalog
from recsys.data.split import Holdout
from recsys.errors import BundleError, DamagedError, DataError, DependencyError, EncoderError, RecsysError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle
    from recsys.bundle.corpus import Corpus
    from recsys.config.model import ModelConfig
    from recsys.models.towers import TwoTowerModel

_CHECKED_ROWS, _CHECKED_USERS = 64, 8
_NEAR = 5e-3
"""Largest difference of a user vector made anew, as a share of its length: what processors may differ by, and no option."""
_FIGURES, _CARD, _ENCODER, _USERS = "report.json", "MODEL_CARD.md", "encoder/", "checked_users.npy"
_HIDDEN = (ITEM, f"_{TEXT}", f"_{TITLE}")


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
        An older bundle of the same model, whose metrics, report and card are taken over.
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
                _write_tables(bundle, target)
                _write_towers(bundle, target)
                _write_encoder(bundle, target)
            for name, text in (extras or {}).items():
                (target / name).write_text(text, encoding="utf-8")
            manifest.write(target, bundle.data, metrics or {})


def _taken_over(like: Path, target: Path) -> dict[str, Any]:
    """Copy report and card of an older bundle, both of one version; returns its metrics."""

    def read(told: dict[str, Any], source: Source) -> dict[str, Any]:
        for name in (_FIGURES, _CARD):
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


def _write_tables(bundle: Bundle, target: Path) -> None:
    catalog = bundle.catalog
    codes = bundle.towers.codes_for(bundle.users)
    features = [] if codes is None else [pl.Series(f"feature_{i}", codes[:, i]) for i in range(codes.shape[1])]
    bundle.users.ids.to_frame().hstack(features).write_parquet(target / "users.parquet")
    own = {ITEM: bundle.items.ids, f"_{TEXT}": catalog.texts, f"_{TITLE}": catalog.titles}
    columns = catalog.columns.rename(
        lambda name: f"_{name}" if name.lstrip("_") in (TEXT, TITLE) and name[0] == "_" else name
    )
    pl.DataFrame(own).hstack(columns).write_parquet(target / "items.parquet")
    histories = _nested(bundle.histories, "items", "times", "events")
    if bundle.trained is not None:
        histories = histories.with_columns(pl.Series("trained", bundle.trained))
    histories.write_parquet(target / "histories.parquet")
    if (holdout := bundle.holdout) is not None:
        users = holdout.users.to_ids(holdout.user_rows).alias(USER).to_frame()
        history = _nested(holdout.histories, "history", "history_times", "history_events")
        targets = _nested(replace(holdout.targets.without_events(), times=holdout.times), "targets", "times", "events")
        pl.concat([users, history, targets], how="horizontal").write_parquet(target / "holdout.parquet")


def _write_towers(bundle: Bundle, target: Path) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415

    from recsys.index import io as files  # noqa: PLC0415

    towers = bundle.towers
    tensors = {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in towers.net.state_dict().items()}
    if towers.whitening is not None:
        tensors |= {"whitening.mean": towers.whitening.mean, "whitening.matrix": towers.whitening.matrix}
    save_file(tensors, target / "towers.safetensors")
    np.save(target / "item_vectors.npy", towers.vectors, allow_pickle=False)
    files.write(bundle.index, target, towers.vectors)
    bundle.corpus.encoder.write(target)
    np.save(target / _USERS, _user_vectors(bundle), allow_pickle=False)
    config = bundle_config.written(bundle)
    (target / bundle_config.FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _user_vectors(bundle: Bundle) -> Float32:
    """float32 (m, D): vectors of a few users, by which a loader proves that the user tower is the one that was saved."""
    from recsys.models.towers import numpy_of  # noqa: PLC0415

    rows = np.flatnonzero(bundle.histories.lengths)[:_CHECKED_USERS].astype(np.int32)
    if not len(rows):
        return np.empty((0, bundle.towers.vectors.shape[1]), dtype=np.float32)
    return numpy_of(bundle.towers.user_vectors(bundle.histories.take(rows), rows))


def _write_encoder(bundle: Bundle, target: Path) -> None:
    """Write the text encoder; after a training, prove that what was written gives the vectors that were trained with."""
    from recsys.models.encoders.proof import prove_reencoding  # noqa: PLC0415
    from recsys.models.towers import numpy_of  # noqa: PLC0415

    towers, folder = bundle.towers, target / _ENCODER
    if towers.held_encoder is None or towers.whitening is None:
        return
    try:
        towers.held_encoder.write(folder)
        if not towers.held_encoder.proven:
            texts = numpy_of(towers.net.items.text)
            prove_reencoding(folder, bundle.catalog.texts, towers.whitening, texts, towers.device)
            towers.held_encoder.proven = True
    except EncoderError as error:  # the model is trained: it is not lost for this
        shutil.rmtree(folder, ignore_errors=True)
        warn(
            f"{error}. The bundle is saved without its text encoder: it ranks as trained, and refuses search and new texts"
        )


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
    try:
        bundle = _assembled(told, source, device)
        for file in source.files.values():
            if not file.proven:  # the encoder's, and what is for people
                file.check()
    except (BundleError, DamagedError, DependencyError):
        source.close()
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # whatever parts raise that do not belong together
        source.close()
        raise BundleError(f"{source.folder} is not whole: {_first_line(error)}") from error
    source.close(keep=lambda name: name.startswith(_ENCODER))
    return bundle


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, RecsysError | OSError) else f"{type(error).__name__}: {line}"


def _assembled(told: dict[str, Any], source: Source, device: str) -> Bundle:
    """The bundle in a folder's files, each part proven to belong to the others."""
    from recsys.bundle.contents import Bundle  # noqa: PLC0415

    config = bundle_config.parsed(source)
    event_names = tuple(config.get("event_names", ()))  # bundles of older versions have none
    people = _table(source, "users.parquet", {USER})
    users = IdMap(people[USER], "user")
    corpus = _corpus(source, config, users, people.drop(USER), device)
    table = _table(source, "histories.parquet", {"items"})
    histories = _lists(table, "items", "times", "events")
    _check_rows(source, "histories.parquet", histories, len(users), len(corpus.items), len(event_names))
    training = dict(config["training"])
    folder = source.folder
    bundle = Bundle(
        corpus=corpus,
        users=users,
        histories=histories,
        config=bundle_config.model_of(folder, config["model"]),
        objective=bundle_config.options_of(folder, "objective", Objective, config.get("objective")),
        augment=bundle_config.options_of(folder, "augment", Augment, config.get("augment")),
        training=bundle_config.options_of(folder, "training.options", Training, training.pop("options", None)),
        reading=config.get("reading"),
        record=training,
        holdout=_holdout(source, config, users, corpus.items, event_names),
        data=told["data"],
        trained=table["trained"].to_numpy() if "trained" in table.columns else None,
        event_names=event_names,
    )
    _check_users(source, bundle)
    return bundle


def _corpus(source: Source, config: dict[str, Any], users: IdMap, features: pl.DataFrame, device: str) -> Corpus:
    """The items: towers, vectors, index and catalogue."""
    from recsys.bundle.corpus import Corpus  # noqa: PLC0415
    from recsys.index import io as files  # noqa: PLC0415
    from recsys.models.feature_encoder import FeatureEncoder, reads_words  # noqa: PLC0415

    table = _table(source, "items.parquet", set(_HIDDEN))
    items = IdMap(table[ITEM], "item")
    model = bundle_config.model_of(source.folder, config["model"])
    towers = _load_towers(source, model, users, items, device)
    bundle_config.check_items(source, config, len(items), set(table.columns))
    towers.event_names = tuple(config.get("event_names", ()))
    if features.width:
        towers.user_codes = features.to_numpy().astype(np.int32)
    catalog = Catalog(
        items,
        table[f"_{TEXT}"].alias(TEXT),
        table[f"_{TITLE}"].alias(TITLE),
        table.drop(_HIDDEN).rename(
            lambda name: name[1:] if name.lstrip("_") in (TEXT, TITLE) and name[:2] == "__" else name
        ),
        tuple(config["catalog"]["text_columns"]),
    )
    vectors = _checked_vectors(source, towers)
    index = files.read(source, vectors, device=towers.device)
    trained = config["catalog"].get("trained_items", len(items))
    words = reads_words(model, has_tokens=towers.net.items.bags is not None)
    encoder = FeatureEncoder.read(source, model.categories, words=words)
    if encoder is None:  # bundles of older versions have no file for it
        first = catalog.aligned(IdMap(items.ids[:trained], items.kind))
        encoder = FeatureEncoder.of(first, model.categories, model.numbers, words=words)
    towers.reader = encoder
    return Corpus(towers, index, catalog, trained, encoder)


def _holdout(
    source: Source, config: dict[str, Any], users: IdMap, items: IdMap, event_names: tuple[str, ...]
) -> Holdout | None:
    """The held-out users; None if the bundle has none."""
    if config["holdout"] is None:
        return None
    held = _table(source, "holdout.parquet", {USER, "history", "targets"})
    history, targets = _lists(held, "history", "history_times", "history_events"), _lists(held, "targets", "times", "")
    for one in (history, targets):
        _check_rows(source, "holdout.parquet", one, len(held), len(items), len(event_names))
    return Holdout(
        users,
        items,
        users.to_rows(held[USER]),
        history,
        targets.without_events(),
        config["holdout"],
        targets.times,
        () if history.events is None else event_names,
    )


def _table(source: Source, name: str, needed: set[str]) -> pl.DataFrame:
    """A table of the bundle.

    Raises
    ------
    BundleError
        It is missing or no Parquet, or lacks a column.
    """
    try:
        frame = pl.read_parquet(source.read(name))
    except (FileNotFoundError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{source.folder / name} cannot be read: {_first_line(error)}") from error
    if missing := needed - set(frame.columns):
        raise BundleError(f"{source.folder / name} is not whole: it has no column {min(missing)!r}")
    return frame


def _check_rows(source: Source, name: str, lists: Ragged, owners: int, items: int, events: int) -> None:
    """Refuse lists that refer to what is not there."""
    file = source.folder / name
    if len(lists) != owners:
        raise BundleError(f"{file} has {len(lists)} lists for {owners} users")
    if len(lists.rows) and not 0 <= int(lists.rows.min()) <= int(lists.rows.max()) < items:
        raise BundleError(f"{file} names items that are none of the {items} in items.parquet")
    if (
        lists.events is not None
        and len(lists.events)
        and not 0 <= int(lists.events.min()) <= int(lists.events.max()) < events
    ):
        raise BundleError(f"{file} has event types that are none of the {events} of event_names in config.json")


def _check_users(source: Source, bundle: Bundle) -> None:
    """Refuse a user tower that makes other vectors than it did when it was saved."""
    if _USERS not in source:  # bundles of older versions
        return
    saved, made = np.load(BytesIO(source.read(_USERS)), allow_pickle=False), _user_vectors(bundle)
    far = (
        np.inf
        if saved.shape != made.shape
        else np.linalg.norm(saved - made, axis=1) - _NEAR * np.linalg.norm(saved, axis=1)
    )
    if not np.all(far <= 0):
        raise BundleError(
            f"{source.folder}: the user tower makes other vectors than when it was saved; config.json, users.parquet or "
            "histories.parquet was changed"
        )


def _load_towers(source: Source, model: ModelConfig, users: IdMap, items: IdMap, device: str) -> TwoTowerModel:
    from safetensors.torch import load as tensors_of  # noqa: PLC0415

    from recsys.core.device import pick_device  # noqa: PLC0415
    from recsys.models.build import network_like  # noqa: PLC0415
    from recsys.models.encoders.held import HeldEncoder  # noqa: PLC0415
    from recsys.models.encoders.whitening import Whitening  # noqa: PLC0415
    from recsys.models.towers import TwoTowerModel  # noqa: PLC0415

    folder = source.folder
    state = tensors_of(source.read("towers.safetensors"))
    whitening = None
    if "whitening.mean" in state:
        whitening = Whitening(state.pop("whitening.mean").numpy(), state.pop("whitening.matrix").numpy())
    has_id = state["items.has_id"]
    if len(has_id) != len(items):
        raise BundleError(f"{folder}: towers.safetensors knows {len(has_id)} items, items.parquet {len(items)}")
    try:
        net = network_like(model, state)
        net.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise BundleError(f"{folder}: towers.safetensors does not fit config.json (model): {error}") from error
    device = pick_device(device)
    encoder = {name.removeprefix(_ENCODER): file for name, file in source.files.items() if name.startswith(_ENCODER)}
    held = HeldEncoder(encoder, proven=True) if encoder and whitening is not None else None
    return TwoTowerModel(net.to(device).eval(), users, items, whitening, held, device)


def _checked_vectors(source: Source, towers: TwoTowerModel) -> Float32:
    """The saved item vectors; refused if the towers did not make them."""
    import torch  # noqa: PLC0415

    from recsys.models.towers import numpy_of  # noqa: PLC0415

    folder = source.folder
    try:
        vectors: Float32 = np.load(BytesIO(source.read("item_vectors.npy")), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / 'item_vectors.npy'} cannot be read: {_first_line(error)}") from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise BundleError(f"{folder}: item_vectors.npy is {vectors.dtype}{vectors.shape}, not float32 (items, dimensions)")
    rows = np.linspace(0, len(vectors) - 1, min(_CHECKED_ROWS, len(vectors))).astype(np.int64)
    if vectors.shape[0] != len(towers.items):
        raise BundleError(f"{folder}: item_vectors.npy has {len(vectors)} vectors for {len(towers.items)} items")
    with torch.inference_mode():
        made = towers.net.for_score(towers.net.items(torch.from_numpy(rows).to(towers.device)).float())
    if not np.allclose(numpy_of(made), vectors[rows], atol=1e-3):
        raise BundleError(f"{folder}: item_vectors.npy was not made by the towers beside it")
    return vectors


def _nested(lists: Ragged, rows: str, times: str, events: str) -> pl.DataFrame:
    """One list column for the rows and, where there are any, one for the times and one for the event types."""
    columns = {rows: lists.rows, times: lists.times, events: lists.events}
    flat = pl.DataFrame({"owner": lists.list_index()} | {name: one for name, one in columns.items() if one is not None})
    filled = flat.group_by("owner", maintain_order=True).agg(pl.all())
    every = pl.DataFrame({"owner": np.arange(len(lists))})
    joined = filled.join(every, on="owner", how="right", maintain_order="right").drop("owner")
    return joined.with_columns(pl.all().fill_null([]))


def _lists(frame: pl.DataFrame, rows: str, times: str, events: str) -> Ragged:
    """The lists of columns that :func:`_nested` made; times and event types only where the frame has them."""

    def flat(name: str, dtype: type[pl.DataType]) -> NDArray[Any]:
        return frame[name].explode(empty_as_null=False).cast(dtype).to_numpy()

    return Ragged.from_lengths(
        frame[rows].list.len().to_numpy(),
        flat(rows, pl.Int32),
        flat(times, pl.Int64) if times in frame.columns else None,
        flat(events, pl.Int8) if events in frame.columns else None,
    )
