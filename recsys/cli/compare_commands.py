"""What ``recsys compare`` does: bundles, baselines and the lists of other systems on the same users."""

from __future__ import annotations

from argparse import Namespace

from recsys import pipeline
from recsys.cli import answers, checks
from recsys.cli.answer import Answer
from recsys.cli.evaluate_commands import given_lists, given_truth, refuse
from recsys.cli.evaluate_flags import OF_LISTS, OF_LOGS
from recsys.cli.text_flags import check_text_flags
from recsys.errors import ConfigError
from recsys.evaluation.arguments import check_cuts

_COLUMNS = ("rank", "score", "list_user", "list_item", "user", "item", "format")
"""How lists are read, whatever they are judged by."""
_OF_TRUTH = tuple(name for name in (*OF_LISTS, *OF_LOGS, "event") if name not in (*_COLUMNS, "metric"))


def compare(arguments: Namespace) -> Answer:
    """``recsys compare``."""
    if arguments.recommendations is not None and not arguments.run_folders:
        return _lists_alone(arguments)
    refuse(arguments, _OF_TRUTH, "is for --recommendations without a bundle: the events that RUN holds out judge them here")
    if arguments.recommendations is None:
        refuse(arguments, _COLUMNS, "is for --recommendations, the lists of other systems; leave it out")
        own = []
    else:
        own = [([one], arguments.format) for one in arguments.recommendations]
    check_text_flags(arguments, *own)
    checks.check_compare(arguments)
    how = {"metric": arguments.metric, "filter_seen": None if arguments.keep_seen is None else not arguments.keep_seen}
    lists = given_lists(arguments) if own else {}
    found = pipeline.compare_bundles(arguments.run_folders, arguments.baselines, arguments.k, lists=lists, **how)
    return Answer(str(found), found.to_dict())


def _lists_alone(arguments: Namespace) -> Answer:
    """The lists of several systems beside each other."""
    if arguments.truth is None:
        raise ConfigError(
            "--recommendations needs a bundle, whose held-out events judge the lists, or --truth EVENTS, a log of what the "
            "users did later"
        )
    if len(arguments.recommendations) < 2:
        raise ConfigError("compare needs the lists of two systems or more; recsys evaluate judges those of one")
    if arguments.baselines:
        raise ConfigError("--baselines needs a bundle, on whose training data they are fitted; name one, or leave it out")
    refuse(arguments, ("keep_seen", "event"), "is for a bundle, and lists are judged as they are; leave it out")
    check_cuts(arguments.k)
    given = Namespace(**vars(arguments) | {"user_table": None, "category": None})
    lists, truth = given_lists(given), given_truth(given)
    return answers.judged(pipeline.evaluate_lists(lists, truth, arguments.k, metric=arguments.metric))
