"""The terminal: whatever its encoding, and whether or not it still reads, what is printed to it costs no result."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
CLOSED: Final = 141
"""The exit code of a command whose reader has gone, as that of any other (128 + SIGPIPE)."""


def prepare() -> None:
    """Let characters that the terminal does not know be written as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(text: str) -> int:
    """Print to standard output and check that it arrives.

    Returns
    -------
    int
        0; 141 where the reader has gone (``| head``), which is no error of ours; 2 where it cannot be written, told in one
        line.
    """
    try:
        print(harmless(text), flush=True)
    except OSError as error:
        return _lost(error)
    return 0


def harmless(text: str) -> str:
    """Text in which control characters other than line ends and tabs are escapes: titles may not steer the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _lost(error: OSError) -> int:
    with contextlib.suppress(OSError, ValueError):  # else Python flushes once more at its end, and complains
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return CLOSED
    print(f"recsys: standard output cannot be written: {error.strerror or error}", file=sys.stderr)
    return 2


def as_json(data: Any) -> str:
    """JSON of a command's answer: ASCII, with null for numbers that JSON cannot write (NaN, infinities)."""
    return json.dumps(_plain(data), indent=2, allow_nan=False)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(one) for one in data]
    if isinstance(data, np.ndarray | np.generic):
        return _plain(data.tolist())
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Path | datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(data)
    if isinstance(data, bytes):
        return data.hex()
    return data
