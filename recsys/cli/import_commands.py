"""What ``recsys import`` does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.cli.answers import Answer
from recsys.cli.reading import cleaning_rules, log_options
from recsys.cli.text_flags import check_text_flags
from recsys.cli.words import command
from recsys.core.destination import prove_folder
from recsys.data.store.describe import describe, describe_text


def import_log(arguments: Namespace) -> Answer:
    """``recsys import``."""
    from recsys.data.importing import write_import  # noqa: PLC0415

    prove_folder(Path(arguments.out))
    check_text_flags(arguments, (arguments.log, arguments.format))
    how, rules = log_options(arguments), cleaning_rules(arguments)
    if arguments.append:  # what the store says, unless the flags say otherwise
        how = {name: one for name, one in how.items() if name not in ("ties", "unordered") or one not in ("file", False)}
    write_import(
        arguments.log,
        arguments.out,
        append=arguments.append,
        overwrite=arguments.overwrite,
        memory=arguments.memory,
        rules=rules,
        **how,
    )
    facts = describe(Path(arguments.out))
    following = command("fit", Path(arguments.out), "--out", "runs/new")
    return Answer(f"{describe_text(facts)}\nnext:\n  {following}", facts)
