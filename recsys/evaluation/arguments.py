"""What :func:`recsys.evaluate` and :func:`recsys.compare` accept, checked before anything is ranked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import numpy as np

from recsys.core.arguments import HOW, described, listed
from recsys.core.ragged import Int32
from recsys.core.ranking import check_k
from recsys.errors import ConfigError
from recsys.evaluation.protocol import Ranker


def check_ranker(model: object, name: str) -> None:
    """Refuse what is not a :class:`recsys.evaluation.protocol.Ranker`.

    Raises
    ------
    ConfigError
    """
    if isinstance(model, type) or not isinstance(model, Ranker):
        raise ConfigError(f"{name} must be a Ranker, not {described(model)}; pass {HOW['Ranker']}")


def check_rows(eligible: object, n_items: int) -> Int32:
    """Item rows as an array.

    Returns
    -------
    int32 (C,)

    Raises
    ------
    ConfigError
        They are not whole numbers from 0 to below ``n_items``.
    """
    rows = eligible if isinstance(eligible, np.ndarray) else np.array(listed(eligible, "eligible", "item rows"))
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise ConfigError(f"eligible must be a list of item rows, which are whole numbers, not {described(eligible)}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < n_items:
        wrong = rows[(rows < 0) | (rows >= n_items)][0]
        raise ConfigError(f"eligible must hold rows from 0 to {n_items - 1}; it holds {wrong}")
    return rows.astype(np.int32)


def check_cuts(k: object) -> tuple[int, ...]:
    """The list lengths in ascending order, each once, from one whole number or several.

    Raises
    ------
    ConfigError
        There is none, or one is not a whole number of 1 or more.
    """
    several = isinstance(k, Iterable) and not isinstance(k, str) and getattr(k, "ndim", 1) > 0
    cuts = listed(list(k) if isinstance(k, Set) else k, "k", "whole numbers, or one of them") if several else [k]
    if not cuts:
        raise ConfigError("evaluate needs at least one k")
    return tuple(sorted({check_k(cut) for cut in cuts}))


def filters_seen(models: Sequence[Ranker]) -> bool:
    """Whether seen items are left out if the caller does not say: as the models were validated, else yes.

    Raises
    ------
    ConfigError
        Some were validated with seen items kept, and some without.
    """
    keeps = {model.name: model.traits.keep_seen for model in models if model.traits.keep_seen is not None}
    if len(set(keeps.values())) > 1:
        kept, left = (next(name for name, value in keeps.items() if value is one) for one in (True, False))
        raise ConfigError(
            f"{kept} was validated with seen items kept and {left} with seen items filtered; choose one for all models: "
            f"filter_seen=True or False (--no-keep-seen or --keep-seen)"
        )
    return not any(keeps.values())
