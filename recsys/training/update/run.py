"""One update: a bundle and the joint log of old and new events go in, a new bundle comes out."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from recsys.bundle.choice import with_chosen_index
from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.config.update import UpdateOptions
from recsys.core.arguments import instance, instance_or_none
from recsys.core.processes import begin_threads
from recsys.core.progress import log as say
from recsys.core.ragged import Bool
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec
from recsys.models.grown import Growth, check_growth, grown, hot_items
from recsys.models.towers import TwoTowerModel
from recsys.training.group_weights import weighed
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.prepare import Inputs, substitutes
from recsys.training.trainer import RunOptions, halves, train
from recsys.training.transitions import alike_of
from recsys.training.update.batches import UpdateBatches
from recsys.training.update.catalog import grown_catalog
from recsys.training.update.joint import time_range, union_of, untrained
from recsys.training.update.loss import Before, UpdateLoss, can_distil
from recsys.transitions.choose import learn_memory, relearned_memory
from recsys.transitions.memory import TransitionMemory

_ROOM = 1.05
"""How much more memory an index may take for each item than the one before."""
_STEPS = 50
_FEWEST_TOKENS = 64
"""A pass of an update has at least so many steps, of at least so many positions: over six windows of ml-latest-small, 200
positions a step instead of 1,600 lift recall@10 from 94 to 98 % of what training again gives, for the same time."""
_KEPT = ("forgotten_since_training", "pseudonym_key")
"""What stays true of the data: whose events the weights were trained on once, and what the ids of users are."""


def updated(
    bundle: Bundle,
    joint: Interactions,
    catalog: Catalog | None = None,
    options: UpdateOptions | None = None,
    *,
    users: UserTable | None = None,
) -> Bundle:
    """Take new events, users and items into a model, for a small part of what training again would cost.

    All weights, of every member of an ensemble, start from those that are served, and are trained on at a low and constant
    rate: on the events that the model was not trained on, on a sample of those that it was, and there also on what it said
    before. A new item's vector starts from those of the items that are most like it; new words, categories and event types
    get a vector behind the others. How often items occur, which corrects a sampled loss, follows from all events, and so
    does the transition memory (of a ridge one the rows that new events touch); its form and its weight stay, and so does
    what the scores of items without events are lowered by. A fast model is its memory. A text encoder that was fine-tuned
    is not trained on: it reads the new texts as it is.

    Parameters
    ----------
    bundle : Bundle
        It stays as it is.
    joint : Interactions
        All events, old and new; :func:`recsys.training.update.joint.joined` makes it of the bundle and a newer log.
    catalog : Catalog, optional
        Of new items, and of old ones of which something changed; by default nothing is known of new items but their ids.
    options : UpdateOptions, optional
    users : UserTable, optional
        The features of users that the model reads, with new categories maybe; by default those of new users are unknown.

    Returns
    -------
    Bundle
        It serves the users of ``joint``, holds out nothing, and tells in :attr:`Bundle.lineage` how it was made. Without
        an event that is new to the model, weights and memory are those of before.

    Raises
    ------
    DataError
        The log lacks what the model reads, or the catalogue does not fit the bundle's.
    ConfigError
        An option does not fit, or several processes were started.
    UnsupportedError
        There are new items, and the model reads images.

    Examples
    --------
    >>> from recsys.training.update.joint import joined
    >>> bundle = retriever.bundle
    >>> again = updated(bundle, joined(bundle, log), options=UpdateOptions(epochs=1))
    >>> len(again.users) >= len(bundle.users)
    True
    """
    instance(bundle, Bundle, "bundle")
    instance(joint, Interactions, "joint")
    instance_or_none(catalog, Catalog, "catalog")
    instance_or_none(users, UserTable, "users")
    if bundle.record.get("privacy"):
        raise ConfigError(
            "the model was trained with differential privacy, and an update would train on events without noise; fit again "
            "with an epsilon, on all events"
        )
    options = instance_or_none(options, UpdateOptions, "options") or UpdateOptions()
    begin_threads()
    seconds, cpu = time.perf_counter(), time.process_time()
    _check(bundle, joint)
    content, read = grown_catalog(bundle, catalog, joint)
    check_growth(bundle.towers, len(content) - len(bundle.items))
    log = _in_rows(joint, content, bundle)
    new = untrained(bundle, log)
    strangers = int((bundle.users.find_rows(log.users.ids) < 0).sum())
    more = f"{len(content) - len(bundle.items):,} new items, {strangers:,} new users"
    say(f"updating with {int(new.sum()):,} new events of {len(log):,}, {more}")
    people = None if users is None else _known_features(bundle, users)
    reader = bundle.corpus.encoder.extended(content)
    features = () if people is None else people.features
    growth = Growth(content, read, log.item_counts, log.event_names, reader, features)
    towers = _with_users(grown(bundle.towers, bundle.config, growth), log, people)
    if new.any() and not towers.fast:
        _trained(bundle, towers, log, content, new, options)
        towers = replace(towers)  # what was made of the weights before is made again
    memory = _memory(bundle, towers, log, new)
    made = Bundle(
        corpus=Corpus(towers, _index(bundle, towers), content, len(content), growth.reader, memory),
        users=log.users,
        histories=log.histories,
        config=bundle.config,
        objective=bundle.objective,
        augment=bundle.augment,
        training=bundle.training,
        reading=bundle.reading,
        record=bundle.record,
        data={
            "fingerprint": joint.fingerprint,
            "interactions": len(log),
            "users": len(log.users),
            "items": len(content),
            "ordered": log.ordered,
            "order": log.ordered_by,
        }
        | {name: bundle.data[name] for name in _KEPT if name in bundle.data},
        trained=log.histories.lengths,
        event_names=log.event_names,
    )
    made = _measured(made, bundle)
    spent = {"seconds": time.perf_counter() - seconds, "cpu_seconds": time.process_time() - cpu}
    return replace(made, lineage=_lineage(bundle, log, content, new, options, spent))


def _check(bundle: Bundle, joint: Interactions) -> None:
    known = bundle.histories
    for what, has, given in (
        ("times", known.times is not None, joint.timestamps is not None),
        ("event types", known.events is not None, joint.events is not None),
    ):
        if has and not given:
            raise DataError(f"the histories of the bundle have {what}, and the joint log has none")
    if joint.ordered != bundle.ordered:
        one, other = ("an order", "none") if bundle.ordered else ("no order", "one")
        raise DataError(f"the log of the bundle has {one}, and the joint log has {other}; read both in the same way")
    objective = bundle.objective or Objective()
    if (objective.weighted or objective.loss == "mse") and joint.weights is None:
        raise DataError(
            "this model weighs events, a bundle keeps no weights, and the joint log has none: give the whole log, old and "
            "new events, with its weights"
        )


def _in_rows(joint: Interactions, content: Catalog, bundle: Bundle) -> Interactions:
    """The joint log in the item rows of the new bundle, with the event types of the old one first."""
    reads = bundle.histories.events is not None
    names = union_of(bundle.event_names, joint.event_names) if reads else ()
    histories = joint.histories.remap(content.items.find_rows(joint.items.ids))
    histories = histories.recoded(joint.event_names, names) if reads else replace(histories, events=None)
    if bundle.histories.times is None:
        histories = replace(histories, times=None)
    return replace(joint, items=content.items, histories=histories, event_names=names)


def _known_features(bundle: Bundle, users: UserTable) -> UserTable:
    """The table of users with the codes that the model knows."""
    towers = bundle.towers
    if towers.user_codes is None:
        raise ConfigError("this model reads no features of users; leave out the table of users (--user-table)")
    if not towers.user_features:
        raise UnsupportedError(
            "this bundle is of an older version, and does not tell what its codes of users mean; leave out the table of "
            "users (--user-table), so that features of new users are unknown, or fit again"
        )
    return users.recoded(towers.user_features)


def _with_users(towers: TwoTowerModel, log: Interactions, users: UserTable | None) -> TwoTowerModel:
    """The towers with the users of the log, and their features where the model reads any."""
    codes = towers.codes_for(log.users)
    if codes is not None and users is not None:
        told = users.codes_for(log.users)
        codes = np.where((users.users.find_rows(log.users.ids) >= 0)[:, None], told, codes).astype(np.int32)
    return replace(towers, users=log.users, user_codes=codes)


def _trained(
    bundle: Bundle, towers: TwoTowerModel, log: Interactions, content: Catalog, new: Bool, options: UpdateOptions
) -> None:
    """Train the towers, in place."""
    first, objective = bundle.training or Training(), bundle.objective or Objective()
    positions = round(int(new.sum()) * (1 + options.replay))
    training = replace(
        first,
        epochs=options.epochs,
        learning_rate=first.learning_rate * options.rate,
        batch_tokens=options.batch_tokens or min(first.batch_tokens, max(_FEWEST_TOKENS, positions // _STEPS)),
        warmup=0.0,
        device=towers.device,
        devices=1,
        strategy="auto",
        compile=False,
        keep_moments=bundle.towers.moments is not None,
        patience=0,
        checkpoint_steps=0,
        seed=options.seed,
    )
    known = np.zeros(len(content), dtype=np.bool_)
    known[: len(bundle.items)] = hot_items(bundle.towers)
    augment = bundle.augment or Augment()
    features = None if towers.user_codes is None else towers.user_codes.astype(np.int64)
    neighbours = substitutes(towers, bundle.config, augment)
    inputs = Inputs(towers=towers, log=log, catalog=content, features=features, neighbours=neighbours)
    batches = UpdateBatches(
        weighed(log, objective, content, towers.user_features, features),
        length=towers.net.users.max_length,
        tokens=training.batch_tokens,
        seed=training.seed,
        options=augment,
        neighbours=neighbours,
        features=features,
        target_event=towers.net.users.event_heads is not None,
        new=new,
        replay=options.replay,
        recency=options.recency,
    )
    if batches.steps == 0:
        say("no new event follows another one of the same user: there is nothing for the towers to learn")
        return
    loss_of = None
    if options.distil and options.replay:
        if can_distil(objective, len(content)):
            before = Before(towers.net, torch.from_numpy(known).to(towers.device))

            def loss_of(counts: torch.Tensor) -> NextItemLoss:
                half = halves(training, towers.device)
                loss = UpdateLoss(
                    towers.net, objective, counts, before=before, share=options.distil, **half, seed=training.seed
                )
                return loss.to(towers.device)
        else:
            say("scores of before are no part of this loss: old events are trained on as they are")
    run = RunOptions(constant_rate=True, forecast=False, moments=bundle.towers.moments)
    train(inputs, None, training, objective=objective, augmentation=augment, options=run, loss_of=loss_of, batches=batches)


def _memory(bundle: Bundle, towers: TwoTowerModel, log: Interactions, new: Bool) -> TransitionMemory | None:
    """The transition memory of all events, of the form and weight of before."""
    memory, n_items, histories = bundle.corpus.transitions, len(log.items), log.histories.without_events()
    if memory is None:
        return None
    if not new.any():
        return memory.extended(n_items)
    if not towers.fast and (found := relearned_memory(memory, histories, n_items, new)) is not None:
        return found
    alike = alike_of(towers) if memory.form.borrow else None
    related = None if memory.related is None else memory.related.extended(n_items)
    return learn_memory(histories, n_items, memory.form, memory.weight, alike).with_related(related)


def _index(bundle: Bundle, towers: TwoTowerModel) -> ItemIndex:
    """An index of the vectors as they are now, without the items that were removed; exact where one is to be chosen."""
    old, alive = bundle.index, np.ones(len(towers.items), dtype=np.bool_)
    alive[: len(old)] = old.alive
    stored = ItemIndex.build(towers.vectors, IndexSpec(precision=old.spec.precision), device=towers.device)
    if old.measured:
        return replace(stored, alive=alive)
    return replace(stored, alive=alive, spec=old.spec).compacted()


def _measured(made: Bundle, bundle: Bundle) -> Bundle:
    """With the index chosen again by measuring, if that of the bundle was: of the same kind and in as little room."""
    old = bundle.index
    if not old.measured or not made.histories.lengths.any():
        return made
    room = None
    if old.spec.precision != IndexSpec().precision:  # a budget asked for it
        room = int(_ROOM * old.nbytes * len(made.items) / len(old))
    return with_chosen_index(made, kinds=None if old.spec.kind == "exact" else (old.spec.kind,), memory_budget=room)


def _lineage(
    bundle: Bundle, log: Interactions, content: Catalog, new: Bool, options: UpdateOptions, spent: dict[str, float]
) -> dict[str, Any]:
    times = log.timestamps
    old_users = int((bundle.users.find_rows(log.users.ids) >= 0).sum())
    return {
        "parent": bundle.seal,
        "updates": 1 + int((bundle.lineage or {}).get("updates", 0)),
        "first_events": int((bundle.lineage or {}).get("first_events", (~new).sum())),
        "events": {"old": int((~new).sum()), "new": int(new.sum())},
        "users": {"old": old_users, "new": len(log.users) - old_users},
        "items": {"old": len(bundle.items), "new": len(content) - len(bundle.items)},
        "old_times": None if times is None else time_range(times[~new]),
        "new_times": None if times is None else time_range(times[new]),
        "options": asdict(options),
        **spent,
    }
