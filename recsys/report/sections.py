"""The sections of the page, one function each: figures in, HTML out, Plotly specifications put into ``specs``.

Every text that comes from data goes through :func:`html.escape`.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, TypeAlias

from recsys.pages.page import cards, figure, left_out, page
from recsys.pages.plots import Specs
from recsys.pages.tables import definitions, number, percent
from recsys.report import plots
from recsys.report.tables import models_at, segment_table, shares_table, tests_table
from recsys.report.words import MEANING, ends, finding, group_words, told

Figures: TypeAlias = dict[str, Any]


def summary(figures: Figures, specs: Specs) -> str:
    """What was found, in a sentence and a few numbers."""
    head = figures["headline"]
    shown = {}
    for name, value in head["metrics"].items():
        interval = "" if value["low"] is None else f"<small>{ends(value)}</small>"
        shown[name] = f"<b>{number(value['mean'])}</b>{interval}"
    facts = {"users judged": head["users"], "items ranked": head["items"], "targets": head["targets"]}
    if events := head["data"].get("interactions"):
        facts["events in the log"] = events
    shown |= {name: f"<b>{value:,}</b>" for name, value in facts.items()}
    return f"<p>{escape(finding(figures))}</p>\n{cards(shown)}"


def comparison(figures: Figures, specs: Specs) -> str:
    """Every model with every metric, and which differences are real."""
    k = figures["headline"]["k"]
    others = [cut for cut in figures["curve"]["k"] if cut != k]
    bold = " Bold is the highest of a row, of the metrics of which more is better; whether it really is, is told below."
    bold = bold if figures["tests"]["rows"] else ""
    parts = [
        models_at(figures, k),
        f'<p class="soft">Each figure stands above its 95 % bootstrap interval over users.{bold}</p>',
        *(f"<details><summary>All metrics at k = {cut}</summary>{models_at(figures, cut)}</details>" for cut in others),
        f"<details><summary>What the metrics mean</summary>{definitions(MEANING)}</details>",
        note(figures, "baselines", "Baselines"),
    ]
    if figures["tests"]["rows"]:
        parts += [
            f"<h3>Which differences in {escape(figures['tests']['metric'])} are real</h3>",
            tests_table(figures),
            '<p class="soft">Paired randomisation test on the same users, corrected by Holm for the number of pairs. '
            "“Real” is a corrected p below 0.05; “not told apart” means that these users cannot decide it.</p>",
        ]
    return "\n".join(parts)


def curve(figures: Figures, specs: Specs) -> str:
    """Recall against the length of the list."""
    specs["plot-curve"] = plots.curve(figures)
    return figure(
        "plot-curve",
        "Share of the held-out items that are found among the first k, for growing k (logarithmic). Higher is better; the "
        "bands are 95 % intervals, and where two bands overlap much, the models are hard to tell apart.",
    )


def segments(figures: Figures, specs: Specs) -> str:
    """Recall by group of users and of items."""
    models = [line["model"] for line in figures["curve"]["models"]]
    k = figures["headline"]["k"]
    parts = [f"<p>The bars are of {escape(models[0])}{escape(_beside(figures))}.</p>"]
    for i, segment in enumerate(figures["segments"]):
        title, text = group_words(segment["name"])
        specs[f"plot-segment-{i}"] = plots.segment_bars(segment, models, f"recall@{k}")
        parts += [
            f"<h3>{escape(title)}</h3>",
            figure(
                f"plot-segment-{i}",
                f"{text} Bars are recall@{k}, whiskers 95 % intervals, and the number behind each name is how many "
                f"{segment['unit']} the group has: the fewer, the less a bar says. Where all or none were found there "
                "is no whisker.",
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
    return f" and {other}, the best of the others by {figures['tests']['metric']}" if other else ""


def tail(figures: Figures, specs: Specs) -> str:
    """Whose items are shown: the long tail."""
    found = figures["long_tail"]
    if found is None:
        return note(figures, "long_tail", "The long-tail curve")
    specs["plot-tail"] = plots.long_tail(figures)
    own = next(one for one in found["curves"] if one["name"] == figures["headline"]["model"])
    place = max(i for i, n in enumerate(found["items"]) if n <= max(1, found["items"][-1] // 100))
    said = (
        f"Items are put in order of popularity in training; a line tells what share of all places in the first {found['k']}"
        " goes to the n most popular ones. The further it lies below the dashed line, the more room less popular "
        f"items get than training gave them; above it, popularity is amplified. Of {own['name']}, the "
        f"{found['items'][place]:,} most popular items take {percent(own['share'][place])} of the places; in training they "
        f"had {percent(found['curves'][0]['share'][place])}."
    )
    return figure("plot-tail", said)


def fairness(figures: Figures, specs: Specs) -> str:
    """Whether groups of items get the room they have in catalogue and training."""
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
                f"{found['k']}. Where the last is far from {compared}, the model gives the group more or less room than "
                f"{'users did' if known else 'its size'}.",
            ),
            shares_table(group, found["k"]),
        ]
    missing = [note(figures, "popularity", "By popularity"), note(figures, "category", "By category")]
    intro = f"<p>How {escape(found['model'])} treats groups of items: who is shown, and who is found when wanted.</p>"
    return "\n".join([intro, *parts, *missing])


def training(figures: Figures, specs: Specs) -> str:
    """Loss and validation, epoch by epoch."""
    found = figures["training"]
    if not found.get("epochs"):
        return note(figures, "training", "Training curves")
    specs["plot-loss"] = plots.epochs(figures, ["loss"], "training loss")
    shown = [figure("plot-loss", "Mean training loss of each epoch; it should fall and then level out.")]
    if keys := [key for key in found["epochs"][0] if key.startswith("val_")]:
        specs["plot-validation"] = plots.epochs(figures, keys, "validation")
        shown.append(
            figure(
                "plot-validation",
                "The same epochs judged on validation users. The dotted line marks the epoch whose weights were kept; "
                "a fall after it is overfitting, and a rise up to the last epoch asks for more epochs.",
            )
        )
    seconds = f", {found['seconds']:,.0f} seconds" if found.get("seconds") else ""
    said = f"<p>{len(found['epochs'])} epochs{seconds}; kept: epoch {found.get('best_epoch') or 'the last'}.</p>"
    return f'{said}<div class="pair">{"".join(shown)}</div>{note(figures, "validation", "Validation curves")}'


def examples(figures: Figures, specs: Specs) -> str:
    """A few users by title."""
    found = figures["examples"]
    n_hits = sum(user["found"] for user in found["users"])
    said = (
        f"{n_hits} users drawn from those who were served well and {len(found['users']) - n_hits} from the others; that is "
        f"not the true mixture: an item is found among the first {found['k']} for {percent(found['found_share'])} of users."
    )
    return f'<p>{said}</p><div class="people">{"".join(_person(user, found["deepest"]) for user in found["users"])}</div>'


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
        f"<h4>Took next</h4>{listed(targets, 'ul')}<h4>Was recommended</h4>{listed(given, 'ol')}</article>"
    )


def vectors(figures: Figures, specs: Specs) -> str:
    """The map of item vectors."""
    found = figures["map"]
    if found is None:
        return note(figures, "map", "The map")
    specs["plot-map"] = plots.item_map(figures)
    shown = len(found["title"])
    which = f"All {shown:,} items" if shown == found["items"] else f"{shown:,} of {found['items']:,} items"
    if found["popular"]:
        which += f" (the {found['popular']:,} most popular, the others drawn at random)"
    coloured = f", coloured by {found['category']}" if found["category"] else ""
    return figure(
        "plot-map",
        f"{which}{coloured}. Each dot is an item's vector brought down to two dimensions by PCA and t-SNE; hover or tap "
        "for the title, drag to zoom, double-click to return. Neighbours are what the model takes for alike; distances "
        "between far groups, and the axes, mean nothing.",
    ) + note(figures, "category", "Colours")


def method(figures: Figures, specs: Specs) -> str:
    """How it was measured, and how to do it again."""
    head = figures["headline"]
    seen = "Items of the history are filtered." if head["seen_filtered"] else "Items of the history are not filtered."
    noted = {name.replace("_", " "): f"{count:,}" for name, count in head["counts"].items() if count}
    parts = [
        f"<p>Protocol: {escape(head['protocol'])}. {seen} Definitions: {escape(head['definition'])}.</p>",
        "<h3>Reproduce</h3>",
        f"<pre>{escape(head['command'])}</pre>",
        '<div class="pair"><div><h3>Model</h3>',
        definitions({name.replace("_", " "): told(value) for name, value in head["options"].items()}),
        "</div><div><h3>Data</h3>",
        definitions({name.replace("_", " "): told(value) for name, value in head["data"].items()}),
        *(["<h3>Noted in the lists</h3>", definitions(noted)] if noted else []),
        "<h3>Versions</h3>",
        definitions(head["versions"]),
        "</div></div>",
    ]
    return "\n".join(parts)


def note(figures: Figures, name: str, what: str) -> str:
    """That something is left out, and why; nothing where it is not."""
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
