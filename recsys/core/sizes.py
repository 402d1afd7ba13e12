"""Amounts of memory and of disk that a person writes: ``2GiB``, ``500MB``."""

from __future__ import annotations

import re
from typing import Final

from recsys.errors import ConfigError

UNITS: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
"""What a unit counts: powers of 1,000, and with an i powers of 1,024 (IEC 80000-13); case does not matter."""
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def bytes_of(text: str, option: str) -> int:
    """The number of bytes that a text such as ``2GiB`` means.

    Parameters
    ----------
    text : str
        A number, and a unit: KB, MB, GB and TB are powers of 1,000, KiB, MiB, GiB and TiB of 1,024; none: bytes.
    option : str
        What it was given for, for the message.

    Raises
    ------
    ConfigError
        It is written otherwise; a letter alone (``2G``) could mean either.

    Examples
    --------
    >>> bytes_of("1.5GiB", "--memory") == 3 * 2**29
    True
    >>> bytes_of("1.5 GB", "--memory")
    1500000000
    """
    found = _SIZE.fullmatch(text)
    if found is None or found[2].upper() not in UNITS:
        raise ConfigError(
            f"{option} {text!r} is not a valid size; write it like 2GiB (2 x 1024^3 bytes), 500MB (500 x 1000^2) or 1048576"
        )
    return int(float(found[1]) * UNITS[found[2].upper()])
