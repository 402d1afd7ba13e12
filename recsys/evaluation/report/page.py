"""The report as one HTML file that loads nothing: style, script and figures are inside."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from recsys.errors import DependencyError
from recsys.evaluation.report.sections import SECTIONS, Specs

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses whatever would be loaded from elsewhere."""


def page(figures: dict[str, Any]) -> str:
    """The whole page.

    Parameters
    ----------
    figures : dict
        From :func:`recsys.evaluation.report.build`.

    Returns
    -------
    str

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    parts, links = [], []
    for anchor, (title, made) in SECTIONS.items():
        parts.append(f'<section id="{anchor}">\n<h2>{title}</h2>\n{made(figures, specs)}\n</section>')
        links.append(f'<li><a href="#{anchor}">{title}</a></li>')
    head = figures["headline"]
    return Template(_asset("page.html")).substitute(
        policy=_POLICY,
        title=escape(f"{head['model']}: evaluation report"),
        style=_asset("page.css"),
        about=f"{escape(head['protocol'])} · made {escape(head['made'][:10])}",
        links="".join(links),
        sections="\n".join(parts),
        version=escape(head["versions"].get("recsys", "")),
        specs=in_script(specs),
        plotly=_plotly(),
        script=_asset("page.js"),
    )


def in_script(value: Any) -> str:
    """JSON that may stand within a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return (files("recsys.evaluation.report") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Plotly's own minified script."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError("the report is drawn by plotly, which is not installed: pip install plotly") from error
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
