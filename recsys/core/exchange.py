"""Two folders exchange their names in one step of the system, where it has one."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
"""How kernels and file systems say that they know no exchange."""
_HERE, _EXCHANGE, _SWAP = -100, 2, 2  # AT_FDCWD, RENAME_EXCHANGE; macOS's RENAME_SWAP


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two existing folders of one file system: at every moment both names hold one of them.

    Linux has ``renameat2`` for it, and macOS ``renamex_np``.

    Returns
    -------
    bool
        False where the system or the file system cannot (nothing has happened then).

    Raises
    ------
    OSError
        It could, and did not: one of them is missing, or may not be moved.
    """
    try:
        library = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if sys.platform == "linux":
            failed = library.renameat2(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE))
        elif sys.platform == "darwin":
            failed = library.renamex_np(*names, ctypes.c_uint(_SWAP))
        else:
            return False
    except (AttributeError, OSError, TypeError):  # a C library without it, or none that can be opened so
        return False
    if failed and (number := ctypes.get_errno()) not in _CANNOT:
        raise OSError(number, os.strerror(number), str(other))
    return not failed
