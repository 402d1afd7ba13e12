"""Times and spans of time as words of the command line."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from typing import Final

_SPAN: Final = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(word: str) -> int:
    """A date, a time or seconds since 1970, as seconds since 1970; UTC unless the word names a zone.

    Raises
    ------
    ArgumentTypeError
        The word cannot be read.

    Examples
    --------
    >>> moment("2026-01-31"), moment("2026-01-31T01:00+01:00"), moment("1769817600")
    (1769817600, 1769817600, 1769817600)
    """
    if re.fullmatch(r"[0-9]{1,11}", word) and not re.fullmatch(r"(19|20)[0-9]{6}", word):
        return int(word)
    try:
        found = datetime.fromisoformat(word)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{word!r:.40} is not a time; write 2026-01-31, 2026-01-31T18:00+01:00, or seconds since 1970"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def span(word: str) -> int:
    """A span such as 90d, in seconds.

    Raises
    ------
    ArgumentTypeError
        The word cannot be read.

    Examples
    --------
    >>> span("90d"), span("12h")
    (7776000, 43200)
    """
    found = _SPAN.fullmatch(word)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{word!r:.40} is not a span of time; write 90d, 12h, 30m or 45s")
    return int(found[1]) * _SECONDS[found[2]]
