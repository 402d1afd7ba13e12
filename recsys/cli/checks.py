"""What the flags of a command must not be together, checked before anything costly."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from recsys.cli.given_ids import ids_of
from recsys.core.destination import FitPlaces, prove_file, prove_folder
from recsys.core.sizes import bytes_of
from recsys.data.store.manifest import is_store
from recsys.errors import ConfigError


def fit_places(arguments: Namespace) -> FitPlaces:
    """Where ``fit`` writes."""
    if arguments.out is None:
        raise ConfigError("fit needs --out FOLDER for the bundle; only --dry-run and --find-rate work without it")
    return FitPlaces.of(arguments.out)


def tune_options(arguments: Namespace) -> dict[str, Any]:
    """The budget of ``tune`` and the file of its study; what cannot be is refused, and places are proven to be writable."""
    from recsys.tuning.search import check_budget  # noqa: PLC0415 - optuna

    budget = {name: getattr(arguments, name) for name in ("trials", "seed", "minutes")}
    check_budget(**budget)
    prove_folder(Path(arguments.out))
    if arguments.storage:
        prove_file(Path(arguments.storage), option="--storage")
    return budget | {"storage": None if arguments.storage is None else Path(arguments.storage)}


def check_compare(arguments: Namespace) -> None:
    """Refuse fewer than two models, and a baseline named twice."""
    if twice := [name for name in arguments.baselines if arguments.baselines.count(name) > 1]:
        raise ConfigError(f"--baselines names {twice[0]} twice; a model is compared with others")
    if not arguments.run_folders:
        raise ConfigError("compare needs RUN, the folder of a bundle, or --recommendations RECS and --truth EVENTS")
    if len(arguments.run_folders) + len(arguments.baselines) + len(arguments.recommendations or ()) < 2:
        raise ConfigError("compare needs two models or more: name more bundles, some --baselines or --recommendations")


def is_bundle(arguments: Namespace) -> bool:
    """Whether ``inspect`` was given a bundle; flags for reading logs are then refused."""
    if not arguments.log:
        return False
    only = Path(arguments.log[0])
    files = (only / "manifest.json", only / "config.json")
    if len(arguments.log) > 1 or not only.is_dir() or is_store(only) or not any(file.exists() for file in files):
        return False
    of_logs = [flag for flag in arguments.data_flags if flag.option_strings]
    if idle := [flag.option_strings[0] for flag in of_logs if getattr(arguments, flag.dest) != flag.default]:
        raise ConfigError(f"{only} is a bundle, and {idle[0]} is for reading logs; leave it out")
    return True


def recommend_options(arguments: Namespace, new: list[str] | None, users: list[str] | None) -> dict[str, Any]:
    """How ``recommend`` answers; combinations that say nothing are refused, and ``--out`` is proven to be writable."""
    if new and (arguments.users is not None or arguments.users_file is not None or arguments.out):
        raise ConfigError("--history cannot be combined with --users or --out")
    if new and arguments.fallback:
        raise ConfigError("--fallback is for users without a history; it cannot be combined with --history")
    if not new and users is None and not arguments.out:
        raise ConfigError(
            "recommendations for all users need --out FOLDER or --out FILE.parquet; or name users with --users"
        )
    if (batch := _batch_options(arguments)) and not arguments.out:
        raise ConfigError(f"--{next(iter(batch)).replace('_', '-')} needs --out")
    found = _filters(arguments) | batch
    if arguments.out and (strange := {"rules", "fallback"} & set(found)):
        raise ConfigError(f"--{min(strange)} is not supported with --out")
    if arguments.out:
        out = Path(arguments.out)
        prove_file(out) if out.suffix == ".parquet" else prove_folder(out)
    if arguments.out and arguments.pseudonym_key:
        found["key"] = arguments.pseudonym_key
    return {"k": arguments.k, "filter_seen": not arguments.keep_seen} | found


def _batch_options(arguments: Namespace) -> dict[str, Any]:
    """How a batch is made, as far as it was given."""
    given = {name: getattr(arguments, name) for name in ("shard_users", "overwrite", "engine", "workers")}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def _filters(arguments: Namespace) -> dict[str, Any]:
    from recsys.serving.rules.spec import Rules  # noqa: PLC0415

    found: dict[str, Any] = {name: getattr(arguments, name) for name in ("where", "fallback", "unknown")}
    found |= {name: ids_of(arguments, name) for name in ("exclude", "eligible")}
    if arguments.rules:
        found["rules"] = Rules.read(arguments.rules)
    return {name: value for name, value in found.items() if value is not None}


def search_options(arguments: Namespace) -> dict[str, Any]:
    """What ``search`` compares with, and how; texts and pictures together, or neither, are refused."""
    if bool(arguments.texts) is bool(arguments.pictures):
        raise ConfigError("search needs TEXT or --pictures FILE, and not both")
    if arguments.by is not None and arguments.pictures:
        raise ConfigError("--by is about texts, and --pictures are compared with pictures; leave it out")
    found = {"pictures": arguments.pictures, "by": arguments.by or "texts"}
    return found | {"k": arguments.k, "where": arguments.where}


def explain_options(arguments: Namespace, history: list[str] | None) -> dict[str, Any]:
    """Whose score ``explain`` explains."""
    if (arguments.user is None) == (history is None):
        raise ConfigError("explain needs either --user or --history")
    if arguments.top < 1:
        raise ConfigError(f"--top must be at least 1, not {arguments.top}")
    who = {"user": arguments.user} if arguments.user is not None else {"history": history}
    return who | {"unknown": arguments.unknown or "error"}


def index_page_of(arguments: Namespace, removed: list[str] | None) -> Path | None:
    """Where the page of ``index`` goes; None if it changes items, which flags for choosing an index do not go with."""
    changes = bool(arguments.add or arguments.update or removed or arguments.compact)
    measuring = [name for name in ("recall", "memory", "kind", "out") if getattr(arguments, name) is not None]
    if changes and measuring:
        raise ConfigError(
            f"--{measuring[0]} is for choosing an index and cannot be combined with --add, --update, --remove or "
            f"--compact, which change items; run two commands"
        )
    folder = Path(arguments.run_folder)
    page = Path(arguments.out) if arguments.out else folder.parent / f"{folder.resolve().name}-index.html"
    if page.is_dir():
        raise ConfigError(f"{page} is a folder; name a file for the page (--out)")
    if not changes:
        prove_file(page)
    return None if changes else page


def index_bounds(arguments: Namespace) -> dict[str, Any]:
    """The bounds within which ``index`` chooses."""
    kind = arguments.kind or "auto"
    return {
        "recall_target": 0.99 if arguments.recall is None else arguments.recall,
        "memory_budget": None if arguments.memory is None else bytes_of(arguments.memory, "--memory"),
        "kinds": None if kind == "auto" else [] if kind == "exact" else [kind],
    }


def check_estimate(arguments: Namespace) -> None:
    """Refuse what an estimate does not count.

    Raises
    ------
    ConfigError
        A second training is asked for.
    """
    if arguments.refit:
        raise ConfigError("--dry-run and --find-rate are about one training, and --refit adds a second; leave it out")
