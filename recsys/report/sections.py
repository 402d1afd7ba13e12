"""The sections of the page, one function each: figures in, HTML out, plots added to ``specs``.

Every text that comes from data goes through :func:`html.escape`.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, TypeAlias

from recsys.bundle.exposure import exposure_rows
from recsys.config.options import value_text
from recsys.pages.page import cards, figure, left_out, page
from recsys.pages.plots import Specs
from recsys.pages.tables import definitions, number, percent, table
from recsys.report import plots
from recsys.report.tables import models_at, segment_table, shares_table, tests_table
from recsys.report.words import MEANING, ends, finding, group_words, keys_of, later_sentence, shown

Figures: TypeAlias = dict[str, Any]


def summary(figures: Figures, specs: Specs) -> str:
    """The main result, in a sentence and a few numbers."""
    head = figures["headline"]
    boxes = {}
    for name, value in head["metrics"].items():
        interval = "" if value["low"] is None else f"<small>{ends(value)}</small>"
        boxes[name] = f"<b>{number(value['mean'])}</b>{interval}"
    facts = {"held-out users": head["users"], "items ranked": head["items"], "targets": head["targets"]}
    if events := head["data"].get("interactions"):
        facts["events in the log"] = events
    boxes |= {name: f"<b>{value:,}</b>" for name, value in facts.items()}
    return f"<p>{escape(finding(figures))}</p>\n{cards(boxes)}"


def comparison(figures: Figures, specs: Specs) -> str:
    """Every model with every metric, and which differences are significant."""
    k = figures["headline"]["k"]
    others = [cut for cut in figures["curve"]["k"] if cut != k]
    bold = " Bold is the highest value of a row, if higher is better; the tests below say whether it is significant."
    bold = bold if figures["tests"]["rows"] else ""
    parts = [
        models_at(figures, k),
        f'<p class="soft">Below each value is its 95 % bootstrap interval over users.{bold}</p>',
        *(f"<details><summary>All metrics at k = {cut}</summary>{models_at(figures, cut)}</details>" for cut in others),
        f"<details><summary>What the metrics mean</summary>{definitions(MEANING)}</details>",
        note(figures, "baselines", "Baselines"),
    ]
    if figures["tests"]["rows"]:
        parts += [
            f"<h3>Which differences in {escape(figures['tests']['metric'])} are significant</h3>",
            tests_table(figures),
            '<p class="soft">Paired randomisation test on the same users, corrected by Holm for the number of pairs. '
            "“Significant” means a corrected p below 0.05; otherwise these users are too few to decide.</p>",
        ]
    return "\n".join(parts)


def curve(figures: Figures, specs: Specs) -> str:
    """Recall against the length of the list."""
    specs["plot-curve"] = plots.curve(figures)
    return figure(
        "plot-curve",
        "Share of the held-out items that are found among the first k, for growing k (logarithmic). Higher is better; the "
        "bands are 95 % intervals. If two bands overlap widely, the difference between the models is uncertain.",
    )


def segments(figures: Figures, specs: Specs) -> str:
    """Recall by group of users and of items."""
    models = [line["model"] for line in figures["curve"]["models"]]
    k = figures["headline"]["k"]
    parts = [f"<p>The bars show {escape(models[0])}{escape(_beside(figures))}.</p>"]
    for i, segment in enumerate(figures["segments"]):
        title, text = group_words(segment["name"])
        specs[f"plot-segment-{i}"] = plots.segment_bars(segment, models, f"recall@{k}")
        parts += [
            f"<h3>{escape(title)}</h3>",
            figure(
                f"plot-segment-{i}",
                f"{text} Bars are recall@{k}, whiskers are 95 % intervals, and the number after each name is the "
                f"number of {segment['unit']} in the group: the smaller it is, the less certain the bar. There is no "
                "whisker if all or none were found.",
            ),
            f"<details><summary>Numbers</summary>{segment_table(segment, k)}</details>",
        ]
    missing = (("popularity", "By popularity"), ("category", "By category"), ("time", "By time"))
    return "\n".join([*parts, *(note(figures, name, title) for name, title in missing)])


def _beside(figures: Figures) -> str:
    models = {row["model"] for segment in figures["segments"] for row in segment["rows"]}
    other = next(
        (model["model"] for model in figures["models"] if model["model"] in models - {figures["headline"]["model"]}), ""
    )
    return f" and {other}, the best of the other models by {figures['tests']['metric']}" if other else ""


def tail(figures: Figures, specs: Specs) -> str:
    """How the places in the lists are spread over popular and unpopular items."""
    found = figures["long_tail"]
    if found is None:
        return note(figures, "long_tail", "The long-tail curve")
    specs["plot-tail"] = plots.long_tail(figures)
    own = next(one for one in found["curves"] if one["name"] == figures["headline"]["model"])
    place = max(i for i, n in enumerate(found["items"]) if n <= max(1, found["items"][-1] // 100))
    caption = (
        f"Items are sorted by popularity in training; a line shows the share of all places in the first {found['k']} that"
        " goes to the n most popular items. Below the dashed line, less popular items get more places than their share "
        f"of the training events; above it, popularity is amplified. With {own['name']}, the "
        f"{found['items'][place]:,} most popular items take {percent(own['share'][place])} of the places; they have "
        f"{percent(found['curves'][0]['share'][place])} of the training events."
    )
    return figure("plot-tail", caption)


def fairness(figures: Figures, specs: Specs) -> str:
    """The share of places that groups of items get, against their share of the catalogue and of training."""
    found, parts = figures["fairness"], []
    for i, group in enumerate(found["groups"]):
        title, text = group_words(group["name"])
        specs[f"plot-shares-{i}"] = plots.shares(group)
        known = any(row["interactions"] is not None for row in group["rows"])
        of_training = ", of the training events," if known else ""
        compared = "the second" if known else "the first"
        parts += [
            f"<h3>{escape(title)}</h3>",
            figure(
                f"plot-shares-{i}",
                f"{text} For each group: its share of the catalogue{of_training} and of the places in the first "
                f"{found['k']}. If the last is far from {compared}, the model shows the group more or less often than "
                f"{'users chose it' if known else 'its size suggests'}.",
            ),
            shares_table(group, found["k"]),
        ]
    missing = [note(figures, "popularity", "By popularity"), note(figures, "category", "By category")]
    intro = (
        f"<p>How often {escape(found['model'])} shows groups of items, and how often it finds those that users chose.</p>"
    )
    return "\n".join([intro, *floors(figures["training"].get("exposure")), *parts, *missing])


def floors(told: dict[str, Any] | None) -> list[str]:
    """What floors of exposure did and cost on validation; nothing where there were none."""
    if not told:
        return []
    header = ["group", "floor", "scores times", "shown without", "shown with"]
    prices = [[escape(one["name"]), number(one["before"]), number(one["after"])] for one in told["figures"]]
    return [
        f"<h3>Floors of exposure by {escape(told['column'])}</h3>",
        f"<p>Scores of these groups were raised until each had its share of the first {told['k']} places of "
        f"{told['users']:,} validation users; then, on the same users:</p>",
        table(header, [[escape(cell) for cell in row] for row in exposure_rows(told)], right=range(1, len(header))),
        table(["price", "without", "with"], prices, right=range(1, 3)),
    ]


def training(figures: Figures, specs: Specs) -> str:
    """Loss and validation, epoch by epoch."""
    found = figures["training"]
    if not found.get("epochs"):
        return note(figures, "training", "Training curves")
    specs["plot-loss"] = plots.epochs(figures, ["loss"], "training loss")
    drawn = [figure("plot-loss", "Mean training loss per epoch; it should fall and then level out.")]
    if keys := [key for key in keys_of(found["epochs"]) if key.startswith("val_")]:
        specs["plot-validation"] = plots.epochs(figures, keys, "validation")
        drawn.append(
            figure(
                "plot-validation",
                "The same epochs, evaluated on validation users. The dotted line marks the epoch whose weights were kept. "
                "A fall after it means overfitting; a rise up to the last epoch means that more epochs may help.",
            )
        )
    seconds = f", {found['seconds']:,.0f} seconds" if found.get("seconds") else ""
    summary_line = (
        f"<p>{len(found['epochs'])} epochs{seconds}; kept weights: epoch {found.get('best_epoch') or 'the last'}."
        f"{later_sentence(found)}</p>"
    )
    decided = _decided(found["decisions"]) if found.get("decisions") else ""
    return (
        f'{summary_line}<div class="pair">{"".join(drawn)}</div>{note(figures, "validation", "Validation curves")}{decided}'
    )


def _decided(decisions: list[dict[str, Any]]) -> str:
    """What was decided from the log, and why."""
    rows = [[escape(value_text(one[key])) for key in ("option", "value", "because", "against")] for one in decisions]
    return f"<h3>Decided from the log</h3>{table(['option', 'value', 'because', 'instead of'], rows)}"


def examples(figures: Figures, specs: Specs) -> str:
    """A few users, with the titles of their items."""
    found = figures["examples"]
    n_hits = sum(user["found"] for user in found["users"])
    choice = (
        f"{n_hits} users with a hit among the first {found['k']} and {len(found['users']) - n_hits} without, drawn at "
        f"random. This is not the true mixture: {percent(found['found_share'])} of all users have such a hit."
    )
    return f'<p>{choice}</p><div class="people">{"".join(_person(user, found["deepest"]) for user in found["users"])}</div>'


def _person(user: dict[str, Any], deepest: int) -> str:
    def listed(titles: list[str], tag: str) -> str:
        return f"<{tag}>{''.join(titles) or '<li>nothing</li>'}</{tag}>"

    history = [f"<li>{escape(title)}</li>" for title in user["history"]]
    targets = [
        f"<li>{escape(one['title'])}, "
        + (f"place {one['place']}" if one["place"] else f"not among the first {deepest}")
        + "</li>"
        for one in user["targets"]
    ]
    if user["more_targets"]:
        targets.append(f"<li>and {user['more_targets']} more</li>")
    given = [
        f'<li class="hit">{escape(one["title"])} ✓</li>' if one["hit"] else f"<li>{escape(one['title'])}</li>"
        for one in user["recommended"]
    ]
    return (
        f"<article><h3>User {escape(user['user'])}</h3>"
        f"<h4>Last {len(history)} of {user['history_length']:,} in the history</h4>{listed(history, 'ul')}"
        f"<h4>Held-out items</h4>{listed(targets, 'ul')}<h4>Recommended</h4>{listed(given, 'ol')}</article>"
    )


def vectors(figures: Figures, specs: Specs) -> str:
    """The map of item vectors."""
    found = figures["map"]
    if found is None:
        return note(figures, "map", "The map")
    specs["plot-map"] = plots.item_map(figures)
    count = len(found["title"])
    which = f"All {count:,} items" if count == found["items"] else f"{count:,} of {found['items']:,} items"
    if found["popular"]:
        which += f" (the {found['popular']:,} most popular, the others drawn at random)"
    coloured = f", coloured by {found['category']}" if found["category"] else ""
    return figure(
        "plot-map",
        f"{which}{coloured}. Each dot is an item's vector, reduced to two dimensions by PCA and t-SNE; hover or tap "
        "for the title, drag to zoom, double-click to reset. The model considers neighbours similar; distances "
        "between distant groups, and the axes, have no meaning.",
    ) + note(figures, "category", "Colours")


def method(figures: Figures, specs: Specs) -> str:
    """How the model was evaluated, and how to reproduce it."""
    head = figures["headline"]
    seen = (
        "Items of the history are left out of the lists."
        if head["seen_filtered"]
        else "Items of the history may appear in the lists."
    )
    noted = {name.replace("_", " "): f"{count:,}" for name, count in head["counts"].items() if count}
    parts = [
        f"<p>Protocol: {escape(head['protocol'])}. {seen} Definitions: {escape(head['definition'])}.</p>",
        "<h3>Reproduce</h3>",
        f"<pre>{escape(head['command'])}</pre>",
        '<div class="pair"><div><h3>Model</h3>',
        definitions({name.replace("_", " "): shown(value) for name, value in head["options"].items()}),
        "</div><div><h3>Data</h3>",
        definitions({name.replace("_", " "): shown(value) for name, value in head["data"].items()}),
        *(["<h3>Notes on the data</h3>", definitions(noted)] if noted else []),
        "<h3>Versions</h3>",
        definitions(head["versions"]),
        "</div></div>",
    ]
    return "\n".join(parts)


def note(figures: Figures, name: str, what: str) -> str:
    """A note that something is left out, and why; empty if it is not."""
    reason = figures["left_out"].get(name)
    return left_out(what, reason) if reason else ""


SECTIONS: dict[str, tuple[str, Callable[[Figures, Specs], str]]] = {
    "summary": ("Summary", summary),
    "models": ("Models compared", comparison),
    "curve": ("Recall against k", curve),
    "segments": ("Segments", segments),
    "long-tail": ("Long tail", tail),
    "fairness": ("Exposure and recall by group", fairness),
    "training": ("Training", training),
    "examples": ("Examples", examples),
    "map": ("Map of items", vectors),
    "method": ("Method and reproduction", method),
}
"""Anchor → title and function, in the order of the page."""


def report_page(figures: Figures) -> str:
    """The whole report as one HTML document.

    Parameters
    ----------
    figures : dict
        From :func:`recsys.report.build`.

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    head = figures["headline"]
    return page(
        title=f"{head['model']}: evaluation report",
        about=f"{head['protocol']} · made {head['made'][:10]}",
        sections={anchor: (title, made(figures, specs)) for anchor, (title, made) in SECTIONS.items()},
        specs=specs,
        version=head["versions"].get("recsys", ""),
    )
