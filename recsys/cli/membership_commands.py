"""``recsys membership``: its flags, and what it does."""

from __future__ import annotations

import argparse
from argparse import Namespace

from recsys import pipeline
from recsys.cli.answer import Answer
from recsys.cli.log_flags import add_log_flags
from recsys.cli.reading import read_data
from recsys.config.options import add_flags, given_tables
from recsys.config.recipe import TABLES
from recsys.two_tower import Recipe


def add_membership_flags(parser: argparse.ArgumentParser) -> None:
    """A log, a recipe, and how many people and models the attack takes."""
    before = len(parser._actions)
    add_log_flags(parser)
    parser.set_defaults(data_flags=parser._actions[before:], user_table=None)
    parser.add_argument("--recipe", metavar="FILE", help="TOML file of options, as for fit; flags win over it")
    parser.add_argument(
        "--attacked", metavar="N", type=int, default=800,
        help="users to take part, drawn at random, half of whom the model is trained on (default: 800)",
    )  # fmt: skip
    parser.add_argument(
        "--shadows",
        metavar="N",
        type=int,
        default=4,
        help="shadow models, an even number; each costs a training (default: 4)",
    )
    parser.add_argument("--attack-seed", metavar="N", type=int, default=0, help="seed of the halves (default: 0)")
    for title, owner in TABLES.items():
        add_flags(parser, owner, title)


def membership(arguments: Namespace) -> Answer:
    """``recsys membership``."""
    recipe = Recipe.read(arguments.recipe, **given_tables(arguments, TABLES))
    log, catalog = read_data(arguments)
    found = pipeline.membership_test(
        recipe, log, catalog, users=arguments.attacked, shadows=arguments.shadows, seed=arguments.attack_seed
    )
    told = "an AUC of 0.5 is a guess; an attack that fails proves nothing, an epsilon does"
    return Answer(f"{found}\n{told}", found.to_dict())
