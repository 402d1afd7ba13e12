"""The flags of ``recsys forget``."""

from __future__ import annotations

import argparse

from recsys.cli.words import raw_id
from recsys.config.options import Gather
from recsys.core.schema import USER


def add_pseudonym_key_flag(parser: argparse.ArgumentParser) -> None:
    """``--pseudonym-key``."""
    parser.add_argument(
        "--pseudonym-key", metavar="FILE",
        help="key of the pseudonyms that stand for users, made by recsys pseudonyms key (default: what the variable "
        "RECSYS_PSEUDONYM_KEY holds)",
    )  # fmt: skip


def add_forget_flags(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="folder of a bundle")
    parser.add_argument("--users", nargs="+", action=Gather, type=raw_id, metavar="USER", help="ids of the users to forget")
    parser.add_argument(
        "--users-file", metavar="FILE",
        help="read more ids from a file: one id per line in UTF-8, - for standard input, or a column of a table (FILE or "
        "FILE::COLUMN)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the bundle by the one without them")
    parser.add_argument(
        "--out", metavar="FOLDER", help="write the bundle without them to a new folder, and leave RUN as it is"
    )
    parser.add_argument("--store", metavar="FOLDER", help="remove them from this store, which recsys import wrote")
    parser.add_argument(
        "--db", metavar="URL",
        help="remove their events from the database of a server: sqlite:///FILE of one that does not run, or "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME",
    )  # fmt: skip
    parser.add_argument(
        "--exports", metavar="FILE", nargs="+", action=Gather, default=[],
        help="remove their rows from Parquet, CSV and TSV files, or from all of them in a folder",
    )  # fmt: skip
    parser.add_argument(
        "--exports-user", metavar="COLUMN", default=USER, help=f"column of user ids in exported files (default: {USER})"
    )
    parser.add_argument(
        "--receipt", metavar="FILE", help="where to write the receipt (default: RUN-forgotten-DATE-NUMBER.json beside RUN)"
    )
    parser.add_argument(
        "--unknown", choices=["error", "skip"], default="skip",
        help="what to do about users who are found nowhere: fail in the end, or tell of them (default: skip)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true", help="change nothing, and search all files for them; fail if one holds somebody"
    )
    add_pseudonym_key_flag(parser)


def add_pseudonyms_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``recsys pseudonyms``."""
    parser.add_argument("action", choices=["key", "rotate"], help="make a key, or move pseudonyms to a newer key")
    parser.add_argument("place", metavar="PLACE", help="new file of the key; to rotate, the bundle or store to move")
    parser.add_argument("--after", metavar="FILE", help="older key, whose pseudonyms can be moved to the new one")
    parser.add_argument("--to", metavar="FILE", help="key to move pseudonyms to, made with --after")
    add_pseudonym_key_flag(parser)
