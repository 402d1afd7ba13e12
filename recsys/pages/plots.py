"""Plots as Plotly specifications: plain dicts of ``data`` and ``layout`` in one style.

Colours of text and grid are set by ``page.js``, so that they follow the reader's light or dark screen. Plotly reads tags
and entities in texts: every text that comes from data goes through :func:`safe`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, TypeAlias

from recsys.errors import DependencyError

Spec: TypeAlias = dict[str, Any]
"""One plot: ``data`` and ``layout`` as Plotly reads them."""
Specs: TypeAlias = dict[str, Spec]
"""Place on the page → the plot drawn there."""

COLOURS = ("#3182ce", "#e08a1e", "#2f9e6e", "#b065c4", "#d64550", "#17a2b8", "#8c6d46", "#c2559d")
"""Colours that colour-blind readers can tell apart, on white and on black; the first is the model's own."""
GREY, PALE = "#7d848e", "#c3c9d1"
_WIDEST = 26


def safe(text: str) -> str:
    """Text that Plotly shows as it is."""
    return html.escape(text, quote=False)


def short(text: str) -> str:
    """Text for an axis, cut if it is long."""
    return safe(text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…")


def colour_of(models: Sequence[str]) -> dict[str, str]:
    """A colour for each model, the same in every figure; the first is the one that the report is about."""
    return {model: COLOURS[i % len(COLOURS)] for i, model in enumerate(models)}


def plot_spec(data: list[dict[str, Any]], layout: dict[str, Any], height: int) -> Spec:
    """Traces and layout in the style that all plots share.

    Parameters
    ----------
    data : list of dict
        Plotly traces, scatter where they do not say; finished in place.
    layout : dict
        What is particular to this plot; wins over the common style.
    height : int
        In pixels.
    """
    common = {
        "height": height,
        "autosize": True,
        "font": {"size": 13},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
    legend = {
        "orientation": "h",
        "xref": "container",
        "x": 0,
        "xanchor": "left",
        "yref": "container",
        "y": 0,
        "yanchor": "bottom",
    }
    below = {"legend": legend | layout.get("legend", {})}
    for one in data:
        one.setdefault("type", "scatter")
        if "hovertemplate" in one:
            one["hovertemplate"] += "<extra></extra>" if len(data) == 1 or one["type"] == "bar" else ""
    return {"data": data, "layout": {"dragmode": False} | common | layout | below}


def titled_axis(text: str) -> dict[str, Any]:
    """An axis that cannot be zoomed, with its title beside it."""
    return {"title": {"text": text, "standoff": 8}, "automargin": True, "fixedrange": True}


def category_axis() -> dict[str, Any]:
    """An axis of names, the first at the top."""
    return {"type": "category", "autorange": "reversed", "automargin": True, "fixedrange": True, "ticksuffix": "  "}


def whiskers(above: Sequence[float | None], below: Sequence[float | None]) -> list[float | None]:
    """Lengths of the whiskers of bars: ``above − below``; None if an end is unknown or both are equal."""
    return [None if a is None or b is None or a == b else a - b for a, b in zip(above, below, strict=True)]


def faint(colour: str) -> str:
    """A colour as a translucent fill."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"


def plotly_script() -> str:
    """Plotly's own minified script, which may stand within a script element.

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError("plotly draws the plots and is not installed: pip install plotly") from error
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
