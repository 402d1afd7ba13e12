"""The flags of ``recsys drift``."""

from __future__ import annotations

import argparse
from typing import get_args

from recsys.cli.inspect_commands import add_page_flag
from recsys.cli.log_flags import add_log_flags, add_user_flags
from recsys.config.drift import Advice, DriftOptions
from recsys.config.options import Gather, add_flags


def add_drift_flags(parser: argparse.ArgumentParser) -> None:
    """A bundle, a newer log, and how to look at both."""
    parser.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    before = len(parser._actions)
    add_log_flags(parser, "files of newer events, patterns or folders; or a store; by default read as RUN was fitted")
    add_user_flags(parser)
    parser.set_defaults(data_flags=parser._actions[before:])
    add_page_flag(parser, "the advice and all figures")
    parser.add_argument(
        "--fail-on", nargs="+", action=Gather, choices=get_args(Advice), default=[], metavar="ADVICE",
        help="end with the exit code 4 if this is the advice: leave, update, retrain or check (default: always 0)",
    )  # fmt: skip
    add_flags(parser, DriftOptions, "how to look, and what to advise")
