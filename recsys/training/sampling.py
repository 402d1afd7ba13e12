"""Shared negatives for a batch, with the log-probability of each candidate being there."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args

import torch
from torch import Tensor

from recsys.errors import ConfigError
from recsys.training.proposals import PopularityProposal, Proposal, UniformProposal, checked_counts

SamplerKind: TypeAlias = Literal["uniform", "in-batch", "mixed", "popularity"]


class Candidates(NamedTuple):
    """What the positions of a batch are contrasted with.

    Attributes
    ----------
    rows : int64 (M,)
        Distinct item rows, ascending; every target is among them.
    places : int64 (N,)
        Index of each target among the rows.
    log_q : float32 (M,)
        Log of each row's probability of being in the sample.
    """

    rows: Tensor
    places: Tensor
    log_q: Tensor


class Sampler(Protocol):
    """Anything that finds candidates for a batch."""

    def draw(self, targets: Tensor, generator: torch.Generator) -> Candidates:
        """Candidates for a batch whose targets are int64 (N,); the generator is on the CPU."""
        ...


class MixedDrawSampler:
    """Candidates of a batch: all its own targets together with a draw from the catalogue.

    Item j is a candidate with probability ``q_j = 1 − (1 − d_j)(1 − b_j)``: it is in the draw with probability d_j, or is
    the target of at least one of the batch's positions with ``b_j = 1 − (1 − f_j)^N``, where f_j is its share of all
    training targets and N the positions of the batch, taken as independent.

    Parameters
    ----------
    counts : (n_items,)
        How often each item is a target in training.
    extra : Proposal or None
        What is drawn beside the targets; None: nothing.
    count_batch : bool
        False: what is there as a target alone is no negative of the other positions; its ``log_q`` is infinite.

    Raises
    ------
    ConfigError
        Counts are negative, not finite, or all 0.
    """

    def __init__(self, counts: Tensor, extra: Proposal | None, *, count_batch: bool = True) -> None:
        counts = checked_counts(counts)
        self.extra = extra
        self.count_batch = count_batch
        self._log_other = torch.log1p(-counts / counts.sum()).float()  # log (1 − f_j)

    def log_q(self, candidates: Tensor, positions: int) -> Tensor:
        """float32 (M,): log q_j of each candidate for a batch of ``positions`` targets; −inf for what cannot be one."""
        missed = torch.zeros(len(candidates), device=candidates.device)
        if self.count_batch:
            self._log_other = self._log_other.to(candidates.device)
            missed = positions * self._log_other[candidates]
        if self.extra is not None:
            missed = missed + self.extra.log_missed(candidates)
        return torch.log(-torch.expm1(missed))

    def draw(self, targets: Tensor, generator: torch.Generator) -> Candidates:
        """Candidates for a batch.

        Parameters
        ----------
        targets : int64 (N,)
        generator : torch Generator
            On the CPU.

        Returns
        -------
        Candidates

        Raises
        ------
        ConfigError
            A target has a count of 0 and is in no draw, so that the batch cannot hold it by these counts.
        """
        drawn = targets[:0] if self.extra is None else self.extra.rows(generator).to(targets.device)
        rows = torch.unique(torch.cat([targets, drawn]))
        log_q = self.log_q(rows, len(targets))
        if not self.count_batch:
            log_q[~torch.isin(rows, drawn)] = torch.inf
        impossible = rows[log_q == -torch.inf]
        if len(impossible):
            raise ConfigError(
                f"item row {int(impossible[0])} is a target but its count is 0; pass the counts of all training targets"
            )
        return Candidates(rows, torch.searchsorted(rows, targets), log_q)


class MixedSampler(MixedDrawSampler):
    """The batch's own targets together with ``negatives`` rows drawn evenly, at most all of them.

    Parameters
    ----------
    counts : (n_items,)
        How often each item is a target in training.
    negatives : int

    Raises
    ------
    ConfigError
        ``negatives`` is below 1, or the counts are not counts.
    """

    def __init__(self, counts: Tensor, negatives: int) -> None:
        super().__init__(counts, UniformProposal(len(counts), negatives))


def make_sampler(kind: SamplerKind, counts: Tensor, negatives: int, *, power: float = 0.75) -> MixedDrawSampler:
    """Sampler of a kind; all unite what they draw with the batch's own targets.

    ========== ============================== =====================================================================
    kind       drawn beside the targets       ``log_q`` is the log probability of being
    ========== ============================== =====================================================================
    mixed      ``negatives`` rows evenly      drawn or a target: no bias towards or against popular items
    uniform    the same                       drawn, −log(n_items / negatives) for all; infinite for a target that was
                                              not drawn, which is then no negative of the other positions
    in-batch   nothing                        a target (Yi et al., RecSys 2019). Items never a target are never
                                              contrasted
    popularity about ``negatives`` rows in    drawn or a target: as mixed, with more of the items that score high, where
               proportion to count ** power   the mass is. Items never a target are never contrasted (unless power is 0)
    ========== ============================== =====================================================================

    Parameters
    ----------
    kind : str
    counts : (n_items,)
        How often each item is a target in training.
    negatives : int
        Size of the draw; without effect for in-batch.
    power : float
        Of popularity; 1 is in proportion, 0 is even (word2vec's is 0.75).

    Returns
    -------
    MixedDrawSampler

    Raises
    ------
    ConfigError
        The kind is unknown, ``negatives`` below 1, ``power`` below 0, or the counts are not counts.
    """
    if kind == "mixed":
        return MixedSampler(counts, negatives)
    if kind == "uniform":
        return MixedDrawSampler(counts, UniformProposal(len(counts), negatives), count_batch=False)
    if kind == "in-batch":
        return MixedDrawSampler(counts, None)
    if kind == "popularity":
        return MixedDrawSampler(counts, PopularityProposal(counts, negatives, power))
    raise ConfigError(f"sampler {kind!r} is unknown; use one of {', '.join(get_args(SamplerKind))}")


def history_pairs(candidates: Tensor, inputs: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Which candidates are no true negatives of which position, for being among the inputs of its window.

    All inputs of the window count, also those after the position. A target that is among them is listed like any other;
    ``softmax_loss`` never hides it.

    Parameters
    ----------
    candidates : int64 (M,)
        Distinct item rows, ascending.
    inputs : int64 (B, T)
        Item rows of each window in time order, padded on the right.
    positions : int64 (N,)
        Where the predicted positions lie in the flattened (B · T) inputs. A window reaches to its last predicted
        position; what follows is padding.

    Returns
    -------
    position, place : int64 (P,)
        Index into ``positions``, ascending, and index into ``candidates``, ascending within a position; no pair twice.
        P is at most N · T.
    """
    windows, length = inputs.shape
    window = positions // length  # (N,)
    ends = torch.full((windows,), -1, device=inputs.device)
    ends.scatter_reduce_(0, window, positions % length, "amax")
    real = torch.arange(length, device=inputs.device) <= ends[:, None]  # (B, T)
    items, owner = inputs[real], real.nonzero()[:, 0]
    place = torch.searchsorted(candidates, items).clamp(max=len(candidates) - 1)
    there = candidates[place] == items
    distinct = torch.unique(owner[there] * len(candidates) + place[there])  # by window, then by place
    counts = torch.bincount(distinct // len(candidates), minlength=windows)  # (B,)
    sizes = counts[window]
    position = torch.repeat_interleave(torch.arange(len(positions), device=inputs.device), sizes)
    shift = (counts.cumsum(0) - counts)[window] - (sizes.cumsum(0) - sizes)
    taken = torch.arange(len(position), device=inputs.device) + shift[position]
    return position, distinct[taken] % len(candidates)
