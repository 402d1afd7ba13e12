"""``recsys adapt``: its flags, and what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.cli.log_flags import add_catalog_first
from recsys.cli.reading import given_catalog, read_data
from recsys.cli.text_flags import check_text_flags
from recsys.cli.words import command
from recsys.config.adapt import AdaptOptions
from recsys.config.options import add_flags, given_tables
from recsys.core.destination import prove_folder
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split_choice import split_for, split_log
from recsys.errors import ConfigError
from recsys.pipeline.adapt import adapt as adapt_encoder


def add_adapt_flags(parser: ArgumentParser) -> None:
    """The flags of ``recsys adapt``."""
    before = len(parser._actions)
    add_catalog_first(parser)
    parser.set_defaults(data_flags=parser._actions[before:])
    parser.add_argument(
        "--encoder", metavar="NAME", required=True, help="text encoder to begin with: a folder, or a name such as "
        "all-MiniLM-L6-v2; it stays as it is",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder of the adapted encoder, for fit --encoder")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier adapted encoder in --out")
    parser.add_argument(
        "--split", choices=["last", "time", "random", "none"],
        help="what of the log to leave out, so that fit can be evaluated on it: as the --split of fit (default: last; "
        "random with --unordered)",
    )  # fmt: skip
    add_flags(parser, AdaptOptions, "how to adapt")


def adapt(arguments: Namespace) -> Answer:
    """``recsys adapt``."""
    options = AdaptOptions(**given_tables(arguments, {"options": AdaptOptions})["options"])
    prove_folder(Path(arguments.out))
    log, catalog = _data(arguments)
    found = adapt_encoder(
        catalog, arguments.encoder, arguments.out, log=log, options=options, overwrite=arguments.overwrite
    )
    following = [command("fit", "LOG", "--encoder", str(found.folder))]
    return Answer(f"{found}\nnext:\n  {following[0]}", found.to_dict() | {"next": following})


def _data(arguments: Namespace) -> tuple[Interactions | None, Catalog]:
    """What is left of the log to learn from, and the catalogue.

    Raises
    ------
    ConfigError
        A flag is about a log, and there is none.
    """
    if arguments.log or arguments.sql is not None:
        log, catalog = read_data(arguments)
        assert catalog is not None  # noqa: S101 - the command takes at least one file
        name = split_for(log, arguments.split)
        return split_log(log, name)[0], catalog
    of_catalog = {"catalog", "catalog_format", "catalog_item", "item", "text", "title"}
    of_catalog |= {"separator", "quote", "encoding", "null_values"}
    flags = [one for one in arguments.data_flags if one.option_strings and one.dest not in of_catalog]
    idle = [one.option_strings[0] for one in flags if getattr(arguments, one.dest) != one.default]
    if arguments.split is not None:
        idle.append("--split")
    if idle:
        raise ConfigError(f"{idle[0]} is about a log; name one with --log, or leave it out")
    check_text_flags(arguments, (arguments.catalog, arguments.catalog_format))
    return None, given_catalog(arguments)
