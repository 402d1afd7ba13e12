"""The flags of ``recsys prepare``."""

from __future__ import annotations

import argparse

from recsys.cli.quarantine_flags import add_recipe_quarantine_flags
from recsys.config.options import Gather


def add_prepare_flags(parser: argparse.ArgumentParser) -> None:
    """The recipe, where its files are, and where the tables go."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="name of a recipe, which --list shows")
    parser.add_argument("--list", action="store_true", help="show all recipes, with the files that each one reads")
    parser.add_argument(
        "--from", dest="source", metavar="PATH", nargs="+", action=Gather,
        help="folder, archive or files of the data set as they were downloaded",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", help="folder for interactions.parquet, items.parquet and README.md")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that was prepared before")
    add_recipe_quarantine_flags(parser)
