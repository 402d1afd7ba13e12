"""The report as a Markdown model card, which every bundle holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys.bundle.exposure import exposure_rows
from recsys.bundle.privacy import privacy_facts
from recsys.config.options import value_text
from recsys.pages.tables import number, percent
from recsys.report.words import (
    MEANING,
    ends,
    finding,
    group_words,
    keys_of,
    later_sentence,
    metric_number,
    shown,
)

_FAMILIES = ("recall", "ndcg", "mrr", "coverage", "gini", "novelty", "diversity", "calibration")
_DEEPER = (20, 50, 100)
_UNORDERED = (
    "The log has no order: random items of each user were held out, not the last ones, positions in a history were not "
    "learned, and no figure here says how well the model predicts the future."
)


def model_card(figures: dict[str, Any]) -> str:
    """The model card.

    Parameters
    ----------
    figures : dict
        From :func:`recsys.report.build`.

    Returns
    -------
    str
        Markdown; no text of the data can become markup.
    """
    parts = [
        _model(figures),
        _use(figures),
        _data(figures),
        _evaluation(figures),
        _segments(figures),
        _fairness(figures),
        _training(figures),
        *_privacy(figures),
        _reproduce(figures),
    ]
    return "\n\n".join(parts) + "\n"


def _model(figures: dict[str, Any]) -> str:
    head = figures["headline"]
    encoder = head["options"].get("encoder")
    items = f"its text, read by the encoder {safe(encoder)}" if encoder else "its id alone"
    if encoder and head["options"].get("use_ids"):
        items += ", and its id"
    rows = [
        [f"{table}: {name.replace('_', ' ')}", shown(value)]
        for table, options in head["all_options"].items()
        for name, value in options.items()
    ]
    if head["options"].get("fast"):
        what = (
            "A transition memory made with recsys: a table of which items followed which in the log, in which the "
            "newest events of a history are looked up. Popularity, very faintly, ranks what it does not know. A user is a "
            "function of the history: a new user or a new event needs no training."
        )
    else:
        what = (
            f"A two-tower recommender made with recsys. The item tower turns each item into a vector, from {items}; the "
            "user tower, a causal transformer, turns a history into a vector. Items are ranked by the similarity of both "
            "vectors. A user is a function of the history: a new user or a new event needs no training."
        )
    return "\n\n".join(
        [
            f"# Model card: {safe(head['model'])}",
            safe(finding(figures)),
            "## Model",
            what,
            table(["option", "value"], rows),
        ]
    )


def _use(figures: dict[str, Any]) -> str:
    options = figures["headline"]["options"]
    cold = (
        "It reads no text: an item without training events has no meaningful rank, and a user without a history gets no "
        "recommendations."
    )
    if options.get("encoder"):
        cold = (
            "An item without training events is ranked by its text alone; a user without a history gets no recommendations."
        )
    limits = [
        "It was evaluated offline, on what users did next in a log. What users were shown at the time shaped that log; the "
        "figures do not say what a recommendation would have changed.",
        "It learns what users did often: before relying on it for rarely shown groups, check below how often popular items "
        "and each group are shown.",
        cold,
        f"It reads the last {options['max_length']} events of a history."
        if "max_length" in options and not options.get("fast")
        else "It reads a limited number of events of a history.",
        "No attribute of people was evaluated; this card does not say whether groups of people are served equally well.",
    ]
    return "\n\n".join(
        [
            "## Intended use and limits",
            "Ranking the items of this catalogue for histories of its items: recommendations and similar items"
            + (", and search by text." if options.get("encoder") else "."),
            "\n".join(f"- {line}" for line in limits),
        ]
    )


def _data(figures: dict[str, Any]) -> str:
    rows = [[name.replace("_", " "), shown(value)] for name, value in figures["headline"]["data"].items()]
    notes = [] if figures["headline"]["data"].get("ordered", True) else [_UNORDERED]
    return "\n\n".join(["## Data", table(["fact", "value"], rows), *notes])


def _evaluation(figures: dict[str, Any]) -> str:
    head, models = figures["headline"], figures["models"]
    k = head["k"]
    names = [f"{family}@{k}" for family in _FAMILIES]
    names[1:1] = [f"recall@{cut}" for cut in _DEEPER if cut in figures["curve"]["k"]]
    rows = []
    for name in names:
        found = [model["metrics"].get(name) for model in models]
        if any(found):
            rows.append([name, *(_valued(name, one) for one in found)])
    seen = "left out" if head["seen_filtered"] else "kept"
    parts = [
        "## Evaluation",
        f"Protocol: {safe(head['protocol'])}; {head['users']:,} users, {head['targets']:,} targets, {head['items']:,} "
        f"items ranked, seen items {seen}. Definitions: {safe(head['definition'])}. In brackets: 95 % interval.",
        table(["metric", *(model["model"] for model in models)], rows),
        "\n".join(f"- {name}: {MEANING[name]}" for name in _FAMILIES if any(row[0].startswith(f"{name}@") for row in rows)),
    ]
    if tests := figures["tests"]["rows"]:
        verdicts = [
            [row["better"], row["worse"], f"{row['difference']:+.4f}", f"{row['p_holm']:.2g}", _verdict(row)]
            for row in tests
        ]
        parts += [
            f"Paired randomisation test of {safe(figures['tests']['metric'])} on the same users, corrected by Holm:",
            table(["higher", "lower", "difference", "corrected p", "verdict"], verdicts),
        ]
    return "\n\n".join(parts + _left_out(figures, "baselines", "Baselines"))


def _segments(figures: dict[str, Any]) -> str:
    metric, parts = f"recall@{figures['headline']['k']}", ["## Segments"]
    for segment in figures["segments"]:
        title, text = group_words(segment["name"])
        rows = [[row["label"], row["model"], f"{row['n']:,}", _row_valued(row, metric)] for row in segment["rows"]]
        parts += [f"### {safe(title)}", safe(text), table(["group", "model", segment["unit"], metric], rows)]
    for name, what in (("popularity", "By popularity"), ("category", "By category"), ("time", "By time")):
        parts += _left_out(figures, name, what)
    return "\n\n".join(parts)


def _fairness(figures: dict[str, Any]) -> str:
    found = figures["fairness"]
    parts = [
        "## Exposure by group",
        f"Shares of the catalogue, of the training events, and of the first {found['k']} places of the lists of "
        f"{safe(found['model'])}.",
    ]
    for group in found["groups"]:
        rows = [
            [
                row["label"],
                percent(row["catalogue"]),
                percent(row["interactions"]),
                percent(row["exposure"]),
                number(row["ratio"], 2),
                _row_valued(row, "recall"),
            ]
            for row in group["rows"]
        ]
        header = ["group", "catalogue", "training", "shown", "shown / training", f"recall@{found['k']}"]
        parts += [f"### {safe(group_words(group['name'])[0])}", table(header, rows)]
    parts += _floors(figures["training"].get("exposure"))
    if not found["groups"]:
        parts.append("Left out: the bundle has neither a training log nor a column of categories.")
    return "\n\n".join(parts)


def _floors(told: dict[str, Any] | None) -> list[str]:
    """What floors of exposure did and cost; nothing where there were none."""
    if not told:
        return []
    header = ["group", "floor", "scores times", "shown without", "shown with"]
    prices = [[one["name"], number(one["before"]), number(one["after"])] for one in told["figures"]]
    return [
        f"### Floors of exposure by {safe(told['column'])}",
        f"Scores of these groups were raised until each had its share of the first {told['k']} places of "
        f"{told['users']:,} validation users; then, on the same users:",
        table(header, exposure_rows(told)),
        table(["price", "without", "with"], prices),
    ]


def _training(figures: dict[str, Any]) -> str:
    found = figures["training"]
    if not found.get("epochs"):
        again = [later_sentence(found).strip()] if later_sentence(found) else []
        return "\n\n".join(["## Training", *_left_out(figures, "training", "Training curves"), *again])
    keys = [key for key in keys_of(found["epochs"]) if key not in ("epoch", "seconds")]
    rows = [[int(one["epoch"]), *(number(one.get(key)) for key in keys)] for one in found["epochs"]]
    seconds = f" in {found['seconds']:,.0f} seconds" if found.get("seconds") else ""
    return "\n\n".join(
        [
            "## Training",
            f"{len(found['epochs'])} epochs{seconds}; kept weights: epoch {found.get('best_epoch') or 'the last'}."
            f"{later_sentence(found)}",
            table(["epoch", *(key.removeprefix("val_") if key == "loss" else key for key in keys)], rows),
            *_decided(found.get("decisions") or []),
        ]
    )


def _privacy(figures: dict[str, Any]) -> list[str]:
    """What a private training promised; nothing where none did."""
    spent = figures["training"].get("privacy")
    if not spent:
        return []
    rows = [[name, safe(fact)] for name, fact in privacy_facts(spent).items()]
    return [
        "\n\n".join(
            [
                "## Differential privacy",
                "Whether or not any one user's whole history was trained on, what is covered would have come out nearly as "
                "likely: by a factor of exp(epsilon) at most, but for a probability delta.",
                table(["fact", "value"], rows),
            ]
        )
    ]


def _decided(decisions: list[dict[str, Any]]) -> list[str]:
    """What was decided from the log, and why."""
    if not decisions:
        return []
    rows = [[one["option"], *(safe(value_text(one[key])) for key in ("value", "because", "against"))] for one in decisions]
    return ["### Decided from the log", table(["option", "value", "because", "instead of"], rows)]


def _reproduce(figures: dict[str, Any]) -> str:
    head = figures["headline"]
    return "\n\n".join(
        [
            "## Reproduce",
            f"```\n{head['command']}\n```",
            "A log with the fingerprint above is the same."
            if head["reading_known"]
            else "A log with the fingerprint above is the same. It was read from Python: add the flags of its columns.",
            table(["library", "version"], [[name, version] for name, version in head["versions"].items()]),
            f"Card made {safe(head['made'][:10])}.",
        ]
    )


def _left_out(figures: dict[str, Any], name: str, what: str) -> list[str]:
    reason = figures["left_out"].get(name)
    return [f"{what}: left out, {safe(reason)}."] if reason else []


def _verdict(row: dict[str, Any]) -> str:
    return "significant" if row["significant"] else "not significant"


def _valued(name: str, valued: dict[str, Any] | None) -> str:
    if valued is None:
        return "–"
    interval = ends(valued, name)
    return metric_number(name, valued["mean"]) + (f" ({interval})" if interval else "")


def _row_valued(row: dict[str, Any], name: str) -> str:
    return _valued(name, {"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(safe(cell) if i != 1 else str(cell) for cell in line) + " |" for i, line in enumerate(lines)
    )


def safe(text: Any) -> str:
    """Text that Markdown shows as it is, also in a table's cell."""
    plain = " ".join(str(text).split())
    for mark, instead in (
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("<", "&lt;"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("[", "\\["),
        ("#", "\\#"),
    ):
        plain = plain.replace(mark, instead)
    return plain
