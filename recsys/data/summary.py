"""Count what a log and its catalogue hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from recsys.data.catalog import Catalog
from recsys.data.clean.waterfall import told
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.order import duplicates


def summary(log: Interactions, catalog: Catalog | None = None) -> dict[str, Any]:
    """Count events, users, items, repeats and gaps.

    Parameters
    ----------
    log : Interactions
    catalog : Catalog, optional

    Returns
    -------
    dict
        Plain values, ready for JSON. ``repeated_pairs`` counts events beyond the first of the same user and item;
        ``duplicate_events``, in logs with times, those of the same time (to the second) and type too.
    """
    lengths = log.histories.lengths[log.histories.lengths > 0]
    counts = np.sort(log.item_counts[log.item_counts > 0])[::-1]
    tenth = max(1, len(counts) // 10)
    facts: dict[str, Any] = {
        "interactions": len(log),
        "users": len(lengths),
        "items": len(counts),
        "density": len(log) / (len(lengths) * len(counts)),
        "repeated_pairs": len(log) - log.matrix().nnz,
        "history_min_median_max": [int(lengths.min()), float(np.median(lengths)), int(lengths.max())],
        "users_with_under_3_events": int((lengths < 3).sum()),
        "share_of_most_popular_tenth": float(counts[:tenth].sum() / counts.sum()),
        "order": log.ordered_by,
        "weights": log.weights is not None,
    }
    if log.timestamps is not None:
        facts["duplicate_events"] = duplicates(log.histories, len(log.items))
        facts["from"], facts["to"] = (day_of(int(log.timestamps.min())), day_of(int(log.timestamps.max())))
    if log.waterfalls:
        facts["cleaning"] = [one.to_dict() for one in log.waterfalls]
    if catalog is not None:
        touched = log.items.ids.gather(np.flatnonzero(log.item_counts))
        check_join(touched, catalog.items, "the catalogue", refuse=False)
        found = catalog.items.find_rows(touched)
        has_text = catalog.texts.is_not_null()
        facts["catalogue"] = {
            "items": len(catalog),
            "text_columns": list(catalog.text_columns),
            "without_interactions": int(len(catalog) - (found >= 0).sum()),
            "interacted_but_not_in_catalogue": int((found < 0).sum()),
            "without_text": int((~has_text).sum()),
            "distinct_texts": catalog.texts.filter(has_text).n_unique(),
        }
    return facts


def day_of(seconds: int) -> str:
    """An instant as a date; a number too large for a date stays a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def summary_text(facts: dict[str, Any], indent: str = "") -> str:
    """The facts as lines for people."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            lines += [label, summary_text(value, indent + "  ")]
        elif name == "cleaning":
            lines += [label, *("\n".join(f"{indent}  {line}" for line in told(one)) for one in value)]
        elif isinstance(value, list):
            lines.append(
                f"{label:<36}{' / '.join(f'{one:,}' if isinstance(one, int | float) else str(one) for one in value)}"
            )
        elif isinstance(value, float):
            lines.append(f"{label:<36}{value:.4%}")
        elif isinstance(value, bool):
            lines.append(f"{label:<36}{'yes' if value else 'no'}")
        elif not isinstance(value, int):
            lines.append(f"{label:<36}{value}")
        else:
            lines.append(f"{label:<36}{value:,}")
    return "\n".join(lines)
