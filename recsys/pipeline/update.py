"""Take a new log into a saved bundle: check the log, judge the update, and only then save what learned from all of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.config.day import DayBounds
from recsys.config.gate import GateOptions
from recsys.config.update import UpdateOptions
from recsys.core.arguments import flag, instance, instance_or_none, place
from recsys.core.destination import claimed_bundle
from recsys.core.files import Held
from recsys.core.progress import log as say
from recsys.core.ragged import Bool
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import DataError
from recsys.pipeline.day import DayReport, check_day
from recsys.pipeline.gate import GateReport, judge, question

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle
    from recsys.evaluation.protocol import Ranker
    from recsys.serving.retriever import Retriever


@dataclass(frozen=True, eq=False)
class UpdateResult:
    """What an update came to.

    Attributes
    ----------
    accepted : bool
        Whether there is a new bundle. If not, nothing was written, and the one before stays as it is.
    reasons : tuple of str
        Why it was accepted or refused, in words.
    day : DayReport
        What the checks say of the new events.
    gate : GateReport or None
        What the judged events say; None if the checks refused.
    retriever : Retriever or None
        Answers from the new bundle.
    bundle : Path or None
        Where it was saved; None if it was not.
    forced : bool
        Accepted although the gate said no.
    """

    accepted: bool
    reasons: tuple[str, ...]
    day: DayReport
    gate: GateReport | None = None
    retriever: Retriever | None = None
    bundle: Path | None = None
    forced: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        lineage = None if self.retriever is None else self.retriever.bundle.lineage
        return {
            "accepted": self.accepted,
            "forced": self.forced,
            "reasons": list(self.reasons),
            "bundle": None if self.bundle is None else str(self.bundle),
            "day": self.day.to_dict(),
            "gate": None if self.gate is None else self.gate.to_dict(),
            "lineage": lineage,
        }

    def __str__(self) -> str:
        parts = [str(self.day)]
        if self.gate is not None:
            parts.append(str(self.gate))
        if not self.accepted:
            parts.append("\n".join(["refused; nothing was changed", *(f"  {one}" for one in self.reasons)]))
        elif self.retriever is not None:
            parts.append(_made(self.retriever.bundle, self))
        return "\n\n".join(parts)


def _made(bundle: Bundle, result: UpdateResult) -> str:
    lineage = bundle.lineage or {}
    counts = {name: lineage[name]["new"] for name in ("events", "users", "items") if name in lineage}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items()) + " that are new to the model"
    spent = f" in {lineage['cpu_seconds']:.0f} CPU s" if "cpu_seconds" in lineage else ""
    where = f"bundle: {result.bundle}" if result.bundle is not None else "not saved (no out=)"
    forced = "\naccepted by force, although the gate said no" if result.forced else ""
    return f"updated with {told}{spent}\n{where}{forced}"


def update(
    run: str | Path | Retriever,
    log: Interactions,
    *,
    out: str | Path | None = None,
    catalog: Catalog | pl.DataFrame | None = None,
    users: UserTable | None = None,
    options: UpdateOptions | None = None,
    bounds: DayBounds | None = None,
    gate: GateOptions | None = None,
    accept: Sequence[str] = (),
    force: bool = False,
    retrain: bool = False,
    until: int | None = None,
    overwrite: bool = False,
    held: Held | None = None,
) -> UpdateResult:
    """Take a new log into a saved bundle, and save the result if it is not worse.

    First the new events are held against what was usual before (:func:`recsys.pipeline.day.check_day`). Then a candidate
    learns from all of them but the last part and is judged by that part, beside the bundle as it is
    (:func:`recsys.pipeline.gate.judge`). If it is not worse, the bundle is updated with all new events and saved, as a
    whole; if it is, nothing is written.

    Parameters
    ----------
    run : path or Retriever
        A bundle; it is changed only if ``out`` is the same place.
    log : Interactions
        New events; may hold those that the bundle knows too, which count once.
    out : path, optional
        Where to save the new bundle; by default it is not saved.
    catalog : Catalog or DataFrame, optional
        New items, and old ones whose text or columns changed: a catalogue, or a table with ``item_id`` and the columns of
        the bundle's catalogue.
    users : UserTable, optional
        Features of users, if the model reads any.
    options : UpdateOptions, optional
        How to learn.
    bounds : DayBounds, optional
        What is taken for an ordinary day.
    gate : GateOptions, optional
        How to judge.
    accept : sequence of str
        Names of checks that may be out of bounds this time.
    force : bool
        Take the update whatever the gate says; the checks of the day are not overruled by it.
    retrain : bool
        Also train the model anew, with the same options, and take that if it is really better than the update.
    until : int, optional
        Seconds since 1970: the log should hold all events before this instant; by default up to the end of its last day.
    overwrite : bool
        Whether ``out`` may hold a bundle, which is then replaced as a whole.
    held : Held, optional
        The lock on ``out``, if the caller has it.

    Returns
    -------
    UpdateResult

    Raises
    ------
    DataError
        The log holds nothing new, or does not fit the bundle; or another update is at ``out``.
    ConfigError
        Something is in the way at ``out``, or an option does not fit.
    BundleError
        ``run`` is not a bundle, or damaged.

    Examples
    --------
    >>> result = recsys.update(retriever, log, out="run-2", accept=["late"], force=True)  # users' times are apart here
    >>> result.accepted, result.bundle.name, result.retriever.bundle.lineage["events"]["new"]
    (True, 'run-2', 80)
    """
    run = place(run, "run") if isinstance(run, str | Path) else run
    instance(log, Interactions, "log")
    if catalog is not None and not isinstance(catalog, pl.DataFrame):
        instance(catalog, Catalog, "catalog")
    instance_or_none(users, UserTable, "users")
    asked = _Asked(
        instance_or_none(options, UpdateOptions, "options") or UpdateOptions(),
        instance_or_none(bounds, DayBounds, "bounds") or DayBounds(),
        instance_or_none(gate, GateOptions, "gate") or GateOptions(),
        tuple(accept),
        flag(force, "force"),
        flag(retrain, "retrain"),
        until,
    )
    target = None if out is None else Path(place(out, "out"))
    overwrite = flag(overwrite, "overwrite")
    with contextlib.ExitStack() as stack:
        if target is not None and held is None:
            held = stack.enter_context(claimed_bundle(target, overwrite=overwrite))
        bundle, card = _opened(run), _card_of(run)
        return _updated(bundle, log, catalog, users, asked, target, held, overwrite=overwrite, card=card)


@dataclass(frozen=True)
class _Asked:
    options: UpdateOptions
    bounds: DayBounds
    gate: GateOptions
    accept: tuple[str, ...]
    force: bool
    retrain: bool
    until: int | None


def _opened(run: str | Path | Retriever) -> Bundle:
    from recsys.bundle.io import load  # noqa: PLC0415 - torch
    from recsys.serving.retriever import Retriever  # noqa: PLC0415

    if isinstance(run, str | Path):
        return load(run)
    return instance(run, Retriever, "run").bundle


def _card_of(run: str | Path | Retriever) -> str | None:
    """The model card of a bundle; None where it has none, or is not in a folder."""
    from recsys.bundle.io import CARD  # noqa: PLC0415 - torch

    if not isinstance(run, str | Path) or not (file := Path(run) / CARD).is_file():
        return None
    return file.read_text(encoding="utf-8")


def _updated(
    bundle: Bundle,
    log: Interactions,
    items: Catalog | pl.DataFrame | None,
    users: UserTable | None,
    asked: _Asked,
    out: Path | None,
    held: Held | None,
    *,
    overwrite: bool,
    card: str | None,
) -> UpdateResult:
    from recsys.bundle.io import CARD, save  # noqa: PLC0415 - torch
    from recsys.report.update_card import update_card  # noqa: PLC0415
    from recsys.serving.retriever import Retriever  # noqa: PLC0415
    from recsys.training.update.joint import joined  # noqa: PLC0415

    catalog = _catalog(bundle, items)
    joint = joined(bundle, log)
    fresh = _fresh(bundle, joint)
    day = check_day(joint, fresh, asked.bounds, accept=asked.accept, until=asked.until)
    say(f"{day.described}: {'refused' if day.refused else 'an ordinary day'}")
    if day.refused:
        return UpdateResult(accepted=False, reasons=(f"{day.reasons}; {_let_pass(day)}",), day=day)
    report = _judged(bundle, joint, fresh, catalog, users, asked)
    forced = asked.force and not report.accepted
    if not report.accepted and not forced:
        return UpdateResult(accepted=False, reasons=report.reasons, day=day, gate=report)
    made = _candidate(report.chosen or "update", bundle, joint, catalog, users, asked)
    lineage = (made.lineage or {}) | {"day": day.to_dict(), "gate": report.to_dict(), "forced": forced}
    made = replace(made, lineage=lineage)
    if out is not None:
        told = update_card(lineage, [asdict(one) for one in report.judged], card)
        save(made, out, overwrite=overwrite, metrics=_metrics(report), extras={CARD: told}, held=held)
    return UpdateResult(True, report.reasons, day, report, Retriever(made), out, forced)


def _catalog(bundle: Bundle, items: Catalog | pl.DataFrame | None) -> Catalog | None:
    if items is None or isinstance(items, Catalog):
        return items
    return bundle.corpus.read_items(items)


def _fresh(bundle: Bundle, joint: Interactions) -> Bool:
    """bool (len(joint),): the events that the bundle's histories lack.

    Raises
    ------
    DataError
        There are none, or ids are of another type than the bundle's.
    """
    from recsys.training.update.joint import matched  # noqa: PLC0415 - torch

    for mine, theirs in ((bundle.users, joint.users), (bundle.items, joint.items)):
        if mine.dtype != theirs.dtype:
            numbers = theirs.ids.cast(pl.Int64, strict=False).cast(pl.String)
            odd = theirs.ids.filter(~numbers.eq_missing(theirs.ids))[0]
            raise DataError(
                f"the new log has the {mine.kind} id {odd!r}, and all {mine.kind} ids of the bundle are whole numbers, "
                f"written without zeros in front and below 2^63: write the ids alike, leave these rows out, or fit anew on "
                f"a log with such ids"
            )
    places = bundle.users.find_rows(joint.users.ids)
    fresh: Bool = ~matched(joint.histories, bundle.histories.aligned(places), len(joint.items))
    if not fresh.any():
        raise DataError("the new log holds no event that the bundle does not know already; there is nothing to update with")
    return fresh


def _let_pass(day: DayReport) -> str:
    return f"to let this pass on purpose: --accept {' '.join(one.name for one in day.refused)}"


def _candidate(
    name: str, bundle: Bundle, joint: Interactions, catalog: Catalog | None, users: UserTable | None, asked: _Asked
) -> Bundle:
    from recsys.training.anew import trained_anew  # noqa: PLC0415 - torch
    from recsys.training.update.run import updated  # noqa: PLC0415

    if name == "retrain":
        made = trained_anew(bundle, joint, catalog, users=users)
        counts = {"old": len(bundle.histories.rows), "new": len(joint) - len(bundle.histories.rows)}
        return replace(made, lineage={"parent": bundle.seal, "updates": 0, "trained": "anew", "events": counts})
    return updated(bundle, joint, catalog, asked.options, users=users)


def _judged(
    bundle: Bundle, joint: Interactions, fresh: Bool, catalog: Catalog | None, users: UserTable | None, asked: _Asked
) -> GateReport:
    from recsys.serving.retriever import Retriever  # noqa: PLC0415 - torch

    n = int(fresh.sum())
    if asked.gate.judge_share == 0.0:
        counts = {"new": n, "learned": n, "judged": 0}
        return GateReport(True, "update", ("nothing was judged (judge_share is 0)",), (), counts, {})
    cut = question(joint, fresh, asked.gate, keep_seen=bundle.keep_seen)
    early = joint.select(cut.learned)

    def maker(name: str) -> Callable[[], tuple[Ranker, float]]:
        def make() -> tuple[Ranker, float]:
            say(f"gate: {name} without the last {int((~cut.learned).sum()):,} of {n:,} new events")
            begun = time.process_time()
            candidate = Retriever(_candidate(name, bundle, early, catalog, users, asked))
            candidate.name = name
            return candidate, time.process_time() - begun

        return make

    names = ("update", "retrain") if asked.retrain else ("update",)
    served = Retriever(bundle)
    served.name = "no update"
    candidates = {name: maker(name) for name in names}
    return judge(served, candidates, cut, asked.gate, new_events=n, keep_seen=bundle.keep_seen)


def _metrics(report: GateReport) -> dict[str, float]:
    """The figures of what was chosen, on all users."""
    chosen = report.chosen or "update"
    return {one.metric: one.after for one in report.judged if one.model == chosen and one.group == "all users"}


update_bundle = update
"""The same, beside ``fit_bundle`` and the others."""
