"""The flags of ``recsys evaluate``."""

from __future__ import annotations

import argparse
from typing import Final, get_args

from recsys.cli.forget_flags import add_pseudonym_key_flag
from recsys.cli.import_flags import add_engine_flags
from recsys.cli.moments import moment
from recsys.cli.text_flags import add_text_flags
from recsys.config.options import Gather
from recsys.data.formats.paths import Format
from recsys.data.times.units import TimeUnit

OF_LISTS: Final = (
    "truth", "history", "catalog", "catalog_item", "rank", "score", "list_user", "list_item", "metric", "allow_leakage",
)  # fmt: skip
"""What ``--recommendations`` alone can use."""
OF_LATER: Final = ("log", "since", "event", "pseudonymise")
"""What a bundle alone can use."""
OF_LOGS: Final = ("item", "timestamp", "time_unit", "format", "drop_unordered")
"""How logs are read, those of a bundle or of lists."""


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """A bundle, or the lists of other systems, and what to judge them by."""
    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="folder of a bundle")
    add_cut_flags(parser)
    parser.add_argument(
        "--segments", action="store_true", help="also show figures by length of history, popularity, time and category"
    )
    parser.add_argument("--category", metavar="COLUMN", help="catalogue column for diversity, calibration and groups")
    parser.add_argument("--user-table", metavar="FILE", help="file with one row per user, for figures by groups of users")
    parser.add_argument(
        "--user-columns", metavar="COLUMN", nargs="+", action=Gather, default=[],
        help="columns of --user-table to group users by, such as gender age",
    )  # fmt: skip
    parser.add_argument(
        "--log", metavar="NEW", nargs="+", action=Gather,
        help="newer log, to judge RUN by its events after the last one that RUN knows, instead of by the held-out events",
    )  # fmt: skip
    parser.add_argument(
        "--since", metavar="TIME", type=moment,
        help="judge the events of --log from this time on; those before it go into the histories (default: all later ones)",
    )  # fmt: skip
    parser.add_argument(
        "--pseudonymise", action="store_true", default=None,
        help="replace user ids of --log and --user-table by pseudonyms when they are read, as those of RUN were",
    )  # fmt: skip
    add_pseudonym_key_flag(parser)
    add_engine_flags(parser, "rank the users of RUN")
    add_list_flags(parser, "instead of RUN").add_argument(
        "--metric", help="figure to rank and test several systems by (default: ndcg@10, or at the first --k)"
    )


def add_cut_flags(parser: argparse.ArgumentParser) -> None:
    """How long lists are, and what may be in them."""
    parser.add_argument(
        "--k", type=int, nargs="+", action=Gather, default=[10, 20, 50],
        help="lengths of the lists to evaluate (default: 10 20 50)",
    )  # fmt: skip
    add_keep_seen_flag(parser)


def add_keep_seen_flag(parser: argparse.ArgumentParser) -> None:
    """Whether items of the history are ranked too."""
    parser.add_argument(
        "--keep-seen", action=argparse.BooleanOptionalAction,
        help="also rank items of the history (default: as the bundle was validated, which fit --keep-seen decides)",
    )  # fmt: skip


def add_list_flags(parser: argparse.ArgumentParser, where: str) -> argparse._ArgumentGroup:
    """The lists of other systems, what to judge them by, and how the tables are read; returns the group of the lists."""
    group = parser.add_argument_group(f"lists of other systems, {where}")
    _lists(group)
    _logs(parser.add_argument_group("columns of the logs"))
    add_text_flags(parser)
    return group


def _lists(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recommendations", metavar="RECS", nargs="+", action=Gather,
        help="lists to judge: a file, a folder or a quoted pattern for each system; several systems are compared",
    )  # fmt: skip
    group.add_argument(
        "--truth", metavar="EVENTS", nargs="+", action=Gather, help="log of what the users did later, to judge lists by"
    )
    group.add_argument(
        "--history", metavar="LOG", nargs="+", action=Gather,
        help="log that the systems learned from, for seen items, novelty and popularity",
    )  # fmt: skip
    group.add_argument(
        "--catalog", metavar="ITEMS", nargs="+", action=Gather,
        help="table of the items that could be recommended, for coverage and --category",
    )  # fmt: skip
    group.add_argument(
        "--rank", metavar="COLUMN", help="column that orders a list, from 0 or 1 on (default: rank, if there is one)"
    )
    group.add_argument(
        "--score", metavar="COLUMN", help="column that orders a list, the greatest first (default: score, without a rank)"
    )
    group.add_argument(
        "--list-user", metavar="COLUMN", help="column of user ids in the lists (default: the same as --user)"
    )
    group.add_argument(
        "--list-item", metavar="COLUMN", help="column of item ids in the lists (default: the same as --item)"
    )
    group.add_argument(
        "--catalog-item", metavar="COLUMN", help="column of item ids in the catalogue (default: the same as --item)"
    )
    group.add_argument(
        "--allow-leakage", action="store_true", default=None, help="judge although --history holds the events of --truth"
    )


def _logs(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--user", metavar="COLUMN", help="column of user ids, in --user-table too (default: user_id)")
    group.add_argument("--item", metavar="COLUMN", help="column of item ids (default: item_id)")
    group.add_argument("--timestamp", metavar="COLUMN", help="column of times (default: timestamp, if the log has it)")
    group.add_argument(
        "--time-unit", choices=get_args(TimeUnit), help="unit of times that are numbers (default: inferred from the values)"
    )
    group.add_argument("--event", metavar="COLUMN", help="column with the type of an event, for a RUN that reads types")
    group.add_argument("--drop-unordered", action="store_true", default=None, help="leave out rows without a time")
    group.add_argument("--format", choices=get_args(Format), help="format of the files (default: by the ending of each)")
