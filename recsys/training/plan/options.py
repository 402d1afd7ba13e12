"""The options that a plan decides, and which of them were left open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.errors import ConfigError

DECIDED: Final[dict[str, tuple[str, ...]]] = {
    "model": (
        "dim", "ensemble_size", "blocks", "heads", "max_length", "dropout", "use_ids", "score", "temperature",
        "filter_length",
    ),
    "objective": ("loss", "sampler", "negatives", "log_q"),
    "training": ("epochs", "batch_tokens", "learning_rate", "validate_every", "patience"),
}  # fmt: skip
"""By table of a recipe, the options that a plan may set."""


@dataclass(frozen=True)
class Options:
    """The options of a training by table of a recipe."""

    model: ModelConfig
    objective: Objective
    training: Training

    def get(self, name: str) -> Any:
        """The value of an option such as ``"model.dim"``."""
        table, _, option = name.partition(".")
        return getattr(getattr(self, table), option)

    def changed(self, values: dict[str, Any]) -> Options:
        """With other values, by name such as ``"model.dim"``; what they do not fit together with is refused."""
        tables: dict[str, dict[str, Any]] = {table: {} for table in DECIDED}
        for name, value in values.items():
            table, _, option = name.partition(".")
            tables[table][option] = value
        return Options(
            replace(self.model, **tables["model"]),
            replace(self.objective, **tables["objective"]),
            replace(self.training, **tables["training"]),
        )


def open_options(asked: Options) -> frozenset[str]:
    """The options that a plan may set: those at their defaults; none if ``adapt`` says so.

    With ``adapt="auto"`` there is a plan only if no option of :data:`DECIDED` was set: whoever sets one wants that model.
    """
    usual = Options(ModelConfig(), Objective(), Training())
    names = [f"{table}.{option}" for table, options in DECIDED.items() for option in options]
    unset = frozenset(name for name in names if asked.get(name) == usual.get(name))
    if asked.training.adapt == "off" or (asked.training.adapt == "auto" and len(unset) < len(names)):
        if asked.training.minutes:
            set_ = ", ".join(sorted(set(names) - unset)) or "adapt='off'"
            raise ConfigError(
                f"minutes={asked.training.minutes:g} is a budget for what recsys decides from the log, and with {set_} it "
                "decides nothing; leave minutes (--minutes) out, or add adapt='on' (--adapt on) to have the rest decided"
            )
        return frozenset()
    return unset
