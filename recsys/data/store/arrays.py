"""Arrays in files of the format ``.npy``, written and read through memory maps."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DamagedError

_BLOCK = 1 << 24


def create(file: Path, dtype: np.dtype[Any], length: int) -> tuple[NDArray[Any], Callable[[], None]]:
    """Make a file for an array, and give the array to be filled; the disk's room is taken at once.

    Parameters
    ----------
    file : Path
        Not there yet.
    dtype : dtype
    length : int

    Returns
    -------
    array (length,)
        Writable; what is put into it stands in the file.
    callable
        Writes what the system still holds back.

    Raises
    ------
    OSError
        The file cannot be written, or there is no room for it.
    """
    with file.open("w+b") as stream:
        np.lib.format.write_array_header_1_0(stream, _header(dtype, length))
        start = stream.tell()
        _reserve(stream, start, length * dtype.itemsize)
        if length == 0:
            return np.empty(0, dtype=dtype), lambda: None
        stream.flush()
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_WRITE)
    return np.frombuffer(mapped, dtype=dtype, count=length, offset=start), mapped.flush


def _header(dtype: np.dtype[Any], length: int) -> dict[str, Any]:
    return {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}


def _reserve(stream: BinaryIO, start: int, size: int) -> None:
    """Take room on the disk: without it, a write into the map of a full disk ends the process."""
    stream.flush()
    if size == 0:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), start, size)
        return
    for begun in range(0, size, _BLOCK):
        stream.write(bytes(min(_BLOCK, size - begun)))


def write(file: Path, array: NDArray[Any]) -> None:
    """Write a whole array. Raises OSError."""
    with file.open("xb") as stream:
        np.lib.format.write_array_header_1_0(stream, _header(array.dtype, len(array)))
        stream.write(np.ascontiguousarray(array).data if len(array) else b"")


def shorten(file: Path, dtype: np.dtype[Any], length: int) -> None:
    """Keep the first ``length`` elements of the array in a file; what holds the rest must not be touched any more."""
    with file.open("r+b") as stream:
        np.lib.format.write_array_header_1_0(stream, _header(dtype, length))
        stream.truncate(stream.tell() + length * dtype.itemsize)


def mapped(handle: BinaryIO, path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Map an array, read-only.

    Parameters
    ----------
    handle : binary file
        Open at its start; may be closed afterwards.
    path : Path
        For messages.
    dtype, length
        What it must hold.

    Returns
    -------
    array (length,)
        An ordinary one, over the map.

    Raises
    ------
    DamagedError
        The file holds something else.
    """
    try:
        if np.lib.format.read_magic(handle) != (1, 0):
            raise ValueError("its version is not 1.0")
        found = np.lib.format.read_array_header_1_0(handle)
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: its header is not an array's ({str(error).splitlines()[0]})") from error
    start, size = handle.tell(), os.fstat(handle.fileno()).st_size
    if found != ((length,), False, dtype) or size != start + length * dtype.itemsize:
        raise DamagedError(
            f"{path} is damaged: it must hold {length:,} values of {dtype}, its header tells of {found[0]} of {found[2]}, "
            f"and it has {size:,} bytes"
        )
    if length == 0:
        return np.empty(0, dtype=dtype)
    return np.frombuffer(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ), dtype=dtype, count=length, offset=start)
