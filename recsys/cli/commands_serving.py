"""What the commands on a fitted bundle do: recommend, similar, search, explain, index."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.cli.commands import Answer
from recsys.cli.given_ids import history_of, ids_of, items_of, users_of
from recsys.cli.text_flags import check_text_flags, text_options
from recsys.core.destination import prove_file, prove_folder
from recsys.core.files import atomic_file, exclusive
from recsys.core.progress import warn
from recsys.core.schema import ITEM, QUERY, SIMILAR, TITLE, USER
from recsys.core.text_table import as_text
from recsys.data.read import read_items
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.serving.answer import Answered

_NOTHING = "no item is left: the filters leave none that is not seen already"
_WAIT = 60.0
"""Seconds for which a change of a bundle waits for another one."""
_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def run_recommend(arguments: Namespace) -> Answer:
    """``recsys recommend``."""
    import recsys  # noqa: PLC0415
    from recsys.serving.batch.run import recommend_to_parquet  # noqa: PLC0415

    new = history_of(arguments)
    named = arguments.users is not None or arguments.users_file is not None
    if new and (named or arguments.out):
        raise ConfigError("--history stands alone: it goes with neither --users nor --out")
    if new and arguments.fallback:
        raise ConfigError("--fallback is for users without a history; it does not go with --history")
    users = users_of(arguments)
    if not new and users is None and not arguments.out:
        raise ConfigError("recommending to all users needs --out FILE; or name some with --users")
    how = {name: getattr(arguments, name) for name in ("shard_users", "overwrite", "engine", "workers")}
    how = {name: value for name, value in how.items() if value is not None and value is not False}
    if how and not arguments.out:
        raise ConfigError(f"--{next(iter(how)).replace('_', '-')} belongs to --out")
    filters = _filters(arguments)
    if arguments.out and (strange := {"rules", "fallback"} & set(filters)):
        raise ConfigError(f"--{min(strange)} does not go with --out: a batch ranks by the model alone")
    if arguments.out:
        out = Path(arguments.out)
        prove_file(out) if out.suffix == ".parquet" else prove_folder(out)
    retriever = recsys.load(arguments.run_folder)
    asked: dict[str, Any] = {"k": arguments.k, "filter_seen": not arguments.keep_seen} | filters
    if arguments.out:
        done = recommend_to_parquet(retriever, arguments.out, users=users, bundle=arguments.run_folder, **asked, **how)
        told = f"{arguments.out}: {done.rows:,} rows for {done.users - done.without_history:,} users"
        return Answer(told, {"out": arguments.out, **asdict(done)})
    if new:
        found = retriever.answered(histories=[new], **asked)
        frame = retriever.with_titles(found.frame.drop(QUERY))
        return Answer(as_text(frame) if frame.height else _NOTHING, _with_counts(arguments, found, frame, "histories"))
    assert users is not None  # noqa: S101 - all of them need --out
    found = retriever.answered(users, **asked)
    frame = retriever.with_titles(found.frame)
    data, parts = _with_counts(arguments, found, frame, "users"), []
    for (user,), own in frame.group_by(USER, maintain_order=True):
        known = retriever.users.find_rows([user])[0] >= 0
        last = ", ".join(retriever.history(user).tail(3)[TITLE].to_list()) if known else "nothing"
        parts.append(f"user {user}, last: {last}\n{as_text(own.drop(USER))}")
    if found.moves is not None:
        parts.append(f"what the rules moved\n{as_text(retriever.with_titles(found.moves))}")
    return Answer("\n\n".join(parts) or _NOTHING, data)


def _with_counts(arguments: Namespace, found: Answered, frame: pl.DataFrame, what: str) -> Any:
    """The rows, beside which --unknown skip counts what was left out; in any case one line tells of that."""
    if told := found.left_out.sentence(len(found.lengths), what):
        warn(told)
    return {"rows": frame.to_dicts(), **asdict(found.left_out)} if arguments.unknown == "skip" else frame.to_dicts()


def _filters(arguments: Namespace) -> dict[str, Any]:
    """The filters and rules that were asked for."""
    from recsys.serving.rules.spec import Rules  # noqa: PLC0415

    found: dict[str, Any] = {name: getattr(arguments, name) for name in ("where", "fallback", "unknown")}
    found |= {name: ids_of(arguments, name) for name in ("exclude", "allow")}
    if arguments.rules:
        found["rules"] = Rules.read(arguments.rules)
    return {name: value for name, value in found.items() if value is not None}


def run_similar(arguments: Namespace) -> Answer:
    """``recsys similar``."""
    import recsys  # noqa: PLC0415

    items = items_of(arguments)
    retriever = recsys.load(arguments.run_folder)
    asked = {"k": arguments.k, "where": arguments.where, "unknown": arguments.unknown or "error"}
    frame = retriever.with_titles(retriever.similar_items(items, **asked), SIMILAR)
    parts = []
    for (item,), own in frame.group_by(ITEM, maintain_order=True):
        title = retriever.catalog.title_of(retriever.items.to_rows([item]))[0]
        parts.append(f"like {title} ({item})\n{as_text(own.drop(ITEM))}")
    return Answer("\n\n".join(parts) or _NOTHING, frame.to_dicts())


def run_search(arguments: Namespace) -> Answer:
    """``recsys search``."""
    import recsys  # noqa: PLC0415

    retriever = recsys.load(arguments.run_folder)
    frame = retriever.with_titles(retriever.search(arguments.texts, k=arguments.k, where=arguments.where))
    parts = []
    for (text,), own in frame.group_by(QUERY, maintain_order=True):
        parts.append(f"{text}\n{as_text(own.drop(QUERY))}")
    return Answer("\n\n".join(parts) or _NOTHING, frame.to_dicts())


def run_explain(arguments: Namespace) -> Answer:
    """``recsys explain``."""
    import recsys  # noqa: PLC0415
    from recsys.serving.explain import sentences  # noqa: PLC0415

    items, history = items_of(arguments), history_of(arguments)
    if (arguments.user is None) == (history is None):
        raise ConfigError("explain needs either --user or --history")
    if arguments.top < 1:
        raise ConfigError(f"--top must be at least 1, not {arguments.top}")
    retriever = recsys.load(arguments.run_folder)
    parts, data = [], []
    who: dict[str, Any] = {"user": arguments.user} if arguments.user is not None else {"history": history}
    who["unknown"] = arguments.unknown or "error"
    for item in items:
        frame = retriever.explain(item=item, **who)
        shares = retriever.score_breakdown(item=item, **who)
        title = retriever.catalog.title_of(retriever.items.to_rows([item]))[0]
        told = ", ".join(f"{name} {share:+.3f}" for name, share in shares.items())
        lines = sentences(frame, arguments.top) or ["no single event of the history moves it"]
        parts.append("\n".join([f"{title} ({item}): score {sum(shares.values()):.3f}", *lines, f"of the item: {told}"]))
        data.append({"item_id": item, "history": frame.to_dicts(), "shares": shares})
    return Answer("\n\n".join(parts), data)


def run_index(arguments: Namespace) -> Answer:
    """``recsys index``: choose an index anew, or change what is on offer; the bundle is replaced as a whole."""
    import recsys  # noqa: PLC0415
    from recsys.bundle.io import save  # noqa: PLC0415
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415
    from recsys.report.index_page import index_page  # noqa: PLC0415

    folder = Path(arguments.run_folder)
    removed = ids_of(arguments, "remove")
    budget = None if arguments.memory is None else size(arguments.memory)
    changes = bool(arguments.add or arguments.update or removed or arguments.compact)
    measuring = [name for name in ("recall", "memory", "kind", "out") if getattr(arguments, name) is not None]
    if changes and measuring:
        raise ConfigError(
            f"--{measuring[0]} is for choosing an index; --add, --update, --remove and --compact change what is on offer: "
            f"make it two commands"
        )
    page_file = Path(arguments.out) if arguments.out else folder.parent / f"{folder.resolve().name}-index.html"
    if page_file.is_dir():
        raise ConfigError(f"{page_file} is a folder; name a file for the page (--out)")
    check_text_flags(arguments, *((file, None) for file in (arguments.add, arguments.update) if file))
    added, updated = (
        read_items(file, **text_options(arguments, file)) if file else None for file in (arguments.add, arguments.update)
    )
    read_manifest(folder)  # what is no bundle is told before anything is locked
    parts = []
    with exclusive(folder, wait=_WAIT) as held:  # from loading to saving: two changes at once are made one after the other
        retriever = recsys.load(folder)
        if added is not None:
            retriever.add_items(added)
        if updated is not None:
            retriever.update_items(updated)
        if removed:
            retriever.remove_items(removed)
        if arguments.compact:
            retriever.compact()
        if not changes:
            kind = arguments.kind or "auto"
            kinds = None if kind == "auto" else [] if kind == "exact" else [kind]
            recall = 0.99 if arguments.recall is None else arguments.recall
            retriever.choose_index(recall_target=recall, memory_budget=budget, kinds=kinds)
        save(retriever.bundle, folder, overwrite=True, like=folder, held=held)
    if not changes:
        shown = pl.DataFrame(retriever.index.measured).with_columns(pl.col("chosen").cast(pl.Int8))
        parts.append(as_text(shown.drop("kind", "precision")))
        with atomic_file(page_file) as temporary:
            html = index_page(folder.resolve().name, len(retriever.index), retriever.index.measured)
            temporary.write_text(html, encoding="utf-8")
        parts.append(f"plot: {page_file}")
    index = retriever.index
    there = int(index.alive.sum())
    parts.append(f"{folder}: {index.spec}; {there:,} items on offer, {index.nbytes / 2**20:,.1f} MiB")
    data = {"index": str(index.spec), "items": there, "bytes": index.nbytes, "measured": index.measured}
    return Answer("\n\n".join(parts), data)


def size(text: str) -> int:
    """Bytes of a size such as ``2GiB``, ``500MB`` or ``1048576``.

    Raises
    ------
    ConfigError
        It is written otherwise.
    """
    found = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in _UNITS or found[1].count(".") > 1 or not found[1].strip("."):
        raise ConfigError(f"{text!r} is no size; write it like 2GiB, 500MB or 1048576")
    return int(float(found[1]) * _UNITS[found[2].upper()])
