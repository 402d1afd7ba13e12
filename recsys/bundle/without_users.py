"""A bundle without some of its users: exact for everything that is input or a count, silent about weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch

from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Int32, Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import DataError, UnsupportedError
from recsys.index.item_index import ItemIndex
from recsys.models.build import popularity_network
from recsys.models.towers import TwoTowerModel
from recsys.transitions.borrow import MOST_ITEMS, Alike
from recsys.transitions.choose import learn_memory
from recsys.transitions.memory import TransitionMemory

_UPDATED = (
    "an update leaves rows of the memory as they are that its events do not touch: all are learned anew from the events "
    "of those who stay, so that scores of others change a little for that too"
)
_OTHER = (
    "the transition memory was not learned from the events that the bundle tells of alone: it is learned anew from those "
    "of the users who stay, so that scores of others may change for more reasons than that"
)
SINCE_TRAINING = "forgotten_since_training"
"""In the data of a bundle's manifest: how many people are in the weights, and nowhere else any more."""
_NEAR = 1e-3
"""Largest relative difference of an entry that is learned anew from the same events: rounding, and no other events."""


@dataclass(frozen=True, eq=False)
class WithoutUsers:
    """A bundle without some users, and what was taken out.

    Attributes
    ----------
    bundle : Bundle
    users, events, held_out : int
        Users, events of their histories, and held-out users that are gone.
    memory : {"none", "learned anew"}
        What became of the transition memory.
    reproduced : bool or None
        Whether the memory, learned anew with these users, was the one that was there: then what is left is what would have
        been learned without them. None without a memory.
    """

    bundle: Bundle
    users: int
    events: int
    held_out: int
    memory: str
    reproduced: bool | None


def without_users(bundle: Bundle, rows: Int32) -> WithoutUsers:
    """Take users out of a bundle: their ids, features, histories and held-out events, and what was counted from them.

    The transition memory is learned anew, in its form and with its weight, from what the other users were trained on: it is
    the one that they alone would have given, whether it counts or solves a ridge regression. That costs what learning one
    table costs, twice, since the old table is reproduced first to prove it: well under a second for a million events where
    it counts, some seconds where it solves. Of a fast model the popularity is counted anew too, so that nothing of the
    users is left in it but its form and its weight, which were chosen with them. Towers stay as they are, to the last bit:
    they were trained with these users, and a training without them is all that removes that.

    Parameters
    ----------
    bundle : Bundle
    rows : int32 (n,)
        User rows, distinct.

    Returns
    -------
    WithoutUsers

    Raises
    ------
    DataError
        No user would be left.
    UnsupportedError
        It has a memory, or is a fast model, and does not tell which events it was made from.
    """
    keep = np.ones(len(bundle.users), dtype=np.bool_)
    keep[rows] = False
    left = np.flatnonzero(keep).astype(np.int32)
    if not len(left):
        raise DataError("no user would be left in the bundle; remove the whole bundle instead")
    users = IdMap(bundle.users.ids.gather(left), "user", checked=True)
    held_out, gone = _held_out(bundle.holdout, users, keep)
    smaller = replace(
        bundle,
        users=users,
        histories=bundle.histories.take(left),
        holdout=held_out,
        trained=None if bundle.trained is None else bundle.trained[left],
    )
    corpus, reproduced = _corpus(bundle, smaller, left)
    events = int(bundle.histories.lengths[rows].sum())
    smaller = replace(smaller, corpus=corpus, data=_told(smaller, bundle.data, len(rows)))
    how = "as it is: it keeps a promise of privacy" if bundle.record.get("privacy") else "learned anew"
    memory = "none" if corpus.transitions is None else how
    return WithoutUsers(smaller, len(rows), events, gone, memory, reproduced)


def _held_out(holdout: Holdout | None, users: IdMap, keep: Bool) -> tuple[Holdout | None, int]:
    """The held-out users that stay, None where nobody does, and how many go."""
    if holdout is None:
        return None, 0
    stays = keep[holdout.user_rows]
    if not stays.any():
        return None, len(holdout)
    fewer = holdout.where(stays)
    new_rows = (np.cumsum(keep) - 1).astype(np.int32)
    return replace(fewer, users=users, user_rows=new_rows[fewer.user_rows]), int((~stays).sum())


def _corpus(bundle: Bundle, smaller: Bundle, left: Int32) -> tuple[Corpus, bool | None]:
    towers, corpus = bundle.towers, bundle.corpus
    codes = None if towers.user_codes is None else towers.codes_for(bundle.users)
    towers = replace(towers, users=smaller.users, user_codes=None if codes is None else codes[left])
    index, memory, reproduced = corpus.index, corpus.transitions, None
    if (memory is not None or towers.fast) and not bundle.record.get("privacy"):  # a private table is nobody's
        before, after = bundle.trained_on, smaller.trained_on
        if before is None or after is None:
            raise UnsupportedError(
                "the bundle does not tell which events its transition memory was learned from, so that nobody can be taken "
                "out of it exactly; fit again without these users"
            )
        if memory is not None:
            reproduced = _alike(_learned(memory, corpus, before.histories), memory)
            memory = _learned(memory, corpus, after.histories)
            if not reproduced:
                warn(_UPDATED if bundle.lineage else _OTHER)
        if towers.fast:
            towers, index = _recounted(towers, corpus, after)
    towers.reader = corpus.encoder
    return replace(corpus, towers=towers, index=index, transitions=memory), reproduced


def _learned(memory: TransitionMemory, corpus: Corpus, trained: Ragged) -> TransitionMemory:
    """A memory of the same form and weight from these histories, in the rows of all items."""
    n, form = corpus.trained_items, memory.form
    alike = None
    if form.borrow and corpus.towers.whitening is not None and 2 <= n <= MOST_ITEMS:
        alike = Alike.of(corpus.towers.text_vectors[:n])
    learned = learn_memory(trained.without_events(), n, form, memory.weight, alike).extended(len(corpus.items))
    return learned.with_related(memory.related)


def _alike(one: TransitionMemory, other: TransitionMemory) -> bool:
    """Whether two tables differ by rounding alone; an entry that is cut off in one of them may be next to none there."""
    apart = abs(sp.csr_matrix(one.alone - other.alone))
    scale = float(other.alone.data.max(initial=0.0))
    return not apart.nnz or float(apart.data.max()) <= _NEAR * scale


def _recounted(towers: TwoTowerModel, corpus: Corpus, trained: Interactions) -> tuple[TwoTowerModel, ItemIndex]:
    """Popularity from these events in place of towers, and the index of it."""
    popularity = torch.from_numpy(trained.item_counts).float().log1p()[:, None]
    net = popularity_network(popularity).to(towers.device).eval()
    net.cold_scale.copy_(towers.net.cold_scale)
    counted = replace(towers, net=net, tables=None)
    index = ItemIndex.build(counted.vectors, corpus.index.spec, device=towers.device)
    return counted, replace(index, alive=corpus.index.alive, stale=corpus.index.stale, measured=corpus.index.measured)


def _told(bundle: Bundle, before: dict[str, object], gone: int) -> dict[str, object]:
    """What the manifest tells of the data: of the users who are left, and how many are in the weights alone."""
    names = () if bundle.histories.events is None else bundle.event_names
    log = Interactions(bundle.users, bundle.items, bundle.histories, event_names=names, ordered=bundle.ordered)
    already = before.get(SINCE_TRAINING, 0)
    return before | {
        "fingerprint": log.fingerprint,
        "interactions": len(log),
        "users": len(log.users),
        SINCE_TRAINING: (already if isinstance(already, int) else 0) + gone,
    }
