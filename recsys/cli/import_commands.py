"""What ``recsys import`` does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.cli.given_query import check_query, given_log
from recsys.cli.reading import cleaning_rules, log_options, pseudonym_key
from recsys.cli.text_flags import check_text_flags
from recsys.cli.words import command
from recsys.core.destination import prove_folder
from recsys.data.store.describe import describe, describe_text


def import_log(arguments: Namespace) -> Answer:
    """``recsys import``."""
    from recsys.data.importing import write_import  # noqa: PLC0415

    prove_folder(Path(arguments.out))
    check_query(arguments)
    check_text_flags(arguments, *([(arguments.log, arguments.format)] if arguments.log else []))
    rules, key = cleaning_rules(arguments), pseudonym_key(arguments)
    with given_log(arguments, log_options(arguments)) as (source, how):
        if arguments.append:  # what the store says, unless the flags say otherwise
            for name in ("ties", "unordered"):
                if how[name] in ("file", False):
                    del how[name]
        write_import(
            source,
            arguments.out,
            append=arguments.append,
            overwrite=arguments.overwrite,
            memory=arguments.memory,
            rules=rules,
            on_error=arguments.on_error,
            quarantine=arguments.quarantine,
            quarantine_limit=arguments.quarantine_limit,
            key=key,
            engine=arguments.engine,
            workers=arguments.workers,
            **how,
        )
    facts = describe(Path(arguments.out))
    following = command("fit", Path(arguments.out), "--out", "runs/new")
    return Answer(f"{describe_text(facts)}\nnext:\n  {following}", facts)
