"""How probable it is that an item is among a batch's targets, learnt from the batches themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.errors import ConfigError
from recsys.training.sampling import Candidates

_PRIME = 2**31 - 1


class StreamingFrequency(nn.Module):
    """Estimate of each item's probability of being in a batch, without counts and in fixed memory.

    Yi et al., RecSys 2019, algorithm 2: array A holds the step at which a bucket was last seen and B the running average
    of the gaps between its sightings; an item of average gap b is in a batch with probability 1/b. Items share buckets by
    chance; with several hash functions the longest of an item's average gaps is taken, as sharing only shortens gaps.
    One thing is added: a bucket's first ``1 / rate`` gaps are averaged evenly, so that B needs no guess to begin with.

    A torch module without parameters, so that its arrays move, save and load as plain tensors (``state_dict``).

    Parameters
    ----------
    rate : float
        In (0, 1]: how quickly the average follows, the paper's α.
    buckets : int
        Length of the arrays; a few times the number of items makes sharing rare.
    hashes : int
        Number of hash functions.
    seed : int
        Of the hash functions.

    Raises
    ------
    ConfigError
        ``rate`` is out of range, or there is no bucket or hash function.
    """

    step: Tensor
    last: Tensor
    gap: Tensor
    sightings: Tensor
    keys: Tensor

    def __init__(self, *, rate: float = 0.01, buckets: int = 1 << 20, hashes: int = 2, seed: int = 0) -> None:
        super().__init__()
        if not 0.0 < rate <= 1.0:
            raise ConfigError(f"rate must be above 0 and at most 1, not {rate}")
        if not 1 <= buckets < _PRIME or hashes < 1:
            raise ConfigError(f"at least one bucket and one hash function are needed, not {buckets} and {hashes}")
        self.rate = rate
        self.buckets = buckets
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros(hashes * buckets, dtype=torch.int64))  # A
        self.register_buffer("gap", torch.zeros(hashes * buckets))  # B
        self.register_buffer("sightings", torch.zeros(hashes * buckets, dtype=torch.int64))
        self.register_buffer("keys", torch.randint(1, _PRIME, (2, hashes, 1), generator=generator))

    def _places(self, rows: Tensor) -> Tensor:
        """int64 (hashes, M): each row's buckets (Carter & Wegman 1979), each hash function in a region of its own."""
        hashed = (self.keys[0] * rows + self.keys[1]) % _PRIME % self.buckets
        return hashed + self.buckets * torch.arange(len(hashed), device=rows.device)[:, None]

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take note of one batch: one step, in which each item counts once.

        Parameters
        ----------
        rows : int64 (N,)
            Item rows below 2³¹, in any order.
        """
        self.step += 1
        met = torch.unique(self._places(rows))
        sightings = self.sightings[met] + 1
        rate = (1.0 / sightings).clamp(min=self.rate)
        self.gap[met] += rate * ((self.step - self.last[met]) - self.gap[met])
        self.last[met] = self.step
        self.sightings[met] = sightings

    @torch.no_grad()
    def probability(self, rows: Tensor) -> Tensor:
        """float32 (M,): each row's probability of being in a batch; of one never met, as if it came next."""
        places = self._places(rows)
        gap = torch.where(self.sightings[places] > 0, self.gap[places], (self.step + 1).to(self.gap.dtype))
        return 1.0 / gap.amax(0)

    def log_q(self, rows: Tensor) -> Tensor:
        """float32 (M,): log of ``probability``."""
        return self.probability(rows).log()


class StreamedInBatch:
    """Candidates that are the batch's own targets, with ``log_q`` from the stream where counts are unknown.

    Parameters
    ----------
    frequency : StreamingFrequency
        Is brought up to date by every draw; save it with the model to go on with training.
    """

    def __init__(self, frequency: StreamingFrequency) -> None:
        self.frequency = frequency

    def draw(self, targets: Tensor, generator: torch.Generator | None = None) -> Candidates:
        """Candidates for a batch whose targets are int64 (N,); nothing is drawn by chance."""
        rows = torch.unique(targets)
        self.frequency.update(rows)
        return Candidates(rows, torch.searchsorted(rows, targets), self.frequency.log_q(rows))
