"""The result of a search: its trials as a table, importances, and the best options as a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from recsys.core.text_table import as_text
from recsys.tuning.space import Options, Space, recipe_text

REASON = "reason"
"""Attribute of a trial: why it did not run to its end."""
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
FEWEST = 4
"""Complete trials that importances need at least."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a search has found so far.

    Attributes
    ----------
    name : str
        Of the study.
    monitor : str
        The validation figure that was maximised, such as ``"ndcg@10"``.
    trials : DataFrame
        A row per trial: ``number``, ``state`` (complete, pruned, failed or interrupted), ``value`` (the best epoch's
        figure), ``best_epoch``, ``seconds``, one column per searched ``table.key``, ``reason``.
    best_number : int
        The complete trial with the highest value; the first of equal ones.
    best : dict of dict
        Its options by table, fixed ones included: a recipe.
    importances : dict
        ``table.key`` → share of the variance of ``value`` that it explains (fANOVA), the largest first; empty if there
        are too few complete trials.
    space : Space
    storage : Path
    """

    name: str
    monitor: str
    trials: pl.DataFrame
    best_number: int
    best: Options
    importances: dict[str, float]
    space: Space
    storage: Path

    @property
    def best_row(self) -> dict[str, Any]:
        """The best trial's row of ``trials``."""
        return self.trials.row(by_predicate=pl.col("number") == self.best_number, named=True)


def trial_table(trials: Sequence[FrozenTrial], names: Sequence[str], interrupted: Sequence[int]) -> pl.DataFrame:
    """A row per ended trial, as :class:`Tuning` describes them.

    Parameters
    ----------
    trials : sequence of FrozenTrial
    names : sequence of str
        The searched ``table.key``.
    interrupted : sequence of int
        Numbers of the trials that were stopped from outside.

    Returns
    -------
    DataFrame
        A value of None is written ``"none"``, as recipes do.
    """
    ended = [one for one in trials if one.state in _STATES]
    bests = [max(one.intermediate_values, key=one.intermediate_values.__getitem__, default=None) for one in ended]
    cut = set(interrupted)
    return pl.DataFrame(
        [
            pl.Series("number", [one.number for one in ended], dtype=pl.Int64),
            pl.Series(
                "state", ["interrupted" if one.number in cut else _STATES[one.state] for one in ended], dtype=pl.String
            ),
            pl.Series(
                "value",
                [None if best is None else one.intermediate_values[best] for one, best in zip(ended, bests, strict=True)],
                dtype=pl.Float64,
            ),
            pl.Series("best_epoch", bests, dtype=pl.Int64),
            pl.Series(
                "seconds", [one.duration.total_seconds() if one.duration else None for one in ended], dtype=pl.Float64
            ),
            *(_column(name, ended) for name in names),
            pl.Series(REASON, [one.user_attrs.get(REASON) for one in ended], dtype=pl.String),
        ]
    )


def _column(name: str, trials: Sequence[FrozenTrial]) -> pl.Series:
    values = [one.params.get(name) if one.params.get(name, "") is not None else "none" for one in trials]
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(name, values, dtype=pl.Null if not kinds else None)


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of the variance of the complete trials' values that each option explains on its own, the largest first.

    By functional ANOVA over a random forest (Hutter et al., ICML 2014). Empty for fewer than four complete trials, or
    if all their values are equal.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST or len({one.value for one in complete}) < 2:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def table_text(tuning: Tuning) -> str:
    """The trials for a terminal, the best one marked; below them why some did not run to their end."""
    cut = tuning.trials.filter(pl.col(REASON).is_not_null())
    why = cut.group_by("state", REASON, maintain_order=True).len()
    shown = tuning.trials.drop(REASON).with_columns(
        pl.when(pl.col("number") == tuning.best_number).then(pl.lit("best")).otherwise(pl.col("state")).alias("state"),
        pl.col("value").map_elements("{:.4f}".format, return_dtype=pl.String),
        pl.col("best_epoch").cast(pl.String),
        pl.col("seconds").map_elements("{:.1f}".format, return_dtype=pl.String),
        *(_digits(name) for name in tuning.space.searched if tuning.trials[name].dtype == pl.Float64),
    )
    reasons = [f"{count} {state}: {reason}" for state, reason, count in why.iter_rows()]
    return "\n".join([as_text(shown.with_columns(pl.col(pl.String).fill_null(""))), *reasons])


def _digits(name: str) -> pl.Expr:
    return pl.col(name).map_elements("{:.4g}".format, return_dtype=pl.String)


def best_text(tuning: Tuning) -> str:
    """The best options as a recipe, with a comment on the trial that they come from."""
    best = tuning.best_row
    origin = f"Best of {tuning.trials.height} trials: {tuning.monitor} {best['value']:.4f} on validation"
    found = tuning.best | {"training": tuning.best.get("training", {}) | {"adapt": "off"}}  # a search leaves nothing open
    return recipe_text(found, f"{origin}, epoch {best['best_epoch']} (trial {best['number']}).")
