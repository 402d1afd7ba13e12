"""One HTML file that loads nothing: style, script, plots and figures are inside."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from recsys.pages.plots import Specs, plotly_script

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses to load anything from elsewhere."""


def page(*, title: str, about: str, sections: dict[str, tuple[str, str]], specs: Specs, version: str) -> str:
    """Build a page of sections with plots.

    Parameters
    ----------
    title, about : str
        Plain text; ``about`` stands under the title.
    sections : dict
        Anchor → title and HTML of each section, in order.
    specs : dict
        Place → plot, for every place that the sections name with :func:`figure`.
    version : str
        Of recsys.

    Returns
    -------
    str
        The whole HTML document.

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    parts = [f'<section id="{key}">\n<h2>{name}</h2>\n{body}\n</section>' for key, (name, body) in sections.items()]
    return Template(_asset("page.html")).substitute(
        policy=_POLICY,
        title=escape(title),
        style=_asset("page.css"),
        about=escape(about),
        links="".join(f'<li><a href="#{key}">{name}</a></li>' for key, (name, _) in sections.items()),
        sections="\n".join(parts),
        version=escape(version),
        specs=in_script(specs),
        plotly=plotly_script(),
        script=_asset("page.js"),
    )


def figure(place: str, text: str) -> str:
    """The HTML in which a plot is drawn, and the caption below it."""
    plot = f'<div class="plot" id="{place}" role="img" aria-labelledby="{place}-text"></div>'
    return f'<figure>{plot}<figcaption id="{place}-text">{escape(text)}</figcaption></figure>'


def cards(facts: dict[str, str]) -> str:
    """The HTML of a row of boxes, each a name above a value; the values are HTML already."""
    boxes = "".join(f"<div><small>{escape(name)}</small>{value}</div>" for name, value in facts.items())
    return f'<div class="cards">{boxes}</div>'


def left_out(what: str, reason: str) -> str:
    """The HTML of a note that something is not shown, and why."""
    return f'<p class="note">{escape(what)}: left out, {escape(reason)}.</p>'


def in_script(value: Any) -> str:
    """JSON that may stand within a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return (files("recsys.pages") / name).read_text(encoding="utf-8")
