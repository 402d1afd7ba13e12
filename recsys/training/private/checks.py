"""What a training with differential privacy cannot have, with the reason: whatever else would tell of somebody's events."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from recsys.config.privacy import PrivacyOptions
from recsys.config.training import Training
from recsys.core.progress import log as say
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.training.plan.options import Options

_NO_PART = (
    "batch_tokens",
    "max_grad_norm",
    "monitor",
    "validate_every",
    "validate_users",
    "cold_price",
    "minutes",
    "exposure_floors",
)
"""Options of training that say nothing to a private one."""
_LOSSES = {
    "bce": "its positives are judged against candidates that the batch's users share",
    "gbce": "its positives are judged against candidates that the batch's users share",
    "bpr": "its negatives are drawn from what the batch's users did",
    "mse": "ratings have a range that no norm of a gradient is known for, and its scale is learned from all of them",
}
_SAMPLERS = {
    "mixed": "its candidates are the targets of everybody in the batch, and its logQ counts them in the log",
    "in-batch": "its candidates are the targets of everybody in the batch, and its logQ counts them in the log",
    "popularity": "it draws by counts of the log, which are private",
}


def private_options(asked: Options, *, items: int, log: Interactions, users: UserTable | None) -> Options:
    """The options of a private training: nothing that is decided from the log, and no memory of it.

    Parameters
    ----------
    asked : Options
    items : int
        Candidates, of the catalogue.
    log : Interactions
    users : UserTable, optional

    Raises
    ------
    ConfigError
        Something is asked for whose dependence on one person is not bounded, or that is not built; the message says why.
    """
    model, objective, training = asked.model, asked.objective, asked.training
    if model.fast and model.transitions == "ridge":
        raise ConfigError(
            "a private fast model is a table of noisy counts, and transitions='ridge' (--transitions) solves a regression "
            "on exact ones; leave it out"
        )
    if not model.fast and model.transitions in ("ridge", "counts"):
        raise ConfigError(
            f"transitions={model.transitions!r} learns a table of which item followed which, without noise: a pair that "
            "one person alone made would show; leave it out where epsilon is set (the memory is then left out), or take "
            "the fast model (--fast), whose table has noise"
        )
    if model.encoder_mode != "frozen":
        raise ConfigError(
            f"encoder_mode={model.encoder_mode!r} shares each step's text vectors among users, so nobody's gradient stands "
            "alone; with epsilon the encoder stays frozen"
        )
    if log.histories.events is not None:
        raise ConfigError(
            "the types of events are a vocabulary of the log, which is private; with epsilon leave out --event"
        )
    if users is not None:
        raise ConfigError(
            "features of users are read by vocabularies and scales of the people in the table, which are private; with "
            "epsilon leave out --user-table"
        )
    loss = objective.loss_for(items)
    if loss in _LOSSES:
        raise ConfigError(f"loss={loss!r} cannot be trained privately: {_LOSSES[loss]}; use loss='softmax'")
    if loss == "sampled" and objective.sampler != "uniform":
        raise ConfigError(
            f"sampler={objective.sampler!r} cannot be trained privately: {_SAMPLERS[objective.sampler]}, so that one "
            "person changes everybody's gradient; use loss='softmax', or sampler='uniform', which draws from the public "
            "catalogue"
        )
    if loss == "sampled" and objective.label_smoothing:
        raise ConfigError("label_smoothing is not built for private sampled losses; use loss='softmax', or leave it out")
    if objective.grouped:
        raise ConfigError(
            "item_groups and user_groups weigh by how many events each group has, which is private; leave them out where "
            "epsilon is set"
        )
    if objective.mask_history:
        raise ConfigError("mask_history is not built for gradients of single users; leave it out where epsilon is set")
    _check_training(training)
    if training.adapt == "auto" and training == replace(Training(), seed=training.seed, device=training.device):
        say("with epsilon, nothing is decided from the log: what is not set keeps its default")
    model = model if model.fast else replace(model, transitions="none")
    return Options(model, objective, replace(training, adapt="off"))


def _check_training(training: Training) -> None:
    if training.adapt == "on":
        raise ConfigError("adapt='on' decides from the log, which no budget counts; leave it out where epsilon is set")
    usual = {field.name: field.default for field in fields(Training)}
    set_ = [name for name in _NO_PART if getattr(training, name) != usual[name]]
    if training.patience not in (0, usual["patience"]):
        set_.append("patience")
    if set_:
        raise ConfigError(
            f"{', '.join(set_)} has no part in a private training: every user is clipped to user_norm, users_per_step are "
            "drawn for a step, and the weights after the last epoch are kept, since validation would choose by private "
            "events; leave it out where epsilon is set"
        )
    if training.devices > 1 or training.strategy != "auto" or training.compile or training.precision == "bf16":
        raise ConfigError(
            "with epsilon a training runs in one process, uncompiled and in 32 bits; leave out devices, strategy, compile "
            "and precision"
        )


def public_items(log: Interactions, catalog: Catalog | None) -> Interactions:
    """The log in the rows of the catalogue, which is public, so that neither ids nor their order come from the log.

    Raises
    ------
    ConfigError
        There is no catalogue.
    DataError
        An item of the log is not in it.
    """
    if catalog is None:
        raise ConfigError(
            "which items occur in a log is private; with epsilon, name the catalogue (--catalog), whose items are public"
        )
    place = catalog.items.find_rows(log.items.ids)
    lacking = np.flatnonzero((place < 0) & (log.item_counts > 0))
    if len(lacking):
        raise DataError(
            f"{len(lacking):,} items of the log are not in the catalogue, such as {log.items.ids[int(lacking[0])]!r}; with "
            "epsilon the items are those of the catalogue, which is public: add them there, or leave their events out"
        )
    return replace(log, items=catalog.items, histories=log.histories.remap(place))


def check_delta(privacy: PrivacyOptions, users: int) -> None:
    """Refuse a delta under which a whole user might be published.

    Raises
    ------
    ConfigError
        ``delta`` is one in the number of users, or more.
    """
    if privacy.delta * users >= 1.0:
        raise ConfigError(
            f"delta={privacy.delta:g} is not below one in the number of users ({users:,}): publishing somebody's whole "
            f"history would be allowed; set delta (--delta) to {0.1 / users:.0e} or less"
        )
