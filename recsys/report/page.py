"""The report as one HTML file that loads nothing: style, script and figures are inside."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from recsys.errors import DependencyError
from recsys.report.sections import SECTIONS, Specs

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses whatever would be loaded from elsewhere."""


def page(figures: dict[str, Any]) -> str:
    """The whole page.

    Parameters
    ----------
    figures : dict
        From :func:`recsys.report.build`.

    Returns
    -------
    str

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    head = figures["headline"]
    return filled(
        title=f"{head['model']}: evaluation report",
        about=f"{head['protocol']} · made {head['made'][:10]}",
        sections={anchor: (title, made(figures, specs)) for anchor, (title, made) in SECTIONS.items()},
        specs=specs,
        version=head["versions"].get("recsys", ""),
    )


def filled(*, title: str, about: str, sections: dict[str, tuple[str, str]], specs: Specs, version: str) -> str:
    """A page of sections with plots.

    Parameters
    ----------
    title, about : str
        Plain text; ``about`` stands under the title.
    sections : dict
        Anchor → title and HTML of each section, in order.
    specs : dict
        The plots that the sections have places for.
    version : str
        Of recsys.

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
        plotly=_plotly(),
        script=_asset("page.js"),
    )


def in_script(value: Any) -> str:
    """JSON that may stand within a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return (files("recsys.report") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Plotly's own minified script."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError("the report is drawn by plotly, which is not installed: pip install plotly") from error
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
