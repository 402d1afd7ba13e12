"""The model card of an updated bundle: what the update did and was judged by, and the card of the last training."""

from __future__ import annotations

from typing import Any

from recsys.bundle.lineage import lineage_facts
from recsys.pages.tables import number
from recsys.report.card import safe, table

_MARK = "# Model card: "
_BEFORE = "## Card of the last training"


def update_card(lineage: dict[str, Any], judged: list[dict[str, Any]], older: str | None) -> str:
    """The card in Markdown; no text of the data can become markup.

    Parameters
    ----------
    lineage : dict
        Of the updated bundle.
    judged : list of dict
        The gate's figures, as :class:`recsys.pipeline.gate.Judged` has them.
    older : str, optional
        The card of the bundle before: what it says of the last training is kept, and what it says of earlier updates not.
    """
    facts = [[name, safe(value)] for name, value in lineage_facts(lineage).items()]
    rows = [
        [
            one["model"],
            one["group"],
            one["metric"],
            f"{one['users']:,}",
            number(one["before"]),
            number(one["after"]),
            one["verdict"],
        ]
        for one in judged
    ]
    parts = [f"{_MARK}updated bundle", "## Last update", table(["fact", "value"], facts)]
    if rows:
        parts += [
            "Judged by new events that the candidate had not learned from, beside the bundle as it was before:",
            table(["model", "group", "figure", "users", "no update", "with it", "verdict"], rows),
        ]
    else:
        parts.append("The update was not judged.")
    parts.append(_BEFORE)
    if older is None:
        parts.append("The bundle before has no card.")
    else:
        parts.append("Figures below are of the model before its updates.")
        parts.append(_demoted(older.split(f"{_BEFORE}\n", 1)[-1] if older.startswith(f"{_MARK}updated") else older))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _demoted(card: str) -> str:
    """A card as a section: its headings one level down; once only."""
    card = card.strip().removeprefix("Figures below are of the model before its updates.").strip()
    if card.startswith("### "):
        return card
    lines, code = list[str](), False
    for line in card.splitlines():
        code ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not code else line)
    return "\n".join(lines)
