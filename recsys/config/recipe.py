"""The tables of a recipe: every option of a training, by the name of its table in a TOML file."""

from __future__ import annotations

from typing import Final

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.privacy import PrivacyOptions
from recsys.config.training import Objective, Training

TABLES: Final[dict[str, type]] = {
    "model": ModelConfig,
    "objective": Objective,
    "augment": Augment,
    "training": Training,
    "privacy": PrivacyOptions,
}
"""A recipe's tables, and the options that each one sets."""
