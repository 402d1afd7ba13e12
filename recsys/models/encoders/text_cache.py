"""What was encoded once, kept on disk for next time; where that cannot be, done without."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from recsys.core.files import digested_file, read_digested
from recsys.core.progress import log, warn
from recsys.core.ragged import Float32
from recsys.errors import DamagedError, DataError

_FORM = "2"
"""Part of every key: what is kept under another form is not read."""


def cache_folder() -> Path:
    """Where encoded texts are kept: ``$RECSYS_CACHE``, or ``recsys`` under the user's cache folder.

    Raises
    ------
    OSError
        The user has no home folder, so there is no cache.
    """
    if own := os.environ.get("RECSYS_CACHE"):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "recsys"
    try:
        return Path.home() / ".cache" / "recsys"
    except RuntimeError as error:
        raise OSError("there is no home folder; set RECSYS_CACHE") from error


def remembered(
    kind: str, fingerprint: str, contents: Iterable[bytes], count: int, encode: Callable[[], tuple[Float32, int]]
) -> tuple[Float32, int]:
    """Vectors from the cache, or made and put there.

    Parameters
    ----------
    kind : str
        What is encoded, such as ``"texts"``.
    fingerprint : str
        Of all that decides what the encoder gives.
    contents : iterable of bytes
        What is encoded, one after the other.
    count : int
        How many these are.
    encode : callable
        Gives float32 (count, E), and how many were cut.

    Returns
    -------
    float32 (count, E)
    int
        How many were cut.
    """
    key = hashlib.sha256(f"{_FORM} {fingerprint}".encode())
    for one in contents:
        key.update(hashlib.sha256(one).digest())
    trouble, file = "", None
    try:
        file = cache_folder() / kind / f"{key.hexdigest()}.vectors"
        return _read(file, count)
    except FileNotFoundError:
        pass
    except DamagedError as error:
        trouble = f"{error}; it is made anew"
    except OSError as error:
        trouble = f"the cache of encoded {kind} cannot be read ({error.strerror or error}); they are encoded again"
    log(f"encoding {count:,} {kind}")
    vectors, cut = encode()
    if file is not None:
        try:
            with digested_file(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, np.array([cut]), allow_pickle=False)
                np.save(stream, vectors, allow_pickle=False)
        except (DataError, OSError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            trouble = trouble or f"encoded {kind} cannot be kept for next time in {file.parent}: {reason}"
    if trouble:
        warn(trouble)
    return vectors, cut


def _read(file: Path, count: int) -> tuple[Float32, int]:
    """What was kept, verified.

    Raises
    ------
    DamagedError
        It is not what was written, or of another shape.
    OSError
        It is not there, or cannot be read.
    """
    import io  # noqa: PLC0415

    stream = io.BytesIO(read_digested(file))
    cut, vectors = np.load(stream, allow_pickle=False), np.load(stream, allow_pickle=False)
    if cut.shape != (1,) or vectors.ndim != 2 or len(vectors) != count or vectors.dtype != np.float32:
        raise DamagedError(f"{file} is not what is kept there")
    if not np.isfinite(vectors).all():
        raise DamagedError(f"{file} holds vectors that are not finite")
    return vectors, int(cut[0])
