"""What a notebook shows of an object: a title, its facts and its tables, as HTML that any theme can colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import polars as pl

from recsys.pages.tables import definitions, table

_MOST: Final = 20
"""Rows of a frame that are shown."""


def card(title: str, facts: Mapping[str, object], *tables: str, note: str = "") -> str:
    """The HTML of an object.

    Parameters
    ----------
    title : str
        Plain text, such as the name of its class.
    facts : mapping
        Name → value, each shown as text; values that are None are left out.
    *tables : str
        HTML, such as that of :func:`rows`.
    note : str
        Plain text below.

    Examples
    --------
    >>> "a &lt; b" in card("Catalog", {"items": "a < b"})
    True
    """
    told = {name: _said(value) for name, value in facts.items() if value is not None}
    parts = [f"<strong>{escape(title)}</strong>", *([definitions(told)] if told else []), *tables]
    return f'<div class="recsys">{"".join(parts)}{f"<p><small>{escape(note)}</small></p>" if note else ""}</div>'


def rows(header: Sequence[str], cells: Sequence[Sequence[object]]) -> str:
    """The HTML of a table of plain values, numbers to the right."""
    right = [i for i in range(len(header)) if any(isinstance(row[i], int | float) for row in cells)]
    shown = [[escape(_said(value)) for value in row] for row in cells]
    return table([escape(name) for name in header], shown, right=right)


def frame_rows(frame: pl.DataFrame) -> str:
    """The HTML of the first rows of a frame."""
    left = frame.height - _MOST
    more = f"<p><small>{left:,} more rows</small></p>" if left > 0 else ""
    return rows(frame.columns, frame.head(_MOST).rows()) + more


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return "" if value is None else str(value)
