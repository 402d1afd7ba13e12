"""The flags about rows of a log that cannot be used."""

from __future__ import annotations

import argparse
from typing import get_args

from recsys.data.quarantine import OnError
from recsys.data.recipes.sieve import OnBadRow


def add_quarantine_flags(parser: argparse.ArgumentParser) -> None:
    """``--on-error``, ``--quarantine`` and ``--quarantine-limit``."""
    group = parser.add_argument_group("rows of the log that cannot be used")
    group.add_argument(
        "--on-error", choices=get_args(OnError), default="raise",
        help="what to do about a row without an id, a time and so on: refuse the log, or set it aside (default: raise)",
    )  # fmt: skip
    _add_place(group, "the log is refused")


def add_recipe_quarantine_flags(parser: argparse.ArgumentParser) -> None:
    """The same for the files of a public data set, whose bad rows may be left out too."""
    group = parser.add_argument_group("rows of the files that cannot be used")
    group.add_argument(
        "--on-error", choices=get_args(OnBadRow), default="drop",
        help="what to do about a row without an id, a time and so on: leave it out and count it, refuse the files, or set "
        "it aside, damaged lines too (default: drop)",
    )  # fmt: skip
    _add_place(group, "the files are refused")


def _add_place(group: argparse._ArgumentGroup, otherwise: str) -> None:
    group.add_argument("--quarantine", metavar="FOLDER", help="new folder for rows that are set aside, with the reasons")
    group.add_argument(
        "--quarantine-limit", metavar="SHARE", type=float, default=0.1,
        help=f"largest share of rows that may be set aside; above it, {otherwise} (default: 0.1)",
    )  # fmt: skip
