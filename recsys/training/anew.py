"""Train the model of a bundle anew on a longer log, with the options and for the epochs of its first training."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

from recsys.bundle.build import build
from recsys.bundle.choice import with_chosen_index
from recsys.bundle.contents import Bundle
from recsys.config.training import Objective, Training
from recsys.core.processes import begin_threads
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError
from recsys.training.logs import TrainingLog
from recsys.training.plan.options import Options
from recsys.training.refit import refitted
from recsys.training.update.catalog import grown_catalog


def trained_anew(
    bundle: Bundle,
    joint: Interactions,
    catalog: Catalog | None = None,
    *,
    users: UserTable | None = None,
    earlier: bool = False,
) -> Bundle:
    """What a full retrain gives: new weights, from nothing, of the same model on all events.

    Parameters
    ----------
    bundle : Bundle
        Whose options, epochs and form of the memory are kept.
    joint : Interactions
        Old and new events.
    catalog : Catalog, optional
        Of new items, and of old ones of which something changed.
    users : UserTable, optional
        Features of all users; needed if the model reads them.
    earlier : bool
        Train as at an earlier moment, for a comparison: ``catalog`` (by default the bundle's) has all the items that are
        known, and the index is the exact one.

    Returns
    -------
    Bundle
        It holds out nothing.

    Raises
    ------
    ConfigError
        The model reads features of users and there are none, or it was distilled of an ensemble, which is not kept.
    DataError
        As for :meth:`recsys.TwoTower.fit`.
    """
    if bundle.towers.user_codes is not None and users is None:
        raise ConfigError("the model reads features of users: training anew needs their table, users= (--user-table)")
    if bundle.record.get("distilled_from"):
        raise ConfigError(
            "this model was distilled of an ensemble, which the bundle does not hold: fit it anew, then distil"
        )
    begin_threads()
    training = bundle.training or Training()
    kept = {field.name: bundle.record[field.name] for field in fields(TrainingLog) if field.name in bundle.record}
    record = TrainingLog(**kept | {"best_epoch": kept.get("best_epoch") or training.epochs})
    options = Options(bundle.config, bundle.objective or Objective(), training)
    content = (catalog or bundle.catalog) if earlier else grown_catalog(bundle, catalog, joint)[0]
    made, log, memory = refitted(
        options,
        record,
        joint,
        content,
        augment=bundle.augment,
        users=users,
        memory=bundle.corpus.transitions,
        items=bundle.items,
    )
    made.towers.settle_encoder()
    made.towers.net.cold_scale.copy_(bundle.towers.net.cold_scale)
    towers = replace(made.towers, group_factors=bundle.towers.group_factors)
    if towers.group_factors is not None:
        towers.group_factors.set_on(towers.net, made.catalog)
    again = build(
        towers,
        made.catalog,
        made.log,
        config=bundle.config,
        objective=bundle.objective,
        augment=bundle.augment,
        training=bundle.training,
        record=asdict(log),
        train=made.log,
        transitions=memory,
        index=None if earlier else bundle.index.spec,
    )
    again = replace(again, reading=bundle.reading)
    return with_chosen_index(again) if bundle.index.measured and not earlier else again
