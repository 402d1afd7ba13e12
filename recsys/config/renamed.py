"""Old names of options, and what they are called now: an error about an old name gives the new one."""

from __future__ import annotations

from collections.abc import Container
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

_OF_TRAINING: Final = ("ema_decay", "max_grad_norm", "encoder_learning_rate")
"""New names of those that belong to a training; the others belong to a model."""

FLAGS: Final = {
    **{f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in RENAMED.items()},
    "--no-words": "--word-features off",
    "--allow": "--eligible",
    "--allow-file": "--eligible-file",
}
"""Flags of the command line."""


def now_called(name: str, known: Container[str]) -> str | None:
    """The end of an error about an old name, such as ``"it is now called 'ensemble_size'"``; None for other names.

    Parameters
    ----------
    name : str
    known : container of str
        The options where the name was given; the error says where a new name that is not among them belongs.
    """
    if name not in RENAMED:
        return None
    new = RENAMED[name]
    place = "Training ([training] in a recipe)" if new in _OF_TRAINING else "ModelConfig ([model] in a recipe)"
    return f"it is now called {new!r}" + ("" if new in known else f" and belongs to {place}")
