"""The whole of a fit: towers by a plan, or privately, or none at all, and the transition memory beside them."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.augment import Augment
from recsys.config.privacy import PrivacyOptions
from recsys.core.destination import process_number
from recsys.core.progress import muted, say_where
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError
from recsys.models.towers import TwoTowerModel
from recsys.training.checks import check_objective
from recsys.training.cold import completed
from recsys.training.exposure import check_floors, with_floors
from recsys.training.fast import fit_fast
from recsys.training.group_weights import check_groups
from recsys.training.plan.decide import decide, plan_of
from recsys.training.plan.options import Options
from recsys.training.plan.run import Trained, train_plan
from recsys.training.prepare import prepare
from recsys.training.private.memory import fit_fast_privately
from recsys.training.private.run import train_privately
from recsys.training.trainer import RunOptions, proven_places
from recsys.transitions.memory import TransitionMemory


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit made: its training, the towers to serve, and the memory beside them, None where there is none."""

    made: Trained
    towers: TwoTowerModel
    memory: TransitionMemory | None


def fitted(
    asked: Options,
    train: Interactions,
    catalog: Catalog | None,
    *,
    validation: Holdout | None,
    augment: Augment | None,
    users: UserTable | None,
    relations: ItemRelations | None,
    privacy: PrivacyOptions | None,
    run: RunOptions,
    overwrite: bool,
) -> Fitted:
    """Train as asked for; parameters and errors are those of :meth:`recsys.TwoTower.fit`.

    With an epsilon, nothing that is chosen on validation is made: no best epoch, no memory, no scale of cold items.
    """
    check_objective(train, asked.objective)
    check_groups(asked.objective, catalog, users)
    check_floors(asked.training, catalog, validation)
    say_where()
    _check_relations(relations, train, catalog, validation, privacy)
    memory, private, fast = None, privacy is not None and privacy.epsilon is not None, asked.model.fast
    with proven_places(run.log_folder, run.checkpoint, resume=run.resume, overwrite=overwrite):
        if private and fast:
            assert privacy is not None  # noqa: S101 - that is what private means
            made, memory = fit_fast_privately(asked, privacy, train, catalog, users=users)
        elif private:
            assert privacy is not None  # noqa: S101 - that is what private means
            made = train_privately(asked, privacy, train, catalog, augment=augment, users=users, run=run)
        elif fast:
            inputs = prepare(asked.model, train, catalog, training=asked.training)
            record, memory = fit_fast(inputs, validation, asked.model, asked.training, relations)
            made = Trained(inputs, record, asked)
        else:
            if run.resume and run.checkpoint is not None:
                plan = plan_of(run.checkpoint, asked)
            else:
                plan = decide(asked, train, catalog, validation=validation, augment=augment, users=users)
            made = train_plan(plan, train, catalog, validation=validation, augment=augment, users=users, run=run)
    towers = made.inputs.towers
    towers.settle_encoder()
    if validation is not None and not fast and not private and not process_number():
        towers, memory = completed(towers, made.inputs.log, validation, made.options, relations)
        found = with_floors(towers, memory, made.inputs.catalog, validation, made.options.training)
        towers, made.record.exposure = found
    return Fitted(made, towers, memory)


def _check_relations(
    relations: ItemRelations | None,
    train: Interactions,
    catalog: Catalog | None,
    validation: Holdout | None,
    privacy: PrivacyOptions | None,
) -> None:
    """Refuse relations that could not be weighed, before anything is trained.

    Raises
    ------
    ConfigError
        Nothing is held out to weigh them on.
    DataError
        None of their items is known.
    """
    if relations is None:
        return
    if validation is None or (privacy is not None and privacy.epsilon is not None):
        raise ConfigError(
            "relations are weighed on validation, and nothing is held out for it; give a validation (--split last), train "
            "without a privacy budget, or leave relations out (--relations)"
        )
    with muted():
        relations.rows(train.items if catalog is None else train.with_items(catalog.items.ids).items)
