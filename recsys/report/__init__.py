"""The report: an evaluated bundle as one HTML page, the same figures as JSON, and a model card.

:func:`build` evaluates and collects, :func:`write` puts all three on disk, :func:`model_card` gives the card alone::

    retriever = recsys.load("runs/ml")
    report = build(retriever.bundle, retriever)
    write(report.figures, Path("report.html"))  # and report.json, report.md
    Path("MODEL_CARD.md").write_text(model_card(report.figures), encoding="utf-8")

The figures are one plain dict: whatever the page or the card says can be read from it, and from the JSON file.
"""

from recsys.report.card import model_card
from recsys.report.files import as_json, bundle_files, check_page_name, means_of, write
from recsys.report.report import Report, build, evaluate_held_out

__all__ = [
    "Report",
    "as_json",
    "build",
    "bundle_files",
    "check_page_name",
    "evaluate_held_out",
    "means_of",
    "model_card",
    "write",
]
