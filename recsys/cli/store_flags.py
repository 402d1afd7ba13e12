"""The flags of the commands about a server's database."""

from __future__ import annotations

import argparse

from recsys.cli.moments import moment, span
from recsys.config.options import add_flags
from recsys.server.settings import TABLES


def add_database_flag(parser: argparse.ArgumentParser) -> None:
    """``--db``."""
    parser.add_argument(
        "--db", metavar="URL", required=True,
        help="database of the server: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST:PORT/NAME",
    )  # fmt: skip


def add_serve_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``recsys serve``: one for each key of its file of settings."""
    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="folder of a bundle, or of an export of one")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings; flags win over it")
    parser.add_argument(
        "--print-config", action="store_true", help="print such a file, with what every key does, its range and default"
    )
    for title, owner in TABLES.items():
        add_flags(parser, owner, title)


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``recsys export-events``."""
    add_database_flag(parser)
    parser.add_argument("--out", metavar="FILE", required=True, help="file to write, which ends in .parquet or .csv")
    parser.add_argument(
        "--since", metavar="TIME", type=moment,
        help="leave out events before this time, such as 2026-01-31, 2026-01-31T18:00+01:00, or seconds since 1970",
    )  # fmt: skip
    parser.add_argument("--until", metavar="TIME", type=moment, help="leave out events from this time on")
    parser.add_argument(
        "--kind", choices=["interaction", "impression", "all"], default="interaction",
        help="what users did, what they were shown, or both (default: interaction)",
    )  # fmt: skip


def add_keys_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``recsys keys``."""
    parser.add_argument("action", choices=["create", "list", "revoke"], help="make a key, show all keys, or revoke a key")
    parser.add_argument("key", nargs="?", metavar="ID", help="id of the key to revoke, which recsys keys list shows")
    add_database_flag(parser)
    parser.add_argument(
        "--role", choices=["read", "events", "items", "admin"],
        help="what the new key is for: to ask, to report events, to change items, or to do all",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the new key for people, such as the program that uses it")
    parser.add_argument("--expires", metavar="SPAN", type=span, help="how long the new key is valid, such as 90d or 12h")
    parser.add_argument("--rate", help="requests that the new key may make, such as 100/second (default: the server's)")
