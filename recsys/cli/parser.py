"""The command ``recsys``: a thin skin over the public API."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final, get_args

from recsys.baselines import REGISTRY
from recsys.cli import commands, interrupted, screen
from recsys.cli.answers import Answer
from recsys.cli.text_flags import add_text_flags
from recsys.cli.words import Parser, free_text, raw_id
from recsys.config.options import Gather, add_flags
from recsys.config.recipe import TABLES
from recsys.core.version import __version__
from recsys.data.formats.paths import Format
from recsys.data.times.units import TimeUnit
from recsys.errors import RecsysError


def _name_and_weight(text: str) -> tuple[str, float]:
    name, separator, weight = text.rpartition("=")
    try:
        if separator:
            return name, float(weight)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not written TYPE=WEIGHT, such as view=1")


def _log_flags(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    parser.add_argument("log", nargs="+" if needed else "*", help="interaction files, globs or folders")
    group = parser.add_argument_group("columns of the log")
    group.add_argument("--format", choices=get_args(Format), help="file format (default: from the file's ending)")
    group.add_argument("--user", default="user_id", help="column of user ids (default: user_id)")
    group.add_argument("--item", default="item_id", help="column of item ids (default: item_id)")
    group.add_argument("--timestamp", help="column of instants (default: timestamp, where there is one)")
    group.add_argument(
        "--time-unit", choices=get_args(TimeUnit),
        help="unit of instants that are numbers since 1970 (default: inferred from the values of all files)",
    )  # fmt: skip
    group.add_argument("--order", help="column that orders each user's events, instead of a timestamp")
    group.add_argument("--weight", help="column with an event's strength, such as a rating")
    group.add_argument("--event", help="column with an event's type, such as view or buy")
    group.add_argument(
        "--event-weights", nargs="+", action=Gather, type=_name_and_weight, metavar="TYPE=WEIGHT",
        help="each event type's strength, instead of --weight: view=1 cart=3 buy=5",
    )  # fmt: skip
    group.add_argument("--drop-unordered", action="store_true", help="leave out rows whose timestamp or order is missing")
    group.add_argument(
        "--unordered", action="store_true",
        help="the log has no order: hold out random items, learn no positions, and read no times",
    )  # fmt: skip
    group.add_argument(
        "--drop-duplicates", action="store_true", help="leave out rows that repeat one in user, item, time and event type"
    )
    group = parser.add_argument_group("the catalogue")
    group.add_argument("--catalog", nargs="+", action=Gather, help="item files, globs or folders")
    group.add_argument("--catalog-format", choices=get_args(Format), help="file format (default: from the file's ending)")
    group.add_argument("--catalog-item", help="column of item ids in the catalogue (default: that of the log)")
    group.add_argument(
        "--text", nargs="+", action=Gather, help="columns that make an item's text (default: title, description, ...)"
    )
    group.add_argument("--title", help="column shown to people (default: the first text column)")
    add_text_flags(parser)


def _user_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user-table", help="file with one row per user, for features of users")
    parser.add_argument(
        "--user-columns", nargs="+", action=Gather, default=[], help="its columns of categories, such as gender"
    )
    parser.add_argument("--user-numbers", nargs="+", action=Gather, default=[], help="its columns of numbers, such as age")


_FILE_HELP = "{} from a file: one a line in UTF-8, - for standard input, or a table's column (FILE or FILE::COLUMN)"


def _id_flag(parser: argparse.ArgumentParser, flag: str, metavar: str, said: str) -> None:
    parser.add_argument(flag, nargs="+", action=Gather, type=raw_id, metavar=metavar, help=said)
    parser.add_argument(f"{flag}-file", metavar="FILE", help=_FILE_HELP.format(f"what {flag} takes"))


def _seen_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-seen", action=argparse.BooleanOptionalAction,
        help="rank items of the history too (default: as the bundle was validated, which fit --keep-seen decides)",
    )  # fmt: skip


def _unknown_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unknown", choices=["error", "skip"],
        help="what to do with ids that the model does not know: fail, or skip and count them (default: error)",
    )  # fmt: skip


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], Answer]]] = {
    "demo": commands.demo,
    "fit": commands.fit,
    "tune": commands.tune,
    "evaluate": commands.evaluate,
    "compare": commands.compare,
    "report": commands.report,
    "recommend": commands.recommend,
    "similar": commands.similar,
    "search": commands.search,
    "explain": commands.explain,
    "index": commands.index,
    "inspect": commands.inspect,
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
    parser.add_argument("--json", action="store_true", help="print JSON for programs to read")
    parser.set_defaults(run=COMMANDS[name], command=name)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="recsys", description="Interaction logs and item text in, ranked items out.")
    parser.add_argument("--version", action="version", version=f"recsys {__version__}")
    subs = parser.add_subparsers(required=True, metavar="command", parser_class=Parser)

    demo = _command(subs, "demo", "make a shop, train on it, compare and recommend", "recsys demo --out runs/demo")
    demo.add_argument("--out", default="runs/demo", help="folder for the data and the bundle (default: runs/demo)")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")

    fit = _command(
        subs, "fit", "train two towers on a log and save the bundle",
        "recsys fit ratings.csv --user userId --item movieId --catalog movies.csv --text title genres --out runs/ml",
    )  # fmt: skip
    before = len(fit._actions)
    _log_flags(fit, needed=True)
    _user_flags(fit)
    fit.set_defaults(data_flags=fit._actions[before:])
    fit.add_argument("--out", help="folder of the bundle to write; needed unless nothing is written")
    fit.add_argument("--overwrite", action="store_true", help="replace an older bundle there")
    fit.add_argument(
        "--split", choices=["last", "time", "random", "none"],
        help="what to hold out for validation and test: each user's last two events, what comes after the 0.9 quantile of "
        "time, two random items of each user, or nothing (default: last; random with --unordered)",
    )  # fmt: skip
    fit.add_argument("--recipe", help="TOML file with [model], [objective], [augment] and [training]; flags win over it")
    fit.add_argument("--resume", action="store_true", help="resume an interrupted run from its last checkpoint")
    fit.add_argument("--dry-run", action="store_true", help="print time per epoch and memory, and write nothing")
    fit.add_argument(
        "--find-rate", action="store_true", help="also try rising learning rates and suggest one; write nothing"
    )
    for title, owner in TABLES.items():
        add_flags(fit, owner, title)

    tune = _command(
        subs, "tune", "search for the options that do best on validation",
        "recsys tune ratings.csv --catalog movies.csv --space training/recipes/search-default.toml --out runs/search",
    )  # fmt: skip
    before = len(tune._actions)
    _log_flags(tune, needed=True)
    _user_flags(tune)
    tune.set_defaults(data_flags=tune._actions[before:])
    tune.add_argument("--space", required=True, help="TOML file: a recipe with lists and ranges under [search.model] etc.")
    tune.add_argument("--out", required=True, help="folder for best.toml, trials.csv, search.html and the study")
    tune.add_argument("--trials", type=int, default=50, help="trials in all, earlier runs included (default: 50)")
    tune.add_argument("--minutes", type=float, help="start no further trial after this many minutes (default: no limit)")
    tune.add_argument(
        "--split", choices=["last", "time", "random"],
        help="what to hold out for validation and test, as for fit (default: last; random with --unordered)",
    )  # fmt: skip
    tune.add_argument(
        "--keep-seen", action="store_true", help="rank items of the history too, as [training] keep_seen = true does"
    )
    tune.add_argument("--storage", help="SQLite file of the study, to resume it (default: study.db in --out)")
    tune.add_argument("--seed", type=int, default=0, help="seed of the proposals (default: 0)")

    evaluate = _command(subs, "evaluate", "evaluate a bundle on its held-out users", "recsys evaluate runs/ml --k 10 50")
    evaluate.add_argument("run_folder", metavar="RUN", help="a bundle")
    evaluate.add_argument(
        "--k", type=int, nargs="+", action=Gather, default=[10, 20, 50], help="list lengths (default: 10 20 50)"
    )
    _seen_flag(evaluate)
    evaluate.add_argument("--segments", action="store_true", help="also by history length, popularity, time and category")
    evaluate.add_argument("--category", help="catalogue column for diversity, calibration and groups")
    evaluate.add_argument("--user-table", help="file with one row per user, for groups of users")
    evaluate.add_argument(
        "--user-columns", nargs="+", action=Gather, default=[], help="its columns to group by, such as gender age"
    )
    evaluate.add_argument("--user", help="its column of user ids (default: user_id)")
    add_text_flags(evaluate)

    compare = _command(
        subs,
        "compare",
        "compare bundles and baselines on the same users",
        "recsys compare runs/a runs/b --baselines ease als",
    )
    compare.add_argument("run_folders", metavar="RUN", nargs="+", help="bundles fitted on the same split")
    compare.add_argument(
        "--baselines",
        nargs="+",
        action=Gather,
        default=[],
        choices=tuple(REGISTRY),
        help="baselines to fit on what the first bundle was fitted on",
    )
    compare.add_argument(
        "--k", type=int, nargs="+", action=Gather, default=[10, 20, 50], help="list lengths (default: 10 20 50)"
    )
    _seen_flag(compare)
    compare.add_argument("--metric", help="what to rank and test by (default: ndcg@10, or at the first of the ks)")

    report = _command(subs, "report", "write an evaluation as one HTML page", "recsys report runs/ml --out report.html")
    report.add_argument("run_folder", metavar="RUN", help="a bundle")
    report.add_argument("--out", required=True, help="the page; figures (.json) and model card (.md) go beside it")
    report.add_argument("--category", help="catalogue column for groups, diversity, calibration and the map's colours")
    _seen_flag(report)
    report.add_argument("--no-baselines", action="store_true", help="do not fit baselines to compare with")

    recommend = _command(
        subs,
        "recommend",
        "recommend to known users, or for a history",
        "recsys recommend runs/ml --users all --k 100 --out recs",
    )
    recommend.add_argument("run_folder", metavar="RUN", help="a bundle")
    _id_flag(recommend, "--users", "USER", "user ids, or the word all (default: all, which needs --out)")
    _id_flag(recommend, "--history", "ITEM", "item ids of somebody new, oldest first")
    recommend.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    recommend.add_argument("--out", help="folder of Parquet shards to write or to resume; or one FILE.parquet")
    recommend.add_argument("--keep-seen", action="store_true", help="also recommend items of the history")
    recommend.add_argument("--shard-users", type=int, help="users per shard, which fits into memory (default: 100000)")
    recommend.add_argument("--overwrite", action="store_true", help="discard an existing batch of other settings")
    recommend.add_argument("--engine", choices=["local", "ray"], help="compute here, or on a Ray cluster (default: local)")
    recommend.add_argument(
        "--workers", type=int, help="threads, or processes of Ray (default: as many as there are processors)"
    )

    recommend.add_argument(
        "--where", metavar="PREDICATE", help="""only items such as 'category == "Books" and price < 20'"""
    )
    _id_flag(recommend, "--exclude", "ITEM", "never recommend these items")
    _id_flag(recommend, "--eligible", "ITEM", "recommend these items only")
    recommend.add_argument("--rules", metavar="FILE", help="TOML file with boosts, pins, caps, diversity and freshness")
    recommend.add_argument(
        "--fallback", choices=["error", "popular"], help="for users without a history (default: an error)"
    )

    _unknown_flag(recommend)

    similar = _command(subs, "similar", "find items like these", "recsys similar runs/ml 1 --k 5")
    similar.add_argument("run_folder", metavar="RUN", help="a bundle")
    similar.add_argument("items", nargs="*", metavar="ITEM", type=raw_id, help="item ids")
    similar.add_argument("--items-file", metavar="FILE", help=_FILE_HELP.format("more item ids"))
    similar.add_argument("--k", type=int, default=10, help="items per item (default: 10)")
    similar.add_argument("--where", metavar="PREDICATE", help="only items for which it holds, as for recommend")

    _unknown_flag(similar)

    search = _command(subs, "search", "find items by a text", 'recsys search runs/ml "animated films about toys"')
    search.add_argument("run_folder", metavar="RUN", help="a bundle")
    search.add_argument("texts", nargs="+", metavar="TEXT", type=free_text, help="what to look for")
    search.add_argument("--k", type=int, default=10, help="items per text (default: 10)")
    search.add_argument("--where", metavar="PREDICATE", help="only items for which it holds, as for recommend")

    explain = _command(
        subs, "explain", "explain which events of a history move an item's score", "recsys explain runs/ml 1196 --user 42"
    )
    explain.add_argument("run_folder", metavar="RUN", help="a bundle")
    explain.add_argument("items", nargs="*", metavar="ITEM", type=raw_id, help="item ids to explain")
    explain.add_argument("--items-file", metavar="FILE", help=_FILE_HELP.format("more item ids"))
    explain.add_argument("--user", type=raw_id, help="a known user")
    _id_flag(explain, "--history", "ITEM", "item ids of somebody new, oldest first")
    explain.add_argument("--top", type=int, default=5, help="number of events to show (default: 5)")

    _unknown_flag(explain)

    index = _command(
        subs, "index", "choose the index of a bundle by measuring, or change its items",
        "recsys index runs/ml --recall 0.95 --memory 2GiB",
    )  # fmt: skip
    index.add_argument("run_folder", metavar="RUN", help="a bundle; it is replaced as a whole")
    index.add_argument("--recall", type=float, help="least share of the exact results (default: 0.99)")
    index.add_argument("--memory", metavar="SIZE", help="most memory, such as 2GiB (default: any)")
    index.add_argument(
        "--kind", choices=["auto", "exact", "truncated", "ivf", "sq", "ivfpq", "hnsw"],
        help="what to try beside the exact index (default: all)",
    )  # fmt: skip
    index.add_argument("--out", metavar="FILE", help="page with the trade-off (default: RUN-index.html)")
    index.add_argument("--add", metavar="FILE", help="table of new items: item_id and the catalogue's columns")
    index.add_argument("--update", metavar="FILE", help="table of items whose text or columns have changed")
    _id_flag(index, "--remove", "ITEM", "remove these items: never recommend them again")
    index.add_argument("--compact", action="store_true", help="build the index anew, of the items that are there")
    add_text_flags(index)

    inspect = _command(subs, "inspect", "show what is in a log or a bundle", "recsys inspect runs/ml")
    before = len(inspect._actions)
    _log_flags(inspect, needed=True)
    inspect.set_defaults(data_flags=inspect._actions[before:])
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0; 2 after an error that the caller can mend (one line on standard error); 128 and the signal's number where it was
        stopped: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    screen.prepare()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("recsys")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    parsed = build_parser().parse_args(arguments)
    try:
        with interrupted.stoppable():
            answer = parsed.run(parsed)
    except RecsysError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
    except KeyboardInterrupt as stopped:
        return interrupted.tell(stopped, parsed)
    return screen.show(screen.as_json(answer.data) if parsed.json else answer.text)


def _refused(message: str) -> int:
    print(f"recsys: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
