"""Membership inference: how well somebody who sees a model can tell whose histories it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import rankdata

from recsys.core.ragged import Bool, Float32, Ragged, ragged_positions
from recsys.errors import ConfigError, DataError
from recsys.models.networks.context import Padding, collate
from recsys.models.towers import TwoTowerModel
from recsys.transitions.memory import TransitionMemory

_LOGITS = 8_000_000
"""Scores held at once."""
_SAMPLES: Final = 1000
_NEWEST: Final = 20
_FAINT: Final = 1e-6
_FALSE: Final = 0.01

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """How an attack did.

    Attributes
    ----------
    name : str
    auc : float
        Probability that a member is taken for one before a stranger is; 0.5: the attack knows nothing.
    low, high : float
        Its 95 % bootstrap interval over users.
    caught : float
        Share of the members who are found at the threshold that takes 1 % of the strangers for members.
    members, others : int
    """

    name: str
    auc: float
    low: float
    high: float
    caught: float
    members: int
    others: int

    def __str__(self) -> str:
        return (
            f"{self.name}: AUC {self.auc:.3f} ({self.low:.3f} to {self.high:.3f}), {self.caught:.1%} of the members found "
            f"at 1 % false alarms; {self.members:,} members, {self.others:,} others"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


@torch.inference_mode()
def user_losses(towers: TwoTowerModel, histories: Ragged) -> Losses:
    """The loss of each user under a model: what the simplest attack looks at.

    Parameters
    ----------
    towers : TwoTowerModel
    histories : Ragged (n)
        In the towers' item rows, at least two events each; the newest ``max_length + 1`` are read.

    Returns
    -------
    float64 (n,)
        Mean over positions of the full softmax's loss of the next item, in nats.

    Raises
    ------
    DataError
        A history has fewer than two events.
    """
    _check_next(histories)
    net, device = towers.net.eval(), towers.device
    table = towers.table  # (n_items, D)
    vectors = net.by_member(table.float())
    window = histories.tail(net.users.max_length + 1)
    order = np.argsort(-window.lengths, kind="stable")
    found = np.empty(len(window), dtype=np.float64)
    first = 0
    while first < len(order):
        step = max(1, _LOGITS // (int(window.lengths[order[first]]) * len(table)))
        chosen = order[first : first + step]
        some = window.take(chosen)
        lengths = some.lengths - 1
        padding = Padding.of(lengths)
        ends = np.zeros(len(some.rows), dtype=np.bool_)
        ends[some.offsets[1:] - 1] = True
        begins = np.roll(ends, 1)
        read, predicted = some.rows[~ends], torch.from_numpy(some.rows[~begins].astype(np.int64)).to(device)
        times = None if some.times is None else some.times
        events = None if some.events is None else some.events
        context = collate(
            padding,
            times=None if times is None else times[~ends],
            request=None if times is None else times[~begins],
            events=None if events is None else events[~ends],
        ).to(device)
        states = net.users(F.embedding(padding.pad(read).to(device), table), context)  # (B, T, D)
        places = torch.from_numpy(padding.positions).to(device)
        queries = net.by_member(states.flatten(0, 1)[places].float())
        each = [
            F.cross_entropy(net.scale() * query @ items.T, predicted, reduction="none")
            for query, items in zip(queries, vectors, strict=True)
        ]
        values = torch.stack(each).mean(0).double().cpu().numpy()
        found[chosen] = np.add.reduceat(values, np.r_[0, np.cumsum(lengths)[:-1]]) / lengths
        first += step
    return found


def _check_next(histories: Ragged) -> None:
    if (histories.lengths < 2).any():
        raise DataError("a history of fewer than two events has no next item, and so no loss; leave such users out")


def table_losses(memory: TransitionMemory | None, popularity: Float32, histories: Ragged) -> Losses:
    """What the losses of a fast model would be, if its scores were odds: low where its table leads on as the user went.

    Parameters
    ----------
    memory : TransitionMemory or None
    popularity : float32 (n_items, 1)
        Beneath it.
    histories : Ragged (n)
        In the model's item rows, at least two events each; the newest 21 are read.

    Returns
    -------
    float64 (n,)
        Mean over positions of ``−log(score + 10⁻⁶ (1 + popularity))`` of the next item.

    Raises
    ------
    DataError
        A history has fewer than two events.
    """
    _check_next(histories)
    window = histories.without_events().tail(_NEWEST + 1)
    owners = window.list_index()
    place = np.arange(len(window.rows)) - window.offsets[owners]
    asked = np.flatnonzero(place > 0)
    begins, lengths = window.offsets[owners[asked]], place[asked]
    past = Ragged.from_lengths(lengths, window.rows[ragged_positions(begins, lengths)])
    scores = _FAINT * (1.0 + popularity[window.rows[asked], 0].astype(np.float64))
    if memory is not None:
        scores += memory.pair_scores(past, np.arange(len(asked)), window.rows[asked])
    return np.bincount(owners[asked], weights=-np.log(scores), minlength=len(window)) / (window.lengths - 1)


def threshold_attack(losses: Losses, members: Bool, *, seed: int = 0) -> Attack:
    """Take whoever has a low loss for a member (Yeom et al., CSF 2018, arXiv 1709.01604).

    Parameters
    ----------
    losses : float64 (n,)
        Of each user under the model.
    members : bool (n,)
        Whether the model was trained on the user.
    seed : int
        Of the resamples.

    Examples
    --------
    >>> import numpy as np
    >>> threshold_attack(np.array([0.1, 0.2, 0.9, 0.8]), np.array([True, True, False, False])).auc
    1.0
    """
    return _attack("loss threshold", -_checked(losses, members), members, seed)


def shadow_attack(losses: Losses, members: Bool, shadows: Sequence[tuple[Losses, Bool]], *, seed: int = 0) -> Attack:
    """Compare each user's loss with those under models that were trained with and without the user.

    For each user the losses under the shadow models that had the user and those that had not are two normal distributions
    with means of their own and one spread each for all users, since there are few shadows (Carlini et al., "Membership
    inference attacks from first principles", S&P 2022, arXiv 2112.03570, online attack with pooled variances); the score
    is the logarithm of the ratio of their densities at the loss under the attacked model.

    Parameters
    ----------
    losses, members, seed
        As for :func:`threshold_attack`.
    shadows : sequence of (float64 (n,), bool (n,))
        Losses of the same users under each shadow model, and whether it was trained on them.

    Raises
    ------
    ConfigError
        Some user is in all of the shadow models or in none.
    """
    losses = _checked(losses, members)
    table, inside = np.stack([one for one, _ in shadows]), np.stack([one for _, one in shadows])  # each (S, n)
    if not (inside.any(0) & ~inside.all(0)).all():
        raise ConfigError("each user must be in one shadow model at least, and missing from another: train more, on halves")
    score = np.zeros(len(losses))
    for sign, mask in ((1.0, inside), (-1.0, ~inside)):
        count = mask.sum(0)
        mean = np.where(mask, table, 0.0).sum(0) / count
        spread = np.where(mask, table - mean, 0.0)
        freedom = max(1, int((count - 1).sum()))
        variance = max((spread**2).sum() / freedom, 1e-12)
        score += sign * (-0.5 * (losses - mean) ** 2 / variance - 0.5 * np.log(variance))
    return _attack("shadow models", score, members, seed)


def _checked(losses: Losses, members: Bool) -> Losses:
    if losses.shape != members.shape or losses.ndim != 1:
        raise ConfigError(f"losses of shape {losses.shape} do not fit members of shape {members.shape}")
    if not members.any() or members.all():
        raise ConfigError("an attack is judged on members and on others; there is only one kind here")
    return losses


def _attack(name: str, scores: Losses, members: Bool, seed: int) -> Attack:
    inside, outside = scores[members], scores[~members]
    generator = np.random.default_rng(seed)
    draws = [
        _auc(
            inside[generator.integers(0, len(inside), len(inside))],
            outside[generator.integers(0, len(outside), len(outside))],
        )
        for _ in range(_SAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    limit = np.quantile(outside, 1.0 - _FALSE, method="higher")
    return Attack(
        name=name,
        auc=_auc(inside, outside),
        low=float(low),
        high=float(high),
        caught=float((inside > limit).mean()),
        members=len(inside),
        others=len(outside),
    )


def _auc(inside: Losses, outside: Losses) -> float:
    """Mann and Whitney's statistic as a share: ties count half."""
    ranks = rankdata(np.concatenate([inside, outside]))
    n = len(inside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(outside)))
