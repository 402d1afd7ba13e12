"""Times and spans of time as words of the command line."""

from __future__ import annotations

import argparse

from recsys.core.instants import instant_of, span_of


def moment(word: str) -> int:
    """:func:`recsys.core.instants.instant_of` for a flag.

    Raises
    ------
    ArgumentTypeError
        The word cannot be read.
    """
    try:
        return instant_of(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def span(word: str) -> int:
    """:func:`recsys.core.instants.span_of` for a flag.

    Raises
    ------
    ArgumentTypeError
        The word cannot be read.
    """
    try:
        return span_of(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
