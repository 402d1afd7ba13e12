"""The flags of ``recsys import``."""

from __future__ import annotations

import argparse


def add_import_flags(parser: argparse.ArgumentParser) -> None:
    """``--out``, ``--append`` and ``--overwrite``; the columns of the log come beside them."""
    parser.add_argument("--out", metavar="STORE", required=True, help="folder of the store")
    parser.add_argument(
        "--append", action="store_true",
        help="add the log to the store in --out: takes time for the new events only, late ones find their place",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier store in --out")


def add_verify_flag(parser: argparse.ArgumentParser) -> None:
    """``--verify``."""
    parser.add_argument(
        "--verify", action="store_true", help="read every byte of a store and compare it with what was written"
    )
