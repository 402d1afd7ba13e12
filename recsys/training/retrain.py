"""Train the model of a bundle once more from nothing, on another log: what updates and ageing are held against."""

from __future__ import annotations

import time
from dataclasses import asdict

from recsys.bundle.build import build
from recsys.bundle.contents import Bundle
from recsys.config.augment import Augment
from recsys.core.arguments import instance, instance_or_none
from recsys.core.processes import begin_threads
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import UnsupportedError
from recsys.training.logs import TrainingLog
from recsys.training.plan.options import Options
from recsys.training.refit import refitted


def retrained(
    bundle: Bundle, log: Interactions, catalog: Catalog | None = None, *, users: UserTable | None = None
) -> Bundle:
    """Train with the options of a bundle on a log, for as many epochs as the bundle was; nothing is validated.

    The form and the weight of the transition memory, and what the scores of items without events are lowered by, stay as
    the first validation found them.

    Parameters
    ----------
    bundle : Bundle
        It stays as it is.
    log : Interactions
        All that may be learned from.
    catalog : Catalog, optional
        By default that of the bundle.
    users : UserTable, optional
        Features of users, without which a model that reads some cannot be trained again.

    Returns
    -------
    Bundle
        It serves the users of ``log`` from the exact index, and holds out nothing.

    Raises
    ------
    UnsupportedError
        The bundle does not tell how it was trained, was distilled, or reads features of users and ``users`` is missing.
    DataError
        The log or the catalogue lacks what the model reads.

    Examples
    --------
    >>> again = retrained(retriever.bundle, log, catalog)
    >>> len(again.users), again.holdout
    (40, None)
    """
    instance(bundle, Bundle, "bundle")
    instance(log, Interactions, "log")
    catalog = instance_or_none(catalog, Catalog, "catalog") or bundle.catalog
    if bundle.training is None or bundle.objective is None:
        raise UnsupportedError("the bundle does not tell with which options it was trained; fit a model anew (recsys fit)")
    if bundle.record.get("distilled_from"):
        raise UnsupportedError("a distilled model cannot be trained again alone; fit its ensemble anew, and distil that")
    if bundle.towers.user_codes is not None and users is None:
        raise UnsupportedError("the model reads features of users, which a bundle keeps as codes alone; give their table")
    begin_threads()
    begun, cpu = time.perf_counter(), time.process_time()
    options = Options(bundle.config, bundle.objective, bundle.training)
    epochs = int(bundle.record.get("best_epoch") or bundle.training.epochs)
    augment = bundle.augment or Augment()
    inputs, record, memory = refitted(
        options,
        TrainingLog(best_epoch=epochs),
        log,
        catalog,
        augment=augment,
        users=users,
        memory=bundle.corpus.transitions,
    )
    towers = inputs.towers
    towers.settle_encoder()
    towers.net.cold_scale.copy_(bundle.towers.net.cold_scale)
    record.seconds, record.cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    return build(
        towers,
        inputs.catalog,
        inputs.log,
        config=bundle.config,
        objective=bundle.objective,
        augment=augment,
        training=bundle.training,
        record=asdict(record),
        train=inputs.log,
        transitions=memory,
    )
