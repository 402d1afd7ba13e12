"""How much each relation between items counts beside towers and memory, judged on validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.core.progress import log as say
from recsys.transitions.learn import Form
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import Matrix
from recsys.transitions.related import Related
from recsys.transitions.weigh import Asked, Scale

_FACTORS = tuple(float(2.0**power) for power in range(-5, 3))
"""Of the weight at which a relation's best item is worth what lies between the towers' best and 100th item."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """What came of weighing relations.

    Attributes
    ----------
    memory : TransitionMemory or None
        With those that help; None where there was none and none helps.
    factors : dict of float
        What the entries of each relation are multiplied by; 0 for one that does not help.
    before, after : float
        NDCG@100 of validation without relations, and with them.
    """

    memory: TransitionMemory | None
    factors: dict[str, float]
    before: float
    after: float


def weigh_relations(memory: TransitionMemory | None, related: Related, asked: Asked, form: Form) -> Weighed:
    """Weigh one relation after the other beside what is there already, and leave out those that do not help.

    Parameters
    ----------
    memory : TransitionMemory or None
        Without relations.
    related : Related
        Tables whose largest entry is 1.
    asked : Asked
        Validation.
    form : Form
        How histories are read where there is no memory.
    """
    n_items = related.tables[0].shape[0]
    base = memory or TransitionMemory(_empty(n_items), form, 1.0)
    scale = Scale(asked, n_items)
    gains = scale.gains(base.scores(asked.histories), 1.0)
    before, factors, kept = float(gains.mean()), dict[str, float](), Related((), ())
    for name, table in zip(related.names, related.tables, strict=True):
        alone = TransitionMemory(table, base.form, base.weight).scores(asked.histories)
        unit, best = scale.unit(alone), (float(gains.mean()), 0.0, gains)
        for factor in (unit * one for one in _FACTORS):
            tried = base.with_related(_with(kept, name, table, factor))
            found = scale.gains(tried.scores(asked.histories), 1.0)
            best = max(best, (float(found.mean()), factor, found), key=lambda one: one[0])
        _, factors[name], gains = best
        if factors[name]:
            kept = _with(kept, name, table, factors[name])
    after = float(gains.mean())
    told = ", ".join(f"{name} {factor:.3g}" if factor else f"{name} left out" for name, factor in factors.items())
    say(f"relations between items: weights {told}; validation NDCG@100 {before:.4f} without, {after:.4f} with them")
    return Weighed(base.with_related(kept) if len(kept) else memory, factors, before, after)


def _with(kept: Related, name: str, table: Matrix, factor: float) -> Related:
    scaled: Matrix = sp.csr_matrix((table.data * np.float32(factor), table.indices, table.indptr), shape=table.shape)
    return Related((*kept.names, name), (*kept.tables, scaled))


def _empty(n_items: int) -> Matrix:
    none = np.empty(0, dtype=np.int32)
    return sp.csr_matrix((none.astype(np.float32), none, np.zeros(n_items + 1, dtype=np.int64)), shape=(n_items, n_items))
