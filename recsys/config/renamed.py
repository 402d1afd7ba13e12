"""Old names of options, and what they are called now: whoever gives an old one is told the new one."""

from __future__ import annotations

from typing import Final

RENAMED: Final = {
    "average": "ema_decay",
    "clip_norm": "max_grad_norm",
    "depth_dropout": "stochastic_depth",
    "encoder_rate": "encoder_learning_rate",
    "live_texts": "texts_per_step",
    "members": "ensemble_size",
    "trained_layers": "trainable_layers",
    "words": "word_features",
}
"""Options of a model or a training."""

FLAGS: Final = {
    **{f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in RENAMED.items()},
    "--no-words": "--word-features off",
    "--allow": "--eligible",
    "--allow-file": "--eligible-file",
}
"""Flags of the command line."""


def now_called(name: str) -> str | None:
    """The end of an error about an old name, such as ``"it is now called 'ensemble_size'"``; None for other names."""
    return f"it is now called {RENAMED[name]!r}" if name in RENAMED else None
