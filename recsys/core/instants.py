"""Instants and spans of time that are written as words, in files of rules and on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_SPAN: Final = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def instant_of(word: str) -> int:
    """A date, a time or seconds since 1970, as seconds since 1970; UTC unless the word names a zone.

    Raises
    ------
    ValueError
        The word cannot be read; the message says what to write.

    Examples
    --------
    >>> instant_of("2026-01-31"), instant_of("2026-01-31T01:00+01:00"), instant_of("1769817600")
    (1769817600, 1769817600, 1769817600)
    """
    if re.fullmatch(r"[0-9]{1,11}", word) and not re.fullmatch(r"(19|20)[0-9]{6}", word):
        return int(word)
    try:
        found = datetime.fromisoformat(word)
    except ValueError:
        raise ValueError(
            f"{word!r:.40} is not a time; write 2026-01-31, 2026-01-31T18:00+01:00, or seconds since 1970"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def span_of(word: str) -> int:
    """A span such as 90d, in seconds.

    Raises
    ------
    ValueError
        The word cannot be read; the message says what to write.

    Examples
    --------
    >>> span_of("90d"), span_of("12h")
    (7776000, 43200)
    """
    found = _SPAN.fullmatch(word)
    if not found or not int(found[1]):
        raise ValueError(f"{word!r:.40} is not a span of time; write 90d, 12h, 30m or 45s")
    return int(found[1]) * _SECONDS[found[2]]
