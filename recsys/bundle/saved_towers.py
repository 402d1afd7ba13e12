"""The towers of a bundle on disk, with their vectors, index and text encoder, each proven to belong to the others."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load as tensors_of

from recsys.bundle.config import FILE as CONFIG
from recsys.bundle.config import SavedConfig, first_line
from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.bundle.saved_tables import SavedTables
from recsys.core.coded import from_codes, to_codes
from recsys.core.device import pick_device
from recsys.core.id_map import IdMap
from recsys.core.opened import OpenedFile, Source
from recsys.core.progress import warn
from recsys.core.ragged import Float32, Ragged
from recsys.errors import BundleError, EncoderError
from recsys.index import io as index_files
from recsys.models.build import network_like
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.proof import prove_reencoding
from recsys.models.encoders.whitening import Whitening
from recsys.models.feature_encoder import FeatureEncoder, reads_words
from recsys.models.group_factors import GroupFactors
from recsys.models.pictures import Pictures
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.transitions import io as transition_files

ENCODER, IMAGE_ENCODER = "encoder/", "image_encoder/"
_VECTORS, _USERS, _MOMENTS = "item_vectors.npy", "checked_users.npy", "optimizer.safetensors"
_IMAGES = "image_whitening."
_CHECKED_ROWS, _CHECKED_USERS = 64, 8
_NEAR = 5e-3
"""Largest difference of a user vector made anew, as a share of its length: what processors may differ by, and no option."""


def write(bundle: Bundle, target: Path) -> None:
    """Write towers, vectors, index and text encoder of a bundle into a folder."""
    towers = bundle.towers
    tensors = {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in towers.net.state_dict().items()}
    if towers.whitening is not None:
        tensors |= {"whitening.mean": towers.whitening.mean, "whitening.matrix": towers.whitening.matrix}
    if (pictures := towers.pictures) is not None:
        tensors |= {_IMAGES + "mean": pictures.whitening.mean, _IMAGES + "matrix": pictures.whitening.matrix}
        if pictures.held is not None:
            pictures.held.write(target / IMAGE_ENCODER)
    if (scale := numpy_of(towers.net.cold_scale)) != 1.0:  # bundles of older versions know none
        tensors["cold_scale"] = scale
    if towers.net.group_scale is not None:
        tensors["group_scale"] = numpy_of(towers.net.group_scale)
    coded = (to_codes(name, value) for name, value in tensors.items())
    save_file({name: value for some in coded for name, value in some.items()}, target / "towers.safetensors")
    if towers.moments is not None:
        save_file({name: value.numpy() for name, value in towers.moments.items()}, target / _MOMENTS)
    np.save(target / _VECTORS, towers.vectors, allow_pickle=False)
    index_files.write(bundle.index, target, towers.vectors)
    bundle.corpus.encoder.write(target)
    if bundle.corpus.transitions is not None:
        transition_files.write(bundle.corpus.transitions, target)
    write_users(bundle, target)
    _write_encoder(bundle, target)


def write_users(bundle: Bundle, target: Path) -> None:
    """Write vectors of a few users, by which a loader proves the user tower."""
    np.save(target / _USERS, _user_vectors(bundle.towers, bundle.histories), allow_pickle=False)


def _write_encoder(bundle: Bundle, target: Path) -> None:
    """Write the text encoder; after a training, prove that what was written gives the vectors that were trained with."""
    towers, folder = bundle.towers, target / ENCODER
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


def read(source: Source, config: SavedConfig, tables: SavedTables, device: str) -> Corpus:
    """Read towers, vectors and index.

    Raises
    ------
    BundleError
        A file is damaged, or was not made by the towers, or from the tables, beside it.
    """
    catalog, model = tables.catalog, config.model
    towers = _towers(source, config, tables, device)
    trained = len(catalog.items) if config.trained_items is None else config.trained_items
    if trained > len(catalog.items):
        file = source.folder / CONFIG
        raise BundleError(f"{file}: catalog.trained_items is {trained}, and items.parquet has {len(catalog.items)}")
    vectors = _checked_vectors(source, towers, tables.histories)
    index = index_files.read(source, vectors, device=towers.device)
    words = reads_words(model, has_tokens=towers.net.items.bags is not None)
    encoder = FeatureEncoder.read(source, model.categories, model.numbers, words=words, paths=model.category_paths)
    if encoder is None:  # bundles of older versions have no file for it
        first = catalog.aligned(IdMap(catalog.items.ids[:trained], catalog.items.kind))
        encoder = FeatureEncoder.of(first, model.categories, model.numbers, words=words)
    towers.reader = encoder
    return Corpus(towers, index, catalog, trained, encoder, transition_files.read(source, len(catalog.items)))


def _towers(source: Source, config: SavedConfig, tables: SavedTables, device: str) -> TwoTowerModel:
    folder, catalog = source.folder, tables.catalog
    arrays = {name: value.numpy() for name, value in tensors_of(source.read("towers.safetensors")).items()}
    state = {name: torch.from_numpy(value) for name, value in from_codes(arrays).items()}
    whitening = None
    if "whitening.mean" in state:
        whitening = Whitening(state.pop("whitening.mean").numpy(), state.pop("whitening.matrix").numpy())
    pictures = None
    if f"{_IMAGES}mean" in state and config.model.images is not None:
        read = Whitening(state.pop(f"{_IMAGES}mean").numpy(), state.pop(f"{_IMAGES}matrix").numpy())
        files = _files_below(source, IMAGE_ENCODER)
        pictures = Pictures(config.model.images, read, HeldEncoder(files, proven=True) if files else None)
    scale, by_group = state.pop("cold_scale", torch.tensor(1.0)), state.pop("group_scale", None)
    has_id = state["items.has_id"]
    if len(has_id) != len(catalog.items):
        raise BundleError(f"{folder}: towers.safetensors knows {len(has_id)} items, items.parquet {len(catalog.items)}")
    try:
        net = network_like(config.model, state)
        net.load_state_dict(state)
        net.cold_scale.copy_(scale)
        net.group_scale = by_group
    except (RuntimeError, KeyError, ValueError) as error:
        raise BundleError(f"{folder}: towers.safetensors does not fit config.json (model): {error}") from error
    device = pick_device(device)
    encoder = _files_below(source, ENCODER)
    held = HeldEncoder(encoder, proven=True) if encoder and whitening is not None else None
    net = net.to(device).eval()
    return TwoTowerModel(
        net,
        tables.users,
        catalog.items,
        whitening,
        held,
        device,
        config.event_names,
        user_codes=tables.user_codes,
        moments=tensors_of(source.read(_MOMENTS)) if _MOMENTS in source else None,
        user_features=config.user_features,
        group_factors=GroupFactors.from_record(config.record),
        pictures=pictures,
    )


def _files_below(source: Source, folder: str) -> dict[str, OpenedFile]:
    return {name.removeprefix(folder): file for name, file in source.files.items() if name.startswith(folder)}


def _checked_vectors(source: Source, towers: TwoTowerModel, histories: Ragged) -> Float32:
    """The saved item vectors; refused if the towers do not make them, or other user vectors than when they were saved."""
    folder = source.folder
    try:
        vectors: Float32 = np.load(BytesIO(source.read(_VECTORS)), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / _VECTORS} cannot be read: {first_line(error)}") from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise BundleError(f"{folder}: {_VECTORS} is {vectors.dtype}{vectors.shape}, not float32 (items, dimensions)")
    rows = np.linspace(0, len(vectors) - 1, min(_CHECKED_ROWS, len(vectors))).astype(np.int64)
    if vectors.shape[0] != len(towers.items):
        raise BundleError(f"{folder}: {_VECTORS} has {len(vectors)} vectors for {len(towers.items)} items")
    with torch.inference_mode():
        where = torch.from_numpy(rows).to(towers.device)
        made = towers.net.compared(towers.net.items(where).float(), where)
    if not np.allclose(numpy_of(made), vectors[rows], atol=1e-3):
        raise BundleError(f"{folder}: {_VECTORS} was not made by the towers beside it")
    if _USERS in source:  # bundles of older versions have none
        saved, again = np.load(BytesIO(source.read(_USERS)), allow_pickle=False), _user_vectors(towers, histories)
        far = np.inf
        if saved.shape == again.shape:
            far = np.linalg.norm(saved - again, axis=1) - _NEAR * np.linalg.norm(saved, axis=1)
        if not np.all(far <= 0):
            raise BundleError(
                f"{folder}: the user tower makes other vectors than when it was saved; config.json, users.parquet or "
                "histories.parquet was changed"
            )
    return vectors


def _user_vectors(towers: TwoTowerModel, histories: Ragged) -> Float32:
    """float32 (m, D): vectors of a few users, by which a loader proves that the user tower is the one that was saved."""
    rows = np.flatnonzero(histories.lengths)[:_CHECKED_USERS].astype(np.int32)
    if not len(rows):
        return np.empty((0, towers.vectors.shape[1]), dtype=np.float32)
    return numpy_of(towers.user_vectors(histories.take(rows), rows))
