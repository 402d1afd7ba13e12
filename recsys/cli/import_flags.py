"""The flags of ``recsys import``."""

from __future__ import annotations

import argparse
from typing import get_args

from recsys.core.cluster import Engine
from recsys.core.sizes import bytes_of
from recsys.errors import ConfigError


def amount(text: str) -> int:
    """The bytes that a text such as 4GiB means, for argparse."""
    try:
        return bytes_of(text, "--memory")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_import_flags(parser: argparse.ArgumentParser) -> None:
    """``--out``, ``--append`` and ``--overwrite``; the columns of the log come beside them."""
    parser.add_argument("--out", metavar="STORE", required=True, help="folder of the store")
    parser.add_argument(
        "--append", action="store_true",
        help="add the log to the store in --out: takes time for the new events only, late ones find their place",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier store in --out")
    parser.add_argument(
        "--memory", metavar="SIZE", type=amount,
        help="memory that a new store is made with, such as 4GiB (1024^3 bytes each; GB: 1000^3), beside distinct ids; "
        "more is faster, and the rest lies on the disk of --out meanwhile (default: half of what is free, at most 4GiB)",
    )  # fmt: skip
    add_engine_flags(parser, "make a new store")


def add_engine_flags(parser: argparse.ArgumentParser, what: str) -> None:
    """``--engine`` and ``--workers``."""
    parser.add_argument(
        "--engine", choices=get_args(Engine), default="local",
        help=f"{what} here, or on a Ray cluster whose machines all see the files under one path (default: local)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes of Ray that work at one time (default: one per processor)"
    )


def add_verify_flag(parser: argparse.ArgumentParser) -> None:
    """``--verify``."""
    parser.add_argument(
        "--verify", action="store_true", help="read every byte of a store and compare it with what was written"
    )
