"""The command ``recsys``: a thin skin over the public API."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Final, get_args

from recsys.baselines import REGISTRY
from recsys.cli import (
    adapt_commands,
    commands,
    compare_commands,
    completion,
    compress_commands,
    drift_commands,
    evaluate_commands,
    export_commands,
    forget_commands,
    import_commands,
    membership_commands,
    prepare_commands,
    pseudonym_commands,
    store_commands,
    update_commands,
)
from recsys.cli.answer import Answer
from recsys.cli.compare_flags import add_compare_flags
from recsys.cli.drift_flags import add_drift_flags
from recsys.cli.evaluate_flags import add_evaluate_flags, add_keep_seen_flag
from recsys.cli.forget_flags import add_forget_flags, add_pseudonym_key_flag, add_pseudonyms_flags
from recsys.cli.import_flags import add_engine_flags, add_import_flags, add_verify_flag
from recsys.cli.inspect_commands import add_page_flag
from recsys.cli.log_flags import add_column_flags, add_log_flags, add_user_flags
from recsys.cli.prepare_flags import add_prepare_flags
from recsys.cli.quarantine_flags import add_quarantine_flags
from recsys.cli.running import run
from recsys.cli.store_flags import add_export_flags, add_keys_flags, add_serve_flags
from recsys.cli.text_flags import add_text_flags
from recsys.cli.update_flags import add_update_flags
from recsys.cli.version_flag import Version
from recsys.cli.words import Parser, free_text, raw_id
from recsys.config.options import Gather, add_flags
from recsys.config.recipe import TABLES
from recsys.data.split_choice import RefitName

_FILE_HELP = "{} from a file: one id per line in UTF-8, - for standard input, or a column of a table (FILE or FILE::COLUMN)"


def _id_flag(parser: argparse.ArgumentParser, flag: str, metavar: str, said: str) -> None:
    parser.add_argument(flag, nargs="+", action=Gather, type=raw_id, metavar=metavar, help=said)
    parser.add_argument(f"{flag}-file", metavar="FILE", help=_FILE_HELP.format(f"read what {flag} takes"))


def _unknown_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unknown", choices=["error", "skip"],
        help="what to do about ids that the model does not know: stop, or skip and count them (default: error)",
    )  # fmt: skip


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], Answer]]] = {
    "demo": commands.demo,
    "adapt": adapt_commands.adapt,
    "fit": commands.fit,
    "tune": commands.tune,
    "evaluate": evaluate_commands.evaluate,
    "compare": compare_commands.compare,
    "report": commands.report,
    "recommend": commands.recommend,
    "similar": commands.similar,
    "search": commands.search,
    "explain": commands.explain,
    "index": commands.index,
    "drift": drift_commands.drift,
    "update": update_commands.update,
    "prepare": prepare_commands.prepare,
    "import": import_commands.import_log,
    "inspect": commands.inspect,
    "compress": compress_commands.compress,
    "export": export_commands.export,
    "forget": forget_commands.forget,
    "export-events": store_commands.export_events,
    "keys": store_commands.keys,
    "membership": membership_commands.membership,
    "pseudonyms": pseudonym_commands.pseudonyms,
    "serve": store_commands.serve,
    "completion": completion.completion,
}
"""Name of a command → what it does."""


def _command(subs: argparse._SubParsersAction[Parser], name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subs.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=COMMANDS[name], command=name)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="recsys", description="Train recommenders on interaction logs, and evaluate and serve them.")
    parser.add_argument("--version", action=Version, help="show the versions of recsys and of what it runs on, and exit")
    subs = parser.add_subparsers(required=True, metavar="command", parser_class=Parser)

    demo = _command(
        subs,
        "demo",
        "make a synthetic shop, train on it, compare with baselines and recommend",
        "recsys demo --out runs/demo",
    )
    demo.add_argument("--out", default="runs/demo", help="folder for the data and the bundle (default: runs/demo)")
    demo.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")

    fit = _command(
        subs, "fit", "train a two-tower model on a log and save it as a bundle",
        "recsys fit ratings.csv --user userId --item movieId --catalog movies.csv --text title genres --out runs/ml",
    )  # fmt: skip
    before = len(fit._actions)
    add_log_flags(fit)
    add_user_flags(fit)
    fit.set_defaults(data_flags=fit._actions[before:])
    fit.add_argument(
        "--relations", metavar="FILE", nargs="+", action=Gather,
        help="tables of related items (item_id, related_item_id, relation, weight), such as complements; each relation is "
        "weighed on validation",
    )  # fmt: skip
    fit.add_argument("--out", metavar="FOLDER", help="folder of the bundle; required except with --dry-run and --find-rate")
    fit.add_argument("--overwrite", action="store_true", help="replace an earlier bundle in --out")
    fit.add_argument(
        "--split", choices=["last", "time", "random", "none"],
        help="what to hold out for validation and test: each user's last two events, what comes after the 0.9 quantile of "
        "time, two random items of each user, or nothing (default: last; random with --unordered)",
    )  # fmt: skip
    fit.add_argument(
        "--recipe",
        metavar="FILE",
        help="TOML file with [model], [objective], [augment] and [training], or the name of a recipe that comes with "
        "recsys, such as amazon-beauty; flags win over it",
    )
    fit.add_argument(
        "--refit", choices=get_args(RefitName),
        help="train again after validation: with its events before the test is evaluated, or with all events once it was, "
        "for serving; or update the model with what was held out, at a tenth of the cost (default: no)",
    )  # fmt: skip
    fit.add_argument("--resume", action="store_true", help="resume an interrupted run from its last checkpoint")
    add_engine_flags(fit, "count the transitions of the memory")
    fit.add_argument("--dry-run", action="store_true", help="estimate time per epoch and memory, and write nothing")
    fit.add_argument("--find-rate", action="store_true", help="as --dry-run, and try rising learning rates to suggest one")
    for title, owner in TABLES.items():
        add_flags(fit, owner, title)

    tune = _command(
        subs, "tune", "search for the options that score best on validation",
        "recsys tune ratings.csv --catalog movies.csv --space search-default --out runs/search",
    )  # fmt: skip
    before = len(tune._actions)
    add_log_flags(tune)
    add_user_flags(tune)
    tune.set_defaults(data_flags=tune._actions[before:])
    tune.add_argument(
        "--space",
        metavar="FILE",
        required=True,
        help="TOML file: a recipe with lists and ranges under [search.model] and so on; or search-default",
    )
    tune.add_argument(
        "--out", metavar="FOLDER", required=True, help="folder for best.toml, trials.csv, search.html and the study"
    )
    tune.add_argument("--trials", type=int, default=50, help="trials in all, earlier runs included (default: 50)")
    tune.add_argument("--minutes", type=float, help="start no further trial after this many minutes (default: no limit)")
    tune.add_argument(
        "--split", choices=["last", "time", "random"],
        help="what to hold out for validation and test, as for fit (default: last; random with --unordered)",
    )  # fmt: skip
    tune.add_argument(
        "--keep-seen", action="store_true", help="also rank items of the history, as [training] keep_seen = true does"
    )
    tune.add_argument(
        "--storage", metavar="FILE", help="SQLite file of the study, which a later run resumes (default: study.db in --out)"
    )
    tune.add_argument("--seed", type=int, default=0, help="seed of the proposals (default: 0)")

    add_evaluate_flags(
        _command(
            subs, "evaluate", "evaluate a bundle on its held-out users, or the lists of other systems on what users did",
            "recsys evaluate runs/ml --k 10 50\n  recsys evaluate --recommendations als.csv knn.csv --truth later.csv",
        )
    )  # fmt: skip

    add_compare_flags(
        _command(
            subs, "compare", "compare bundles, baselines and the lists of other systems on the same users",
            "recsys compare runs/a runs/b --baselines ease als --recommendations theirs.parquet",
        ),
        tuple(REGISTRY),
    )  # fmt: skip

    report = _command(
        subs, "report", "evaluate a bundle and write the result as one HTML page", "recsys report runs/ml --out report.html"
    )
    report.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    report.add_argument(
        "--out",
        metavar="FILE",
        required=True,
        help="the HTML page; figures (.json) and model card (.md) are written beside it",
    )
    report.add_argument(
        "--category", metavar="COLUMN", help="catalogue column for groups, diversity, calibration and the map's colours"
    )
    add_keep_seen_flag(report)
    report.add_argument("--no-baselines", action="store_true", help="fit no baselines to compare with")

    recommend = _command(
        subs,
        "recommend",
        "recommend items to known users, or for a history",
        "recsys recommend runs/ml --users all --k 100 --out recs",
    )
    recommend.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    _id_flag(recommend, "--users", "USER", "user ids, or the word all (default: all, which needs --out)")
    _id_flag(recommend, "--history", "ITEM", "item ids of a new user's history, oldest first")
    recommend.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    recommend.add_argument("--out", help="folder of Parquet shards to write or resume; or one FILE.parquet")
    recommend.add_argument("--keep-seen", action="store_true", help="also recommend items of the history")
    recommend.add_argument(
        "--shard-users", metavar="N", type=int, help="users per shard; a shard must fit into memory (default: 100000)"
    )
    recommend.add_argument("--overwrite", action="store_true", help="replace a batch that was begun with other settings")
    recommend.add_argument("--engine", choices=["local", "ray"], help="compute here, or on a Ray cluster (default: local)")
    recommend.add_argument(
        "--workers", type=int, metavar="N", help="threads, or processes of Ray (default: one per processor)"
    )

    recommend.add_argument(
        "--where",
        metavar="PREDICATE",
        help="""only items for which this holds, such as 'category == "Books" and price < 20'""",
    )
    _id_flag(recommend, "--exclude", "ITEM", "never recommend these items")
    _id_flag(recommend, "--eligible", "ITEM", "recommend these items only")
    recommend.add_argument("--rules", metavar="FILE", help="TOML file with boosts, pins, caps, diversity and freshness")
    recommend.add_argument(
        "--fallback",
        choices=["error", "popular"],
        help="for users without a history: stop, or recommend popular items (default: error)",
    )

    add_pseudonym_key_flag(recommend)
    _unknown_flag(recommend)

    similar = _command(subs, "similar", "find items that are similar to others", "recsys similar runs/ml 1 --k 5")
    similar.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    similar.add_argument("items", nargs="*", metavar="ITEM", type=raw_id, help="item ids")
    similar.add_argument("--items-file", metavar="FILE", help=_FILE_HELP.format("read more item ids"))
    similar.add_argument("--k", type=int, default=10, help="similar items for each item (default: 10)")
    similar.add_argument("--where", metavar="PREDICATE", help="only items for which this holds, as for recommend")
    similar.add_argument(
        "--by", choices=["vectors", "transitions"],
        help="compare vectors, or take what came next in the log (default: vectors; transitions of a fast model)",
    )  # fmt: skip

    _unknown_flag(similar)

    search = _command(
        subs,
        "search",
        "find items by a description in words, or by a picture",
        'recsys search runs/ml "animated films about toys"',
    )
    search.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    search.add_argument("texts", nargs="*", metavar="TEXT", type=free_text, help="what to look for")
    search.add_argument("--pictures", nargs="+", action=Gather, metavar="FILE", help="image files to look for the like of")
    search.add_argument(
        "--by", choices=["texts", "pictures"],
        help="what of the items a TEXT is compared with; pictures need an image encoder that reads texts (default: texts)",
    )  # fmt: skip
    search.add_argument("--k", type=int, default=10, help="items per text (default: 10)")
    search.add_argument("--where", metavar="PREDICATE", help="only items for which this holds, as for recommend")

    explain = _command(
        subs,
        "explain",
        "explain which events of a history raise or lower the score of an item",
        "recsys explain runs/ml 1196 --user 42",
    )
    explain.add_argument("run_folder", metavar="RUN", help="folder of a bundle")
    explain.add_argument("items", nargs="*", metavar="ITEM", type=raw_id, help="item ids to explain")
    explain.add_argument("--items-file", metavar="FILE", help=_FILE_HELP.format("read more item ids"))
    explain.add_argument("--user", type=raw_id, metavar="USER", help="id of a known user")
    _id_flag(explain, "--history", "ITEM", "item ids of a new user's history, oldest first")
    explain.add_argument("--top", type=int, default=5, help="number of events to show (default: 5)")

    add_pseudonym_key_flag(explain)
    _unknown_flag(explain)

    index = _command(
        subs, "index", "choose the index of a bundle by measuring, or change its items",
        "recsys index runs/ml --recall 0.95 --memory 2GiB",
    )  # fmt: skip
    index.add_argument("run_folder", metavar="RUN", help="folder of a bundle, which is replaced as a whole")
    index.add_argument(
        "--recall",
        metavar="SHARE",
        type=float,
        help="smallest share of the exact results that the index must find (default: 0.99)",
    )
    index.add_argument("--memory", metavar="SIZE", help="largest size of the index, such as 2GiB (default: no limit)")
    index.add_argument(
        "--kind", choices=["auto", "exact", "truncated", "ivf", "sq", "ivfpq", "hnsw"],
        help="kind of index to try beside the exact one; auto: all kinds (default: auto)",
    )  # fmt: skip
    index.add_argument("--out", metavar="FILE", help="HTML page that shows the trade-off (default: RUN-index.html)")
    index.add_argument("--add", metavar="FILE", help="table of new items: item_id and the catalogue's columns")
    index.add_argument("--update", metavar="FILE", help="table of items whose text or columns have changed")
    _id_flag(index, "--remove", "ITEM", "items to remove, which are never recommended again")
    index.add_argument(
        "--compact", action="store_true", help="drop removed items that no history holds, and build the index anew"
    )
    add_text_flags(index)

    add_drift_flags(
        _command(
            subs, "drift", "see how far newer events have moved from what a bundle knows, and whether to update it",
            "recsys drift runs/ml new.parquet --page drift.html --fail-on retrain",
        )
    )  # fmt: skip

    add_update_flags(
        _command(
            subs, "update", "take new events into a bundle, and save the result if it is not worse",
            "recsys update runs/ml today.csv --out runs/ml-2",
        )
    )  # fmt: skip

    add_prepare_flags(
        _command(
            subs, "prepare", "turn the files of a public data set into a log and a catalogue",
            "recsys prepare ml-1m --from ml-1m.zip --out prepared/ml-1m",
        )
    )  # fmt: skip

    store = _command(
        subs, "import", "read a log into a store, which opens in milliseconds and grows by appending",
        "recsys import ratings.csv --user userId --item movieId --out stores/ml",
    )  # fmt: skip
    add_column_flags(store, "files of interactions, patterns or folders")
    add_text_flags(store)
    add_quarantine_flags(store)
    add_import_flags(store)

    inspect = _command(subs, "inspect", "summarise a log or a store, or describe a bundle", "recsys inspect runs/ml")
    before = len(inspect._actions)
    add_log_flags(inspect, "files of interactions, patterns or folders; one store, or one bundle")
    add_page_flag(inspect)
    inspect.set_defaults(data_flags=inspect._actions[before:])
    add_verify_flag(inspect)

    add_serve_flags(
        _command(
            subs,
            "serve",
            "answer requests over HTTP from a bundle or an export",
            "recsys serve runs/ml --db sqlite:///recsys.db",
        )
    )
    adapt_commands.add_adapt_flags(
        _command(
            subs, "adapt", "adapt a text encoder to the texts of a catalogue, and to what came next in a log",
            "recsys adapt movies.csv --item movieId --text title genres --encoder all-MiniLM-L6-v2 --out encoders/movies",
        )
    )  # fmt: skip
    compress_commands.add_compress_flags(
        _command(
            subs, "compress", "measure what of a bundle can be smaller, and keep the smallest that ranks as well",
            "recsys compress runs/ml --recall-loss 1% --out runs/ml-small",
        )
    )  # fmt: skip
    export_commands.add_export_flags(
        _command(
            subs, "export", "write a bundle as ONNX, with all that it takes to answer without PyTorch",
            "recsys export runs/ml --out exports/ml",
        )
    )  # fmt: skip
    add_export_flags(
        _command(
            subs, "export-events", "write the events of a server as a log that fit reads",
            "recsys export-events --db sqlite:///recsys.db --out events.parquet --since 2026-01-01",
        )
    )  # fmt: skip
    add_forget_flags(
        _command(
            subs, "forget", "forget users in a bundle, a store, a server's database and exported files",
            "recsys forget runs/ml --users 42 --overwrite --store stores/ml --db sqlite:///recsys.db",
        )
    )  # fmt: skip
    membership_commands.add_membership_flags(
        _command(
            subs, "membership", "train on half of some users, and see how well an attack tells them from the other half",
            "recsys membership log.parquet --catalog items.parquet --epsilon 8 --delta 1e-6 --encoder none --epochs 5",
        )
    )  # fmt: skip
    add_pseudonyms_flags(
        _command(
            subs, "pseudonyms", "make a key of pseudonyms, or move pseudonyms to a newer key",
            "recsys pseudonyms key secrets/pseudonyms.key",
        )
    )  # fmt: skip
    add_keys_flags(
        _command(
            subs, "keys", "make, list and revoke the API keys of a server",
            "recsys keys create --db sqlite:///recsys.db --role read --name shop --expires 90d",
        )
    )  # fmt: skip
    completion.add_flags(
        _command(
            subs, "completion", "print a script by which a shell completes commands and flags",
            "recsys completion bash > ~/.local/share/bash-completion/completions/recsys",
        ),
        parser,
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0; 2 after an error that the caller can mend (one line on standard error); 3 where an update was refused; 128 and
        the signal's number where it was stopped: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    return run(build_parser(), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
