"""The manifest of a bundle: what is in the folder, sealed, and all of it opened at one moment."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from recsys.core.leftovers import moved_aside
from recsys.core.opened import OpenedFile, Source, is_inside
from recsys.core.sealed import sealed
from recsys.errors import BundleError, DamagedError

T = TypeVar("T")

FORMAT = "recsys-bundle"
FORMAT_VERSION = 1
FILE = "manifest.json"
_LIBRARIES = ("recsys", "torch", "transformers", "sentence-transformers", "polars", "numpy", "lightning")
_KINDS: dict[str, type] = {
    "format": str, "format_version": int, "created": str, "library_versions": dict, "data": dict, "metrics": dict,
    "files": dict, "sha256": str, "lineage": dict, "privacy": dict, "exposure": dict,
}  # fmt: skip
_OPTIONAL = ("sha256", "lineage", "privacy", "exposure")
"""The first bundles have no seal, only updated ones a lineage, and only some promise privacy or floors of exposure."""
_PATIENCE = 5.0
"""Seconds for which a reader tries again while writers replace what it reads."""


def write(folder: Path, data: dict[str, Any], metrics: dict[str, Any], **more: dict[str, Any] | None) -> None:
    """Write the manifest of the files that lie in a folder; ``more`` is a lineage, and what privacy and exposure cost."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    opened = {file.relative_to(folder).as_posix(): OpenedFile.of(file) for file in files}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "library_versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "data": data,
        "metrics": metrics,
        "files": {name: {"sha256": file.sha256, "bytes": file.size} for name, file in opened.items()},
    } | {name: facts for name, facts in more.items() if facts is not None}
    Source(folder, opened).close()
    (folder / FILE).write_text(json.dumps(sealed(manifest), indent=2) + "\n", encoding="utf-8")


def further(told: dict[str, Any]) -> dict[str, Any]:
    """What a manifest tells besides what :func:`write` finds out, for the manifest of a changed bundle."""
    return {name: told.get(name) for name in _OPTIONAL if name != "sha256"}


def parsed(folder: Path, content: bytes) -> dict[str, Any]:
    """The manifest in these bytes, checked.

    Raises
    ------
    BundleError
        It is broken or changed, or its format is foreign or newer.
    """
    file = folder / FILE
    try:
        manifest = json.loads(content)
        kind, version = manifest["format"], manifest["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{file} is damaged: {error}") from error
    if kind != FORMAT or not isinstance(version, int) or version < 1:
        raise BundleError(f"{file} describes a {kind!r} of version {version!r}, not a {FORMAT}")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{folder} has format version {version}; this recsys reads up to {FORMAT_VERSION}: upgrade recsys"
        )
    if strange := manifest.keys() - _KINDS.keys():
        raise BundleError(f"{file} is damaged: {min(strange)!r} is no part of a manifest")
    for name, wanted in _KINDS.items():
        if (name not in _OPTIONAL or name in manifest) and not isinstance(manifest.get(name), wanted):
            raise BundleError(f"{file} is damaged: {name} must be a {wanted.__name__}, not {manifest.get(name)!r}")
    if "sha256" in manifest and manifest["sha256"] != sealed(manifest)["sha256"]:  # the first bundles have none
        raise BundleError(f"{file} is damaged: it is not what was saved (its own sha256 differs)")
    for name, entry in manifest["files"].items():
        told = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not is_inside(name) or not isinstance(told[0], str) or type(told[1]) is not int:
            raise BundleError(f"{file} is damaged: files tells of {name!r} as {entry!r}")
    found: dict[str, Any] = manifest
    return found


def opened(folder: Path) -> tuple[dict[str, Any], Source]:
    """The manifest, and every file that it names, opened through the folder that the path holds at this moment.

    Raises
    ------
    BundleError
        There is no bundle, the manifest is damaged, or a file is missing.
    """
    place = None
    with contextlib.ExitStack() as stack:
        if os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY"):
            try:
                place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise BundleError(_no_bundle(folder)) from error
            except OSError as error:
                raise BundleError(f"{folder} cannot be read: {error.strerror}") from error
            stack.callback(os.close, place)

        def open_in(name: str) -> int:
            if place is None:
                return os.open(folder / name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            return os.open(name, os.O_RDONLY, dir_fd=place)

        try:
            with os.fdopen(open_in(FILE), "rb") as stream:
                content = stream.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(_no_bundle(folder)) from error
        except OSError as error:
            raise BundleError(f"{folder / FILE} cannot be read: {error.strerror}") from error
        manifest = parsed(folder, content)
        files: dict[str, OpenedFile] = {}
        undo = stack.enter_context(contextlib.ExitStack())
        for name, entry in manifest["files"].items():
            try:
                handle = os.fdopen(open_in(name), "rb")
            except (FileNotFoundError, NotADirectoryError) as error:
                raise BundleError(f"{folder} is incomplete: {name} is missing") from error
            except OSError as error:
                raise BundleError(f"{folder / name} cannot be read: {error.strerror}") from error
            undo.callback(handle.close)
            files[name] = OpenedFile(folder / name, handle, entry["sha256"], entry["bytes"])
        undo.pop_all()
    return manifest, Source(folder, files)


def _no_bundle(folder: Path) -> str:
    aside = moved_aside(folder.absolute())
    hint = f"; an interrupted writer left it as {aside.name}: rename that to {folder.name}" if aside else ""
    if not os.path.lexists(folder):
        return f"{folder} is not a recsys bundle: there is no such folder{hint or '; name one that recsys fit has written'}"
    if not folder.is_dir():
        return f"{folder} is not a recsys bundle: it is not a folder; name one that recsys fit has written"
    return f"{folder} is not a recsys bundle: it has no manifest.json (half-written folders have none){hint}"


def reading(folder: Path, read: Callable[[dict[str, Any], Source], T]) -> T:
    """What ``read`` makes of a bundle, whose files are all of one version, whoever saves over it meanwhile.

    Where the bundle was replaced while it was being opened, it is opened again.

    Parameters
    ----------
    folder : Path
    read : callable
        Gets the manifest and the opened files, which are closed afterwards, save for what it keeps.

    Raises
    ------
    BundleError
        The bundle is damaged or incomplete, and nobody is replacing it.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        before = _version(folder)
        try:
            manifest, source = opened(folder)
            try:
                return read(manifest, source)
            except DamagedError as error:
                raise BundleError(str(error)) from error
        except BundleError:
            replaced = _version(folder) != before or (before is None and moved_aside(folder.absolute()) is not None)
            if not replaced or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _version(folder: Path) -> tuple[int, ...] | None:
    """What changes whenever a bundle is replaced."""
    try:
        place, file = folder.stat(), (folder / FILE).stat()
    except OSError:
        return None
    return (place.st_dev, place.st_ino, file.st_ino, file.st_mtime_ns, file.st_size)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, checked; the other files are not.

    Raises
    ------
    BundleError
        There is none, it is broken, or its format is foreign or newer.
    """

    def read(manifest: dict[str, Any], source: Source) -> dict[str, Any]:
        source.close()
        return manifest

    return reading(folder, read)


def verify(folder: Path) -> dict[str, Any]:
    """Check that every file of a bundle is there and is what was written; returns the manifest.

    Raises
    ------
    BundleError
        A file is missing or differs; the message names it.
    """

    def read(manifest: dict[str, Any], source: Source) -> dict[str, Any]:
        try:
            for file in source.files.values():
                file.check()
        finally:
            source.close()
        return manifest

    return reading(folder, read)
