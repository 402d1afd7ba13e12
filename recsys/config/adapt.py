"""How to adapt a text encoder to the texts of a catalogue, and to a log."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Options of an adaptation: how long, on how much, and how fast.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.AdaptOptions(text_steps=200, masked=0.0).history_steps
    500
    """

    text_steps: int = 500
    """Steps on the texts of items; 0: none."""
    history_steps: int = 500
    """Steps on histories and the text that came next, where there is a log; 0: none."""
    batch: int = 32
    """Texts per step, or pairs of a history and what came next; each one is a negative of the others."""
    masked: float = 0.1
    """Weight of masked language modelling beside the contrastive loss of texts; 0 leaves it out and saves a third."""
    history: int = 3
    """Events of a history that are read, the newest first."""
    max_tokens: int = 64
    """Tokens at which texts and histories are cut while the encoder is adapted."""
    layers: int = 0
    """Number of topmost layers to train, 0 for all and the word embeddings with them."""
    rate: float = 2e-5
    """Peak learning rate."""
    scale: float = 20.0
    """Factor on cosines in the contrastive losses: the inverse of their temperature."""
    device: str = "auto"
    """Where to train: auto, cpu or cuda."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        settle(self)
        for name, least in (
            ("text_steps", 0), ("history_steps", 0), ("batch", 2), ("history", 1), ("max_tokens", 8), ("layers", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("rate", "scale"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if not self.masked >= 0.0:
            raise ConfigError(f"masked is a weight of 0 or more, not {self.masked}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
