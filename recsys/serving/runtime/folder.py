"""The folder of an export: what is in it, sealed, and its files opened at one moment."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.opened import OpenedFile, Source, is_inside
from recsys.core.sealed import sealed
from recsys.errors import BundleError

FORMAT: Final = "recsys-export"
FORMAT_VERSION: Final = 1
FILE: Final = "export.json"
_NEEDED = {"format_version": int, "opset": int, "model": dict, "parity": dict, "files": dict}


def told_by(folder: Path) -> dict[str, Any]:
    """What ``export.json`` tells, checked.

    Raises
    ------
    BundleError
        There is no export, it is damaged, or of a newer format.
    """
    file = folder / FILE
    try:
        told = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(_no_export(folder)) from error
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is damaged: {error}; export the bundle again") from error
    return _checked(file, told)


def opened(folder: Path) -> tuple[dict[str, Any], Source]:
    """What ``export.json`` tells, and every file that it names, opened.

    Raises
    ------
    BundleError
        As :func:`told_by`, or a file is missing.
    """
    told, files = told_by(folder), {}
    try:
        for name, entry in told["files"].items():
            handle = (folder / name).open("rb")
            files[name] = OpenedFile(folder / name, handle, entry["sha256"], entry["bytes"])
    except (FileNotFoundError, NotADirectoryError) as error:
        Source(folder, files).close()
        raise BundleError(f"{folder} is incomplete: {name} is missing; export the bundle again") from error
    except OSError as error:
        Source(folder, files).close()
        raise BundleError(f"{folder / name} cannot be read: {error.strerror}") from error
    return told, Source(folder, files)


def _checked(file: Path, told: Any) -> dict[str, Any]:
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise BundleError(f"{file} is not of an export of recsys; recsys export RUN --out FOLDER makes one")
    version = told.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise BundleError(
            f"{file.parent} was exported by a newer recsys ({told.get('recsys')}, format {version}; this runtime reads "
            f"{FORMAT_VERSION}): upgrade recsys-runtime"
        )
    if told.get("sha256") != sealed(told)["sha256"]:
        raise BundleError(f"{file} is damaged: its own sha256 is another; export the bundle again")
    for name, kind in _NEEDED.items():
        if not isinstance(told.get(name), kind):
            raise BundleError(f"{file} is damaged: {name} must be a {kind.__name__}, not {told.get(name)!r}")
    for name, entry in told["files"].items():
        if not (is_inside(name) and isinstance(entry, dict) and set(entry) == {"sha256", "bytes"}):
            raise BundleError(f"{file} is damaged: files tells of {name!r} as {entry!r}")
    return told


def _no_export(folder: Path) -> str:
    if (folder / "manifest.json").is_file() and (folder / "config.json").is_file():
        return (
            f"{folder} is a bundle, which needs PyTorch; export it where that is: recsys export {folder} --out FOLDER, or "
            "answer from it with recsys.load"
        )
    what = "there is no such folder" if not folder.exists() else f"it has no {FILE}" if folder.is_dir() else "it is a file"
    return f"{folder} is not an export of recsys: {what}; recsys export RUN --out FOLDER makes one"


def array(source: Source, name: str) -> NDArray[Any]:
    """A ``.npy`` file, verified and mapped: in memory as far as it is looked at.

    Raises
    ------
    DamagedError
        It is not what was written.
    BundleError
        It is no array.
    """
    content = source.mapped(name)
    head = BytesIO(bytes(content[:4096]))
    try:
        version = np.lib.format.read_magic(head)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(head)
        if fortran or dtype.hasobject:
            raise ValueError("it is not a plain array")
        return np.frombuffer(content, dtype=dtype, offset=head.tell()).reshape(shape)
    except ValueError as error:
        raise BundleError(f"{source.folder / name} is damaged: {error}; export the bundle again") from error


def table(source: Source, name: str, columns: list[str] | None = None) -> pl.DataFrame:
    """A Parquet file, verified.

    Raises
    ------
    DamagedError
        It is not what was written.
    """
    return pl.read_parquet(source.read(name), columns=columns)
