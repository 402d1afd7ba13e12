"""Search for the options with the best validation result: Optuna proposes, prunes and stores trials."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from recsys.core.progress import log
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, RecsysError
from recsys.tuning.fingerprints import fingerprints
from recsys.tuning.space import Choice, Range, Space
from recsys.tuning.study import alone, check_same_search, open_study, quiet
from recsys.tuning.trials import REASON, Tuning, importances, trial_table

if TYPE_CHECKING:
    from recsys.training.logs import TrainingLog

_INTERRUPTED = "interrupted"
"""Attribute of a study: the trials that a killed or stopped process left behind."""
_FIRST = 3
"""Trials that may fail before any has succeeded."""
_UNPRUNED_TRIALS = 5
"""Trials that run to their end before any trial is compared with their median."""
_UNPRUNED_EPOCHS = 0.2
"""Share of a trial's epochs before which it is not stopped."""


class Fit(Protocol):
    """Trains one model."""

    def __call__(
        self,
        configs: dict[str, Any],
        *,
        train: Interactions,
        catalog: Catalog | None,
        validation: Holdout,
        users: UserTable | None,
        on_epoch: Callable[[dict[str, float]], None],
    ) -> TrainingLog:
        """Train with the options in ``configs`` (table → dataclass), calling ``on_epoch`` after each epoch."""
        ...


def tune(
    train: Interactions,
    catalog: Catalog | None,
    validation: Holdout,
    space: Space,
    *,
    fit: Fit,
    users: UserTable | None = None,
    trials: int,
    storage: Path,
    name: str = "tune",
    seed: int = 0,
    minutes: float | None = None,
) -> Tuning:
    """Search a space for the options with the highest ``training.monitor`` on validation.

    Multivariate TPE (Bergstra et al., NeurIPS 2011; Falkner et al., ICML 2018) proposes; a trial whose best epoch so far
    lies below the median of the others at that epoch is stopped (Golovin et al., KDD 2017). What trial n tries depends
    only on ``seed``, n and the trials before it, so that an interrupted search, called again with the same storage and
    name, continues as if it had not been interrupted.

    Parameters
    ----------
    train, catalog, validation, users
        As :meth:`recsys.TwoTower.fit` takes them.
    space : Space
        Its tables: ``model``, ``training`` and what else ``fit`` takes.
    fit : callable
        Trains one model, such as :func:`recsys.pipeline.fit_trial`; see :class:`Fit`.
    trials : int
        Number of trials of the study, including those of earlier calls, without interrupted ones.
    storage : Path
        SQLite file of the study, made if it does not exist. One process at a time.
    name : str
        Of the study; a file can hold several.
    seed : int
        Of the proposals; that of the fits is ``training.seed``.
    minutes : float, optional
        After this time no further trial begins; the running trial is finished.

    Returns
    -------
    Tuning

    Raises
    ------
    ConfigError
        An argument is impossible, the study is of another space or other data, or another process is using it.
    RecsysError
        The first three trials failed, or no trial was completed.
    KeyboardInterrupt
        Passed on; finished trials are kept, and the next call tries the interrupted trial again.
    """
    check_budget(trials, seed, minutes)
    if lacking := {"model", "training"} - space.tables.keys():
        raise ConfigError(f"the space has no table {' and no '.join(sorted(lacking))}")
    if space.fixed["training"].get("devices", 1) != 1 or "training.devices" in space.searched:
        raise ConfigError("a search runs on one device: leave training.devices at 1")
    if "training.keep_seen" in space.searched:
        raise ConfigError("keep_seen changes what the figures mean, not how good a model is: fix it under [training]")
    data = fingerprints(train, catalog, validation, users)
    inputs = {"train": train, "catalog": catalog, "validation": validation, "users": users}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS)
    with quiet(), alone(storage), open_study(storage, name, pruner) as study:
        check_same_search(study, storage, {"space": space.facts()} | data)
        for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            _put_back(study, one.number, one.params)  # the lock is ours, so the process that ran it has ended
        started = time.monotonic()
        while (done := len(counted(study))) < trials and (minutes is None or time.monotonic() - started < 60 * minutes):
            study.sampler = optuna.samplers.TPESampler(seed=_seed(seed, done), multivariate=True)
            error = _run(study, fit, inputs, space, f"trial {done + 1}/{trials}")
            if error is not None:
                _stop_if_hopeless(study, error)
            del error  # its traceback holds the network, and so does a reference cycle in the trainer
            gc.collect()
        if done < trials:
            log(f"{minutes:g} minutes are over after {done} of {trials} trials; call again to continue")
        return _result(study, space, name, storage)


def check_budget(trials: int, seed: int, minutes: float | None) -> None:
    """Refuse a search without a trial or without time, and a negative seed.

    Raises
    ------
    ConfigError
        An argument is impossible.
    """
    if trials < 1:
        raise ConfigError(f"trials must be at least 1, not {trials} (--trials)")
    if seed < 0:
        raise ConfigError(f"seed must be at least 0, not {seed} (--seed)")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes must be above 0, not {minutes} (--minutes)")


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that are complete, pruned or failed, but not interrupted."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [one for one in ended if one.number not in study.user_attrs.get(_INTERRUPTED, [])]


def _run(study: optuna.Study, fit: Fit, inputs: dict[str, Any], space: Space, what: str) -> Exception | None:
    """Run one trial; returns the error if it failed."""
    trial = study.ask({name: _distribution(domain) for name, domain in space.searched.items()})
    log(f"{what}: {', '.join(f'{key} {_short(value)}' for key, value in trial.params.items())}")
    try:
        configs = space.configs(trial.params)
    except ConfigError as error:
        trial.set_user_attr(REASON, str(error))
        study.tell(trial, state=TrialState.PRUNED)
        log(f"{what}: left out, {error}")
        return None
    try:
        record = _fit(trial, fit, configs, inputs)
    except optuna.TrialPruned as pruned:
        trial.set_user_attr(REASON, str(pruned))
        study.tell(trial, state=TrialState.PRUNED)
        log(f"{what}: stopped, {pruned}")
        return None
    except KeyboardInterrupt:
        _put_back(study, trial.number, trial.params)
        log(f"{what}: interrupted; {len(counted(study))} trials are kept, call again to continue")
        raise
    except Exception as error:
        trial.set_user_attr(REASON, f"{type(error).__name__}: {error}" if _is_bug(error) else str(error))
        study.tell(trial, state=TrialState.FAIL)
        if _is_bug(error):
            raise
        log(f"{what}: failed, {error}")
        return error
    monitor = configs["training"].monitor
    value = max(row[f"val_{monitor}"] for row in record.epochs if f"val_{monitor}" in row)
    study.tell(trial, value)
    log(f"{what}: {monitor} {value:.4f} at epoch {record.best_epoch}, best so far {study.best_value:.4f}")
    return None


def _fit(trial: optuna.Trial, fit: Fit, configs: dict[str, Any], inputs: dict[str, Any]) -> TrainingLog:
    training = configs["training"]
    first = math.ceil(_UNPRUNED_EPOCHS * training.epochs)

    def on_epoch(row: dict[str, float]) -> None:
        if (value := row.get(f"val_{training.monitor}")) is None:
            return
        epoch = int(row["epoch"])
        trial.report(value, epoch)
        if first <= epoch < training.epochs and trial.should_prune():
            raise optuna.TrialPruned(f"below the median of the others at epoch {epoch}")

    return fit(configs, **inputs, on_epoch=on_epoch)


def _is_bug(error: Exception) -> bool:
    """Whether the error is neither a lack of memory nor one that another configuration may avoid."""
    import torch  # noqa: PLC0415 - fit has loaded it

    return not isinstance(error, RecsysError | MemoryError | torch.OutOfMemoryError)


def _stop_if_hopeless(study: optuna.Study, error: Exception) -> None:
    ended = counted(study)
    if len(ended) >= _FIRST and all(one.state == TrialState.FAIL for one in ended):
        raise RecsysError(f"the first {len(ended)} trials all failed, the last one with: {error}") from error


def _put_back(study: optuna.Study, number: int, params: dict[str, Any]) -> None:
    """Mark a trial that was running as failed, and have it tried again."""
    study.set_user_attr(_INTERRUPTED, sorted({*study.user_attrs.get(_INTERRUPTED, []), number}))
    study.tell(number, state=TrialState.FAIL)
    if params:
        study.enqueue_trial(params)


def _result(study: optuna.Study, space: Space, name: str, storage: Path) -> Tuning:
    trials = study.get_trials(deepcopy=False)
    table = trial_table(trials, list(space.searched), study.user_attrs.get(_INTERRUPTED, []))
    complete = table.filter(pl.col("state") == "complete")
    if complete.is_empty():
        reason = table["reason"].drop_nulls().tail(1).to_list()
        why = f"; the last one: {reason[0]}" if reason else ""
        raise RecsysError(f"none of the {table.height} trials in {storage} was completed{why}")
    best = complete.sort(["value", "number"], descending=[True, False]).row(0, named=True)["number"]
    return Tuning(
        name=name,
        monitor=space.configs(trials[best].params)["training"].monitor,
        trials=table,
        best_number=best,
        best=space.options(trials[best].params),
        importances=importances(study),
        space=space,
        storage=storage,
    )


def _distribution(domain: Choice | Range) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain.low, int) and isinstance(domain.high, int):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _seed(seed: int, number: int) -> int:
    """A different seed for each trial, so that a resumed search does not repeat its random numbers."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
