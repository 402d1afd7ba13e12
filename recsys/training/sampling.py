"""Candidates that the positions of a batch share, with the log of each one's probability of being there."""

from __future__ import annotations

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from recsys.config.training import SamplerName
from recsys.errors import ConfigError
from recsys.training.proposals import PopularityProposal, Proposal, UniformProposal, checked_counts


class Candidates(NamedTuple):
    """Items that the positions of a batch are compared with.

    Attributes
    ----------
    rows : int64 (M,)
        Distinct item rows, ascending; every target is among them.
    targets : int64 (N,)
        Index of each target among the rows.
    log_q : float32 (M,)
        Log of each row's probability of being in the sample.
    """

    rows: Tensor
    targets: Tensor
    log_q: Tensor


class MixedSampler:
    """Candidates of a batch: its own targets together with a sample of the catalogue.

    Item j is a candidate with probability ``q_j = 1 − (1 − d_j)(1 − b_j)``: it is sampled with probability d_j, or is the
    target of at least one of the batch's positions with ``b_j = 1 − (1 − f_j)^N``, where f_j is its share of all training
    targets and N the number of positions in the batch, taken as independent.

    Parameters
    ----------
    counts : (n_items,)
        How often each item is a target in training.
    proposal : Proposal or None
        What is sampled besides the targets; None: nothing.
    targets_are_negatives : bool
        False: an item that is there as a target only is not a negative of the other positions; its ``log_q`` is infinite.

    Raises
    ------
    ConfigError
        Counts are negative, not finite, or all 0.

    Examples
    --------
    >>> sampler = make_sampler("mixed", torch.tensor([3, 1, 1, 1]), negatives=2)
    >>> candidates = sampler.draw(torch.tensor([3, 0]), torch.Generator().manual_seed(0))
    >>> candidates.rows[candidates.targets]
    tensor([3, 0])
    """

    def __init__(self, counts: Tensor, proposal: Proposal | None, *, targets_are_negatives: bool = True) -> None:
        counts = checked_counts(counts)
        self.proposal = proposal
        self.targets_are_negatives = targets_are_negatives
        self._log_other = torch.log1p(-counts / counts.sum()).float()  # log (1 − f_j)

    def log_q(self, candidates: Tensor, positions: int) -> Tensor:
        """float32 (M,): log q_j of each candidate for a batch of ``positions`` targets; −inf where it cannot be one."""
        absent = torch.zeros(len(candidates), device=candidates.device)
        if self.targets_are_negatives:
            self._log_other = self._log_other.to(candidates.device)
            absent = positions * self._log_other[candidates]
        if self.proposal is not None:
            absent = absent + self.proposal.log_not_sampled(candidates)
        return torch.log(-torch.expm1(absent))

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
            A target has a count of 0 and is never sampled, so these counts say that the batch cannot hold it.
        """
        drawn = targets[:0] if self.proposal is None else self.proposal.sample(generator).to(targets.device)
        rows = torch.unique(torch.cat([targets, drawn]))
        log_q = self.log_q(rows, len(targets))
        if not self.targets_are_negatives:
            log_q[~torch.isin(rows, drawn)] = torch.inf
        impossible = rows[log_q == -torch.inf]
        if len(impossible):
            raise ConfigError(
                f"item row {int(impossible[0])} is a target but its count is 0; pass the counts of all training targets"
            )
        return Candidates(rows, torch.searchsorted(rows, targets), log_q)


def make_sampler(name: SamplerName, counts: Tensor, negatives: int, *, power: float = 0.75) -> MixedSampler:
    """Make the sampler of a name; each joins what it samples with the batch's own targets.

    ========== ============================== =====================================================================
    name       samples besides the targets    ``log_q`` is the log of the probability of being
    ========== ============================== =====================================================================
    mixed      ``negatives`` rows evenly      sampled or a target: no bias towards or against popular items
    uniform    the same                       sampled, −log(n_items / negatives) for all; infinite for a target that was
                                              not sampled, which is then not a negative of the other positions
    in-batch   nothing                        a target (Yi et al., RecSys 2019). Items that are never a target are never
                                              a negative
    popularity about ``negatives`` rows in    sampled or a target: as mixed, with more of the items that score high,
               proportion to count ** power   where the mass is. Items that are never a target are never a negative
                                              (unless power is 0)
    ========== ============================== =====================================================================

    Parameters
    ----------
    name : str
    counts : (n_items,)
        How often each item is a target in training.
    negatives : int
        Size of the sample; in-batch ignores it.
    power : float
        Exponent of popularity: 1 samples in proportion to counts, 0 evenly (word2vec takes 0.75).

    Returns
    -------
    MixedSampler

    Raises
    ------
    ConfigError
        The name is unknown, ``negatives`` below 1, ``power`` below 0, or the counts are not counts.
    """
    if name == "mixed":
        return MixedSampler(counts, UniformProposal(len(counts), negatives))
    if name == "uniform":
        return MixedSampler(counts, UniformProposal(len(counts), negatives), targets_are_negatives=False)
    if name == "in-batch":
        return MixedSampler(counts, None)
    if name == "popularity":
        return MixedSampler(counts, PopularityProposal(counts, negatives, power))
    raise ConfigError(f"sampler {name!r} is unknown; use one of {', '.join(get_args(SamplerName))}")


def history_pairs(candidates: Tensor, inputs: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Find the candidates that are in the window of a position, so they are not true negatives of it.

    All inputs of the window count, those after the position too. A target that is among them is listed like any other;
    ``softmax_loss`` never masks it.

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
    position, candidate : int64 (P,)
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
