"""Write the report: a page, the same figures as JSON, and the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys.core.files import atomic_file
from recsys.errors import ConfigError
from recsys.report.card import model_card
from recsys.report.sections import report_page


def write(figures: dict[str, Any], out: Path) -> None:
    """Write the page at ``out``, and beside it the same figures as ``.json`` and the model card as ``.md``.

    Each file appears whole or not at all, and replaces an older one of its name.

    Raises
    ------
    ConfigError
        ``out`` does not end in .html.
    """
    check_page_name(out)
    made = {
        out: report_page(figures),
        out.with_suffix(".json"): as_json(figures),
        out.with_suffix(".md"): model_card(figures),
    }
    for target, text in made.items():
        with atomic_file(target) as file:
            file.write_text(text, encoding="utf-8")


def check_page_name(out: Path) -> None:
    """Refuse a name that is not a web page's, before anything is evaluated.

    Raises
    ------
    ConfigError
        ``out`` does not end in .html.
    """
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"the report is a web page: choose a file name that ends in .html, not {out}")


def as_json(figures: dict[str, Any]) -> str:
    """The figures as strict JSON."""
    return json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def bundle_files(figures: dict[str, Any]) -> dict[str, str]:
    """The files that a bundle keeps of a report, name → text: the figures and the model card."""
    return {"report.json": as_json(figures), "MODEL_CARD.md": model_card(figures)}


def means_of(figures: dict[str, Any]) -> dict[str, float]:
    """The model's own metrics, name → mean, as a bundle's manifest keeps them."""
    return {name: value["mean"] for name, value in figures["models"][0]["metrics"].items()}
