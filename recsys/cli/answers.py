"""What a command prints: text for people, and the same as data for programs."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.bundle.exposure import exposure_sentence
from recsys.bundle.privacy import NOT_COVERED, privacy_sentence
from recsys.cli.answer import Answer
from recsys.cli.words import command
from recsys.core.progress import warn
from recsys.core.schema import ITEM, QUERY, SIMILAR, TITLE, USER
from recsys.core.text_table import as_text, with_intervals

if TYPE_CHECKING:
    from recsys.pipeline import EvaluationResult, FitResult, ListsResult, ReportFiles
    from recsys.serving.answer import Answered
    from recsys.serving.batch.run import BatchResult
    from recsys.serving.retriever import Retriever
    from recsys.tuning.trials import Tuning

NOTHING = "no item is left: the filters leave none that has not been seen already"
NO_NEIGHBOUR = "no item is left: the filters leave none"
NOBODY = "nobody is left to answer: all are unknown, or have no history to read"


def fitted(result: FitResult) -> Answer:
    """What a fit made, and commands that its bundle will answer."""
    if result.retriever is None:
        from recsys.core.destination import process_number  # noqa: PLC0415

        rank = process_number()
        return Answer(f"rank {rank} finished", {"rank": rank})
    training, evaluation = result.training, result.evaluation
    following = next_commands(result.retriever, result.bundle)
    epochs = f"best epoch {training.best_epoch} of {len(training.epochs)}, " if training.epochs else ""
    curves = f"    training curves: {shlex.join(['tensorboard', '--logdir', str(result.logs)])}" if training.epochs else ""
    place = "after these figures" if result.retriever.holdout is None else "before them"
    again = [f"trained again on {training.refitted_events:,} events {place}"] if training.refitted_events else []
    if lineage := result.retriever.bundle.lineage:
        again.append(f"updated with {lineage['events']['new']:,} held-out events {place}")
    private = [privacy_sentence(training.privacy), f"not covered: {NOT_COVERED}"] if training.privacy else []
    lines = [
        f"{epochs}{training.seconds:.0f} s",
        *private,
        *([exposure_sentence(training.exposure)] if training.exposure else []),
        *([str(evaluation)] if evaluation else []),
        *again,
        f"bundle: {result.bundle}{curves}",
        "\n  ".join(["next:", *following]),
    ]
    data: dict[str, Any] = {"bundle": str(result.bundle), "logs": str(result.logs) if training.epochs else None}
    data |= {"best_epoch": training.best_epoch if training.epochs else None, "seconds": training.seconds}
    data |= {name: told for name in ("privacy", "exposure") if (told := getattr(training, name))}
    return Answer("\n".join(lines), data | {"test": evaluation.to_dict() if evaluation else None, "next": following})


def next_commands(retriever: Retriever, out: Path) -> list[str]:
    """Commands that this bundle will answer."""
    found = [command("evaluate", out)] if retriever.holdout is not None else []
    found.append(command("recommend", out, "--out", out.parent / f"{out.name}-recommendations.parquet"))
    if retriever.towers.held_encoder is not None:
        found.append(command("search", out, "..."))
    return found


def tuned(found: Tuning, files: dict[str, Path], words: list[str]) -> Answer:
    """What a search found, and the command that fits with it."""
    from recsys.tuning.trials import table_text  # noqa: PLC0415

    following = shlex.join(["recsys", "fit", *words])
    text = f"{table_text(found)}\n\nbest recipe: {files['recipe']}    page: {files['page']}\nnext: {following}"
    data: dict[str, Any] = {name: str(file) for name, file in files.items()}
    data |= {"storage": str(found.storage), "next": following, "best": found.best, "best_trial": found.best_row}
    return Answer(text, data)


def evaluated(result: EvaluationResult) -> Answer:
    """An evaluation, and the same by groups."""
    parts, data = [str(result.evaluation)], result.evaluation.to_dict()
    if result.groups:
        parts += [f"by {name}\n{as_text(with_intervals(frame))}" for name, frame in result.groups.items()]
        data["segments"] = {name: frame.to_dicts() for name, frame in result.groups.items()}
    return Answer("\n\n".join(parts), data)


def judged(found: ListsResult) -> Answer:
    """What was found about the lists of one system, or of several."""
    if found.comparison is None:
        return evaluated(found.systems[0])
    comparison, parts, groups = found.comparison, [str(found.comparison)], dict[str, Any]()
    for one in found.systems:
        name = one.evaluation.model
        parts += [f"{name}, noted: {one.evaluation.noted}"] if one.evaluation.noted else []
        parts += [f"{name} by {cut}\n{as_text(with_intervals(frame))}" for cut, frame in one.groups.items()]
        groups |= {name: {cut: frame.to_dicts() for cut, frame in one.groups.items()}} if one.groups else {}
    return Answer("\n\n".join(parts), comparison.to_dict() | ({"segments": groups} if groups else {}))


def reported(files: ReportFiles) -> Answer:
    """Where the report is."""
    return Answer(
        f"page: {files.page}\nfigures: {files.figures}\nmodel card: {files.card}",
        {"page": str(files.page), "figures": str(files.figures), "model_card": str(files.card)},
    )


def written_batch(out: str, done: BatchResult) -> Answer:
    """How many recommendations a batch wrote."""
    text = f"{out}: {done.rows:,} rows for {done.users - done.without_history:,} users"
    return Answer(text, {"out": out, **asdict(done)})


def recommended(retriever: Retriever, found: Answered, unknown: str | None) -> Answer:
    """Recommendations for known users, each with the end of the history, and what the rules changed."""
    frame = retriever.with_titles(found.frame)
    data, parts = _with_counts(found, frame, "users", unknown), []
    for (user,), own in frame.group_by(USER, maintain_order=True):
        known = retriever.users.find_rows([user])[0] >= 0
        last = ", ".join(retriever.history(user).tail(3)[TITLE].to_list()) if known else "nothing"
        parts.append(f"user {user}, last: {last}\n{as_text(own.drop(USER))}")
    if found.rule_effects is not None:
        parts.append(f"what the rules changed\n{as_text(retriever.with_titles(found.rule_effects))}")
    return Answer("\n\n".join(parts) or _why_nothing(found), data)


def recommended_to_history(retriever: Retriever, found: Answered, unknown: str | None) -> Answer:
    """Recommendations for one history."""
    frame = retriever.with_titles(found.frame.drop(QUERY))
    return Answer(as_text(frame) if frame.height else _why_nothing(found), _with_counts(found, frame, "histories", unknown))


def _why_nothing(found: Answered) -> str:
    return NOTHING if found.left_out.nothing_left else NOBODY


def _with_counts(found: Answered, frame: pl.DataFrame, what: str, unknown: str | None) -> Any:
    """The rows, with ``--unknown skip`` beside counts of what was left out; in any case one line says so."""
    if sentence := found.left_out.sentence(len(found.lengths), what):
        warn(sentence)
    return {"rows": frame.to_dicts(), **asdict(found.left_out)} if unknown == "skip" else frame.to_dicts()


def similar(retriever: Retriever, frame: pl.DataFrame) -> Answer:
    """Items like others."""
    parts = []
    for (item,), own in retriever.with_titles(frame, SIMILAR).group_by(ITEM, maintain_order=True):
        title = retriever.catalog.title_of(retriever.items.to_rows([item]))[0]
        parts.append(f"like {title} ({item})\n{as_text(own.drop(ITEM))}")
    return Answer("\n\n".join(parts) or NO_NEIGHBOUR, retriever.with_titles(frame, SIMILAR).to_dicts())


def found_by_text(frame: pl.DataFrame) -> Answer:
    """Items that texts describe."""
    groups = frame.group_by(QUERY, maintain_order=True)
    parts = [f"{text}\n{as_text(own.drop(QUERY))}" for (text,), own in groups]
    return Answer("\n\n".join(parts) or NO_NEIGHBOUR, frame.to_dicts())


def explained(retriever: Retriever, items: list[str], top: int, **who: Any) -> Answer:
    """Why each item scores as it does."""
    from recsys.serving.occlude import sentences  # noqa: PLC0415

    parts, data = [], []
    for item in items:
        frame = retriever.explain(item=item, **who)
        shares = retriever.score_breakdown(item=item, **who)
        title = retriever.catalog.title_of(retriever.items.to_rows([item]))[0]
        of_item = ", ".join(f"{name} {share:+.3f}" for name, share in shares.items())
        strongest = frame.sort(pl.col("contribution").abs(), descending=True, maintain_order=True)
        lines = sentences(frame, top) or sentences(strongest, top) or ["no single event of the history moves the score"]
        parts.append("\n".join([f"{title} ({item}): score {sum(shares.values()):.3f}", *lines, f"of the item: {of_item}"]))
        data.append({"item_id": item, "history": frame.to_dicts(), "shares": shares})
    return Answer("\n\n".join(parts), data)


def indexed(arguments: Namespace, retriever: Retriever, page: Path | None) -> Answer:
    """The index of a bundle, and what was measured if it was chosen anew."""
    index, parts = retriever.index, list[str]()
    if page is not None:
        shown = pl.DataFrame(index.measured).with_columns(pl.col("chosen").cast(pl.Int8))
        parts = [as_text(shown.drop("kind", "precision")), f"plot: {page}"]
    count = int(index.alive.sum())
    parts.append(f"{arguments.run_folder}: {index.spec}; {count:,} items on offer, {index.nbytes / 2**20:,.1f} MiB")
    data = {"index": str(index.spec), "items": count, "bytes": index.nbytes, "measured": index.measured}
    return Answer("\n\n".join(parts), data)
