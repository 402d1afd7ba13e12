"""The flags that say how a log, its catalogue and its table of users are read."""

from __future__ import annotations

import argparse
from typing import get_args

from recsys.cli.forget_flags import add_pseudonym_key_flag
from recsys.cli.given_query import add_query_flags
from recsys.cli.quarantine_flags import add_quarantine_flags
from recsys.cli.text_flags import add_text_flags
from recsys.config.options import Gather
from recsys.data.formats.paths import Format
from recsys.data.order import Ties
from recsys.data.times.units import TimeUnit


def _name_and_weight(text: str) -> tuple[str, float]:
    name, separator, weight = text.rpartition("=")
    try:
        if separator:
            return name, float(weight)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"write TYPE=WEIGHT, such as view=1, not {text!r}")


def add_log_flags(
    parser: argparse.ArgumentParser, said: str = "files of interactions, patterns or folders; or a store"
) -> None:
    """A log with its catalogue, and how their files are written."""
    add_column_flags(parser, said)
    add_quarantine_flags(parser)
    _catalog_flags(parser)
    add_text_flags(parser)


def add_column_flags(parser: argparse.ArgumentParser, said: str, *, flag: bool = False) -> None:
    """The files of a log, and what their columns mean; ``flag``: after ``--log`` instead of at the begin."""
    if flag:
        parser.add_argument("--log", metavar="LOG", nargs="+", action=Gather, default=[], help=said)
    else:
        parser.add_argument("log", metavar="LOG", nargs="*", help=said)
    add_query_flags(parser)
    parser.add_argument(
        "--pseudonymise", action="store_true",
        help="replace user ids by pseudonyms when they are read: keyed hashes, which only who has the key can compute",
    )  # fmt: skip
    add_pseudonym_key_flag(parser)
    group = parser.add_argument_group("columns of the log")
    group.add_argument("--format", choices=get_args(Format), help="file format (default: by the ending of each file)")
    group.add_argument("--user", metavar="COLUMN", default="user_id", help="column of user ids (default: user_id)")
    group.add_argument("--item", metavar="COLUMN", default="item_id", help="column of item ids (default: item_id)")
    group.add_argument("--timestamp", metavar="COLUMN", help="column of times (default: timestamp, if the log has it)")
    group.add_argument(
        "--time-unit", choices=get_args(TimeUnit),
        help="unit of times that are numbers, counted from 1970 (default: inferred from the values of all files)",
    )  # fmt: skip
    group.add_argument("--order", metavar="COLUMN", help="column that orders each user's events, instead of a timestamp")
    group.add_argument(
        "--ties", choices=get_args(Ties), default="file",
        help="how events of one user at one time are ordered: as in the file, or by item id as text (default: file)",
    )  # fmt: skip
    group.add_argument("--weight", metavar="COLUMN", help="column with the strength of an event, such as a rating")
    group.add_argument("--event", metavar="COLUMN", help="column with the type of an event, such as view or buy")
    group.add_argument(
        "--event-weights", nargs="+", action=Gather, type=_name_and_weight, metavar="TYPE=WEIGHT",
        help="strength of each event type, instead of --weight: view=1 cart=3 buy=5",
    )  # fmt: skip
    group.add_argument("--drop-unordered", action="store_true", help="leave out rows whose timestamp or order is missing")
    group.add_argument(
        "--unordered", action="store_true",
        help="the log has no order: hold out random items, learn no positions, and read no times",
    )  # fmt: skip
    group.add_argument(
        "--drop-duplicates",
        action="store_true",
        help="leave out rows that equal an earlier row in user, item, time and event type",
    )
    group.add_argument(
        "--clean", metavar="FILE", help="TOML file of cleaning rules, such as weights, duplicates and a core"
    )


def add_catalog_first(parser: argparse.ArgumentParser) -> None:
    """A catalogue at the begin of a command, and a log after ``--log``, if at all."""
    parser.add_argument("catalog", metavar="CATALOG", nargs="+", help="files of items, patterns or folders")
    add_column_flags(parser, "files of interactions, patterns or folders; or a store", flag=True)
    add_quarantine_flags(parser)
    _catalog_columns(parser.add_argument_group("the catalogue"))
    add_text_flags(parser)


def _catalog_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the catalogue")
    group.add_argument("--catalog", metavar="FILE", nargs="+", action=Gather, help="files of items, patterns or folders")
    _catalog_columns(group)


def _catalog_columns(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--catalog-format", choices=get_args(Format), help="file format (default: by the ending of each file)"
    )
    group.add_argument(
        "--catalog-item", metavar="COLUMN", help="column of item ids in the catalogue (default: the same as --item)"
    )
    group.add_argument(
        "--text",
        metavar="COLUMN",
        nargs="+",
        action=Gather,
        help="columns that make up the text of an item (default: title, name, description and the like, if they exist)",
    )
    group.add_argument("--title", metavar="COLUMN", help="column shown to people (default: the first text column)")


def add_user_flags(parser: argparse.ArgumentParser) -> None:
    """The table of users, and which of its columns are read."""
    parser.add_argument("--user-table", metavar="FILE", help="file with one row per user, for features of users")
    parser.add_argument(
        "--user-columns",
        metavar="COLUMN",
        nargs="+",
        action=Gather,
        default=[],
        help="columns of --user-table to read as categories, such as gender",
    )
    parser.add_argument(
        "--user-numbers",
        metavar="COLUMN",
        nargs="+",
        action=Gather,
        default=[],
        help="columns of --user-table to read as numbers, such as age",
    )
