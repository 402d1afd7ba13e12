"""The plots of the page about a log."""

from __future__ import annotations

from typing import Any

from recsys.pages.plots import COLOURS, GREY, Spec, plot_spec, safe, titled_axis


def tail(found: dict[str, Any]) -> Spec:
    """The share of the events that the n most popular items have."""
    data = [
        {
            "x": found["items"],
            "y": found["share"],
            "mode": "lines",
            "line": {"color": COLOURS[0], "width": 2.5},
            "hovertemplate": "%{x:,d} items: %{y:.1%}",
        }
    ]
    layout = {
        "showlegend": False,
        "xaxis": {"type": "log", "dtick": 1} | titled_axis("n most popular items"),
        "yaxis": {"range": [0, 1.02], "tickformat": ".0%"} | titled_axis("share of the events"),
    }
    return plot_spec(data, layout, 340)


def bars(rows: list[dict[str, Any]], shown: dict[str, str], title: str, *, share: bool = False) -> Spec:
    """Upright bars, one group for each row.

    Parameters
    ----------
    rows : list of dict
        With a ``label``.
    shown : dict
        Key in the rows → name of its bars.
    title : str
        Of the axis below.
    share : bool
        Whether values are shares of their sum.
    """
    totals = {key: sum(row[key] for row in rows) or 1 if share else 1 for key in shown}
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [safe(row["label"]) for row in rows],
            "y": [row[key] / totals[key] for row in rows],
            "marker": {"color": (COLOURS[0], GREY)[place % 2]},
            "hovertemplate": f"%{{x}}: %{{y:{'.1%' if share else ',d'}}}",
        }
        for place, (key, name) in enumerate(shown.items())
    ]
    side = titled_axis("share" if share else next(iter(shown.values())))
    layout = {
        "barmode": "group",
        "bargap": 0.2,
        "showlegend": len(shown) > 1,
        "xaxis": {"type": "category"} | titled_axis(title),
        "yaxis": {"tickformat": ".0%" if share else "~s", "rangemode": "tozero"} | side,
    }
    return plot_spec(data, layout, 320)


def over_time(found: dict[str, Any]) -> Spec:
    """Events, and users and items seen for the first time, by day or longer bins."""
    lines = (
        ("events", "events", COLOURS[0]),
        ("new_users", "new users", COLOURS[1]),
        ("new_items", "new items", COLOURS[2]),
    )
    data = [
        {
            "x": found["bins"]["from"],
            "y": found["bins"][key],
            "name": name,
            "mode": "lines",
            "line": {"color": colour, "width": 1.8},
            "hovertemplate": "%{y:,d}",
        }
        for key, name, colour in lines
    ]
    layout = {
        "hovermode": "x unified",
        "xaxis": titled_axis("time"),
        "yaxis": {"rangemode": "tozero", "tickformat": "~s"} | titled_axis(f"in {bin_name(found)}"),
    }
    return plot_spec(data, layout, 340)


def bin_name(found: dict[str, Any]) -> str:
    """How long a bin is."""
    return "a day" if found["days_per_bin"] == 1 else f"{found['days_per_bin']:,} days"


def cold(cuts: list[dict[str, Any]]) -> Spec:
    """Shares of the events after a cut that are by new users and on new items."""
    lines = (("cold_users", "by new users", COLOURS[0]), ("cold_items", "on new items", COLOURS[1]))
    data = [
        {
            "x": [one["share"] for one in cuts],
            "y": [one[key] for one in cuts],
            "name": name,
            "mode": "lines+markers",
            "line": {"color": colour, "width": 2.5},
            "hovertemplate": "%{y:.1%}",
        }
        for key, name, colour in lines
    ]
    layout = {
        "hovermode": "x",
        "xaxis": {"tickformat": ".0%"} | titled_axis("share of the events before the cut"),
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"} | titled_axis("share of the events after it"),
    }
    return plot_spec(data, layout, 320)
