"""The flags of ``recsys compare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recsys.cli.evaluate_flags import add_cut_flags, add_list_flags
from recsys.config.options import Gather


def add_compare_flags(parser: argparse.ArgumentParser, baselines: Sequence[str]) -> None:
    """Bundles, baselines and lists."""
    parser.add_argument("run_folders", metavar="RUN", nargs="*", help="bundles fitted on the same split")
    parser.add_argument(
        "--baselines", nargs="+", action=Gather, default=[], choices=tuple(baselines),
        help="baselines to fit on the training data of the first bundle",
    )  # fmt: skip
    add_cut_flags(parser)
    parser.add_argument(
        "--metric", help="figure to rank and test by (default: ndcg@10, or ndcg at the first --k if that has no 10)"
    )
    add_list_flags(parser, "beside the bundles, or alone with --truth")
