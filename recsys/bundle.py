"""The bundle: one self-contained, hashed, pickle-free folder from which a retriever rises again."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.catalog import Catalog
from recsys.data.row_lists import Float32, RowLists
from recsys.data.split import Holdout
from recsys.data.vocabulary import Vocabulary
from recsys.errors import BundleError, ConfigError, DataError
from recsys.files import atomic_folder, exclusive, sha256_of
from recsys.schema import ITEM, TEXT, TITLE, USER

if TYPE_CHECKING:
    from recsys.models.towers import Towers
    from recsys.serving.retriever import Retriever

FORMAT = "recsys-bundle"
FORMAT_VERSION = 1
_LIBRARIES = ("recsys", "torch", "transformers", "sentence-transformers", "polars", "numpy", "lightning")
_ENCODER_FILES = {".json", ".txt", ".model", ".safetensors"}
_CHECKED_ROWS = 64
_FIGURES, _CARD = "report.json", "MODEL_CARD.md"


def save(
    retriever: Retriever,
    folder: Path,
    *,
    overwrite: bool,
    metrics: dict[str, Any] | None = None,
    figures: dict[str, Any] | None = None,
    like: str | Path | None = None,
) -> None:
    """Write a bundle under a temporary name, then give it its own: all or nothing.

    Parameters
    ----------
    retriever : Retriever
    folder : Path
    overwrite : bool
        Whether an older bundle there may be replaced. A folder that is not a bundle never is.
    metrics : dict, optional
        Kept in the manifest.
    figures : dict, optional
        What :func:`recsys.evaluation.report.build` found; kept as ``report.json`` and told in ``MODEL_CARD.md``.
    like : path, optional
        An older bundle of the same model, whose metrics and card are taken over.

    Raises
    ------
    DataError
        Something else, or without ``overwrite`` anything, is in the way, or another writer is at it.
    OSError
        It cannot be written, as on a full disk; what was there before stays.
    """
    from safetensors import SafetensorError  # noqa: PLC0415

    if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / "manifest.json").is_file():
        raise DataError(f"{folder} holds something that is not a recsys bundle; it is not overwritten")
    with exclusive(folder), atomic_folder(folder, replace=overwrite) as target:
        if like is not None:
            metrics = read_manifest(Path(like))["metrics"] if metrics is None else metrics
            for name in (_FIGURES, _CARD):
                if (file := Path(like) / name).is_file():
                    shutil.copyfile(file, target / name)
        try:
            _write_tables(retriever, target)
            _write_towers(retriever, target)
        except (pl.exceptions.PolarsError, SafetensorError, RuntimeError) as error:  # how they tell of a full disk
            raise OSError(f"{folder} cannot be written: {str(error).splitlines()[0]}") from error
        if figures is not None:
            from recsys.evaluation.report import as_json, model_card  # noqa: PLC0415

            (target / _FIGURES).write_text(as_json(figures), encoding="utf-8")
            (target / _CARD).write_text(model_card(figures), encoding="utf-8")
        files = sorted(file for file in target.rglob("*") if file.is_file())
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "library_versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            "data": retriever.data,
            "metrics": metrics or {},
            "files": {
                file.relative_to(target).as_posix(): {"sha256": sha256_of(file), "bytes": file.stat().st_size}
                for file in files
            },
        }
        (target / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _write_tables(retriever: Retriever, target: Path) -> None:
    catalog = retriever.catalog
    codes = retriever.towers.codes_for(retriever.users)
    features = [] if codes is None else [pl.Series(f"feature_{i}", codes[:, i]) for i in range(codes.shape[1])]
    retriever.users.ids.to_frame().hstack(features).write_parquet(target / "users.parquet")
    own = {ITEM: retriever.items.ids, f"_{TEXT}": catalog.texts, f"_{TITLE}": catalog.titles}
    pl.DataFrame(own).hstack(catalog.columns).write_parquet(target / "items.parquet")
    histories = _nested(retriever.histories, "items", "times", "events")
    if retriever.trained is not None:
        histories = histories.with_columns(pl.Series("trained", retriever.trained))
    histories.write_parquet(target / "histories.parquet")
    if (holdout := retriever.holdout) is not None:
        users = holdout.users.raw(holdout.user_rows).alias(USER).to_frame()
        history = _nested(holdout.histories, "history", "history_times", "history_events")
        targets = _nested(replace(holdout.targets.bare(), times=holdout.times), "targets", "times", "events")
        pl.concat([users, history, targets], how="horizontal").write_parquet(target / "holdout.parquet")


def _write_towers(retriever: Retriever, target: Path) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415

    from recsys.index import files  # noqa: PLC0415

    towers = retriever.towers
    tensors = {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in towers.net.state_dict().items()}
    if towers.whitening is not None:
        tensors |= {"whitening.mean": towers.whitening.mean, "whitening.matrix": towers.whitening.matrix}
    save_file(tensors, target / "towers.safetensors")
    np.save(target / "item_vectors.npy", towers.vectors, allow_pickle=False)
    files.write(retriever.index, target, towers.vectors)
    retriever.shelf.reader_of(retriever.options).write(target)
    config = {
        "model": retriever.options,
        "catalog": {"text_columns": list(retriever.catalog.text_columns), "trained_items": retriever.shelf.trained},
        "event_names": list(retriever.event_names),
        "holdout": retriever.holdout.protocol if retriever.holdout else None,
        "training": retriever.record,
    }
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if towers.encoder_folder is not None:
        for file in towers.encoder_folder.rglob("*"):
            if file.is_file() and file.suffix in _ENCODER_FILES:
                copy = target / "encoder" / file.relative_to(towers.encoder_folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, its format checked.

    Raises
    ------
    BundleError
        There is none, it is broken, or its format is foreign or newer.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        raise BundleError(f"{folder} is not a recsys bundle: it has no manifest.json (half-written folders have none)")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind, version = manifest["format"], manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is damaged: {error}") from error
    if kind != FORMAT or not isinstance(version, int):
        raise BundleError(f"{file} describes a {kind!r} of version {version!r}, not a {FORMAT}")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{folder} has format version {version}; this recsys reads up to {FORMAT_VERSION}: upgrade recsys"
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Check that every file of a bundle is there and is what was written; returns the manifest.

    Raises
    ------
    BundleError
        A file is missing or differs; the message names it.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"{folder} is incomplete: {name} is missing")
        if file.stat().st_size != expected["bytes"] or sha256_of(file) != expected["sha256"]:
            raise BundleError(f"{file} is damaged: it is not what was saved (sha256 differs)")
    return manifest


def load(folder: str | Path, *, device: str = "auto") -> Retriever:
    """Open a bundle.

    Parameters
    ----------
    folder : path
        What :meth:`recsys.serving.retriever.Retriever.save` wrote.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``: where the towers run.

    Returns
    -------
    Retriever

    Raises
    ------
    BundleError
        The bundle is damaged, incomplete, newer, or its parts do not belong together.
    """
    from recsys.index import files  # noqa: PLC0415
    from recsys.models.content_reader import ContentReader, reads_words  # noqa: PLC0415
    from recsys.serving.retriever import Retriever  # noqa: PLC0415
    from recsys.serving.shelf import Shelf  # noqa: PLC0415

    folder = Path(folder)
    manifest = verify(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        people = pl.read_parquet(folder / "users.parquet", glob=False)
        users = Vocabulary(people[USER], "user")
        table = pl.read_parquet(folder / "items.parquet", glob=False)
        items = Vocabulary(table[ITEM], "item")
        towers = _load_towers(folder, config["model"], users, items, device)
        towers.event_names = tuple(config.get("event_names", ()))
        if len(people.columns) > 1:
            towers.user_codes = people.drop(USER).to_numpy().astype(np.int32)
    except (KeyError, ConfigError, DataError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{folder} is not whole: {error}") from error
    hidden = (ITEM, f"_{TEXT}", f"_{TITLE}")
    catalog = Catalog(
        items,
        table[f"_{TEXT}"].alias(TEXT),
        table[f"_{TITLE}"].alias(TITLE),
        table.drop(hidden),
        tuple(config["catalog"]["text_columns"]),
    )
    histories = pl.read_parquet(folder / "histories.parquet", glob=False)
    event_names = tuple(config.get("event_names", ()))  # bundles of older versions have none
    vectors = _checked_vectors(folder, towers)
    try:
        index = files.read(folder, vectors, device=towers.device)
    except DataError as error:
        raise BundleError(f"{folder}: {error}") from error
    options = config["model"]
    reader = ContentReader.read(folder, options.get("categories", ()), words=reads_words(options, has_tokens=True))
    retriever = Retriever(
        shelf=Shelf(towers, index, catalog, config["catalog"].get("trained_items", len(items)), reader),
        users=users,
        histories=_lists(histories, "items", "times", "events"),
        trained=histories["trained"].to_numpy() if "trained" in histories.columns else None,
        options=options,
        record=config["training"],
        data=manifest["data"],
        event_names=event_names,
    )
    if config["holdout"] is not None:
        held = pl.read_parquet(folder / "holdout.parquet", glob=False)
        history, targets = _lists(held, "history", "history_times", "history_events"), _lists(held, "targets", "times", "")
        retriever.holdout = Holdout(
            users,
            items,
            users.rows(held[USER]),
            history,
            targets.bare(),
            config["holdout"],
            targets.times,
            () if history.events is None else event_names,
        )
    return retriever


def _load_towers(folder: Path, options: dict[str, Any], users: Vocabulary, items: Vocabulary, device: str) -> Towers:
    from safetensors.torch import load_file  # noqa: PLC0415

    from recsys.assemble import network_like  # noqa: PLC0415
    from recsys.models.device import pick_device  # noqa: PLC0415
    from recsys.models.towers import Towers  # noqa: PLC0415
    from recsys.models.whiten import Whitening  # noqa: PLC0415
    from recsys.two_tower import TwoTower  # noqa: PLC0415

    if strange := options.keys() - {field.name for field in fields(TwoTower)}:
        names = ", ".join(sorted(strange))
        raise BundleError(f"{folder}: the model has options that this recsys does not know ({names}); upgrade recsys")
    state = load_file(folder / "towers.safetensors")
    whitening = None
    if "whitening.mean" in state:
        whitening = Whitening(state.pop("whitening.mean").numpy(), state.pop("whitening.matrix").numpy())
    has_id = state["items.has_id"]
    if len(has_id) != len(items):
        raise BundleError(f"{folder}: towers.safetensors knows {len(has_id)} items, items.parquet {len(items)}")
    net = network_like(TwoTower(**({"words": False} | options)), state)  # before there were words
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise BundleError(f"{folder}: towers.safetensors does not fit config.json: {error}") from error
    device = pick_device(device)
    encoder = folder / "encoder" if whitening is not None else None
    return Towers(net.to(device).eval(), users, items, whitening, encoder, device)


def _checked_vectors(folder: Path, towers: Towers) -> Float32:
    """The saved item vectors; refused if the towers did not make them."""
    import torch  # noqa: PLC0415

    from recsys.models.towers import numpy_of  # noqa: PLC0415

    vectors: Float32 = np.load(folder / "item_vectors.npy", allow_pickle=False)
    rows = np.linspace(0, len(vectors) - 1, min(_CHECKED_ROWS, len(vectors))).astype(np.int64)
    if vectors.shape[0] != len(towers.items):
        raise BundleError(f"{folder}: item_vectors.npy has {len(vectors)} vectors for {len(towers.items)} items")
    with torch.inference_mode():
        made = towers.net.for_score(towers.net.items(torch.from_numpy(rows).to(towers.device)).float())
    if not np.allclose(numpy_of(made), vectors[rows], atol=1e-3):
        raise BundleError(f"{folder}: item_vectors.npy was not made by the towers beside it")
    return vectors


def _nested(lists: RowLists, rows: str, times: str, events: str) -> pl.DataFrame:
    """One list column for the rows and, where there are any, one for the times and one for the event types."""
    columns = {rows: lists.rows, times: lists.times, events: lists.events}
    flat = pl.DataFrame({"owner": lists.owners()} | {name: one for name, one in columns.items() if one is not None})
    filled = flat.group_by("owner", maintain_order=True).agg(pl.all())
    every = pl.DataFrame({"owner": np.arange(len(lists))})
    joined = filled.join(every, on="owner", how="right", maintain_order="right").drop("owner")
    return joined.with_columns(pl.all().fill_null([]))


def _lists(frame: pl.DataFrame, rows: str, times: str, events: str) -> RowLists:
    """The lists of columns that :func:`_nested` made; times and event types only where the frame has them."""

    def flat(name: str, dtype: type[pl.DataType]) -> NDArray[Any]:
        return frame[name].explode(empty_as_null=False).cast(dtype).to_numpy()

    return RowLists.from_lengths(
        frame[rows].list.len().to_numpy(),
        flat(rows, pl.Int32),
        flat(times, pl.Int64) if times in frame.columns else None,
        flat(events, pl.Int8) if events in frame.columns else None,
    )


def describe(folder: Path) -> dict[str, Any]:
    """A bundle's facts, its files verified, without loading the model."""
    manifest = verify(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    training = config["training"]
    return {
        "bundle": str(folder),
        "created": manifest["created"],
        "verified_files": len(manifest["files"]),
        "bytes": size,
        "data": manifest["data"],
        "model": config["model"],
        "holdout": config["holdout"],
        "best_epoch": training.get("best_epoch"),
        "training_seconds": round(training.get("seconds", 0)),
        "test": {name: f"{value:.4f}" for name, value in manifest["metrics"].items()},
        "library_versions": manifest["library_versions"],
    }


def describe_text(facts: dict[str, Any]) -> str:
    """The facts as lines for people."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(name.replace("_", " "))
            lines += [f"  {key:<22}{one}" for key, one in value.items()]
        else:
            lines.append(f"{name.replace('_', ' '):<24}{value:,}" if isinstance(value, int) else f"{name:<24}{value}")
    return "\n".join(lines)
