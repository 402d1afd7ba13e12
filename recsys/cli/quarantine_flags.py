"""The flags about rows of a log that cannot be used."""

from __future__ import annotations

import argparse
from typing import get_args

from recsys.data.quarantine import OnError


def add_quarantine_flags(parser: argparse.ArgumentParser) -> None:
    """``--on-error``, ``--quarantine`` and ``--quarantine-limit``."""
    group = parser.add_argument_group("rows of the log that cannot be used")
    group.add_argument(
        "--on-error", choices=get_args(OnError), default="raise",
        help="what to do about a row without an id, a time and so on: refuse the log, or set it aside (default: raise)",
    )  # fmt: skip
    group.add_argument("--quarantine", metavar="FOLDER", help="new folder for rows that are set aside, with the reasons")
    group.add_argument(
        "--quarantine-limit", metavar="SHARE", type=float, default=0.1,
        help="largest share of rows that may be set aside; above it, the log is refused (default: 0.1)",
    )  # fmt: skip
