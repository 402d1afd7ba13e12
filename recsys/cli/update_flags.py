"""The flags of ``recsys update``."""

from __future__ import annotations

import argparse
from typing import Final

from recsys.cli.log_flags import add_log_flags, add_user_flags
from recsys.cli.moments import moment, span
from recsys.config.day import DayBounds
from recsys.config.gate import GateOptions
from recsys.config.options import Gather, add_flags
from recsys.config.update import UpdateOptions

TABLES: Final[dict[str, type]] = {"options": UpdateOptions, "bounds": DayBounds, "gate": GateOptions}
_TITLES: Final = {"options": "how to learn", "bounds": "what is an ordinary day", "gate": "how to judge"}


def add_update_flags(parser: argparse.ArgumentParser) -> None:
    """A bundle, new events, what to do with both, and how often."""
    parser.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    before = len(parser._actions)
    add_log_flags(parser, "files of new events, patterns or folders; or a store; by default read as RUN was fitted")
    add_user_flags(parser)
    parser.set_defaults(data_flags=parser._actions[before:])
    parser.add_argument(
        "--items", dest="catalog", metavar="FILE", nargs="+", action=Gather,
        help="files of new items, and of old ones of which something changed; the same as --catalog",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", help="folder of the new bundle; RUN itself with --overwrite")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier bundle in --out")
    parser.add_argument(
        "--accept", metavar="CHECK", nargs="+", action=Gather, default=[],
        help="let these checks of the new events be out of bounds this time, such as events top-item",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="save the update whatever the gate says of it")
    parser.add_argument(
        "--retrain", action="store_true",
        help="also train anew on all events, and save that if it is really better; costs two full trainings",
    )  # fmt: skip
    parser.add_argument(
        "--until", metavar="TIME", type=moment,
        help="the log should hold all events before this time (default: the end of the day of its last event, in UTC)",
    )  # fmt: skip
    _schedule(parser.add_argument_group("from a server, again and again"))
    for name, owner in TABLES.items():
        add_flags(parser, owner, _TITLES[name])


def _schedule(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--watch", action="store_true",
        help="update from the events that a server stores in --db, and have it serve what is accepted; takes no LOG",
    )  # fmt: skip
    group.add_argument(
        "--every", metavar="SPAN", type=span, help="time between two updates, such as 1d or 6h (default: 1d)"
    )
    group.add_argument("--server", metavar="URL", help="address of the server, such as http://127.0.0.1:8000")
    group.add_argument(
        "--key-file", metavar="FILE", help="file that holds a key of the role admin, as recsys keys create printed it"
    )
    group.add_argument(
        "--keep", metavar="N", type=int,
        help="bundles of earlier updates to keep beside RUN; older ones are removed (default: 5)",
    )  # fmt: skip
