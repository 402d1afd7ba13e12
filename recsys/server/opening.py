"""Opening what is served: a bundle, or an export of one, told apart by what lies in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from recsys.bundle.manifest import read_manifest
from recsys.core.memory import available_memory
from recsys.core.pseudonym_key import checked_key, read_key
from recsys.core.threads import keep_within, usable
from recsys.errors import BundleError
from recsys.server.export_model import ExportModel
from recsys.server.model import Model
from recsys.serving.runtime.folder import FILE, told_by

_SHORT: Final = 16
"""Digits of a digest that are shown."""
_GROWTH: Final = 1.3
"""Memory of what is loaded for each byte of its files: texts and tables take more than on disk."""
_TRIES: Final = 3


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export."""
    return (folder / FILE).is_file()


def digest_of(folder: Path) -> str:
    """The digest of a bundle or an export on disk, which only another one changes.

    Raises
    ------
    BundleError
        There is none, or what tells of it is damaged.
    """
    found: str = _told(folder)["sha256"]
    return found[:_SHORT]


def pseudonyms_of(folder: Path) -> str | None:
    """The id of the key under which users are called there; None where they have their own names. Raises as above."""
    told = _told(folder)
    found: str | None = (told["model"] if is_export(folder) else told["data"]).get("pseudonym_key")
    return found


def open_model(
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    available: int | None = None,
    pseudonym_key: str | None = None,
) -> tuple[Model, str]:
    """Load and verify a bundle or an export, if it fits in memory; with its digest.

    Parameters
    ----------
    folder : Path
    device : str
        Of a bundle.
    threads : int, optional
        That compute a batch, at most; by default as many as there are.
    available : int, optional
        Bytes of memory that may be used; by default what the system has left.
    pseudonym_key : str, optional
        File of the key of its users' pseudonyms; by default what the environment holds.

    Raises
    ------
    BundleError
        It is damaged, of another version, or would not fit; or a package is missing: PyTorch for a bundle, onnxruntime or
        tokenizers for an export.
    ConfigError
        Its users are pseudonyms under another key, or there is none.
    """
    told, threads = _told(folder), threads or usable()
    file = None if pseudonym_key is None else Path(pseudonym_key)
    key = checked_key(read_key(file, option="pseudonym_key_file"), pseudonyms_of(folder), str(folder))
    need = int(_GROWTH * sum(entry["bytes"] for entry in told["files"].values()))
    free = available_memory() if available is None else available
    if free is not None and need > free:
        raise BundleError(
            f"{folder} needs about {need / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} MiB are left; "
            "give the server more, or serve a smaller bundle"
        )
    for _ in range(_TRIES):
        digest = digest_of(folder)
        try:
            if is_export(folder):
                model: Model = ExportModel.of(folder, threads, key)
            else:
                model = _bundle(folder, device, threads, pseudonym_key)
        except BundleError:
            if digest_of(folder) == digest:
                raise
            continue  # somebody exchanged it meanwhile
        if digest_of(folder) == digest:
            return model, digest
    raise BundleError(f"{folder} is being replaced again and again; load it once its writers have ended")


def _told(folder: Path) -> dict[str, Any]:
    """What is told of the files in a folder."""
    return told_by(folder) if is_export(folder) else read_manifest(folder)


def _bundle(folder: Path, device: str, threads: int, key_file: str | None) -> Model:
    try:
        from recsys.server.bundle_model import BundleModel  # noqa: PLC0415 - torch
        from recsys.serving.load import load  # noqa: PLC0415
    except ImportError as error:
        raise BundleError(
            f"{folder} is a bundle, which needs PyTorch ({error}); install recsys whole, or serve an export, which recsys "
            f"export {folder} --out FOLDER makes where it is"
        ) from error
    keep_within(threads)
    return BundleModel(load(folder, device=device, pseudonym_key=key_file).bundle)
