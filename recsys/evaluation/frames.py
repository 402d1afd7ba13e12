"""Judge the lists of any system: the same metrics, intervals, segments and tests as for a model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys.core.arguments import flag, text, text_or_none
from recsys.core.schema import ITEM, USER
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.read import read_interactions, read_items
from recsys.data.recommendations import read_recommendations
from recsys.data.sources import Source
from recsys.data.split import Holdout
from recsys.data.store.manifest import is_store
from recsys.data.store.opening import open_store
from recsys.evaluation.arguments import check_cuts
from recsys.evaluation.result import Evaluation
from recsys.evaluation.truth import Truth


def evaluate_frame(
    recommendations: Source,
    truth: Source | Interactions | Holdout,
    *,
    history: Source | Interactions | None = None,
    catalog: Source | Catalog | None = None,
    k: int | Sequence[int] = (10, 20, 50),
    user: str = USER,
    item: str = ITEM,
    rank: str | None = None,
    score: str | None = None,
    category: str | None = None,
    name: str = "recommendations",
    allow_leakage: bool = False,
) -> Evaluation:
    """Judge lists that any system has made by what the users did, as :func:`recsys.evaluate` judges a model.

    The users of the truth are judged; one without a list is a miss throughout, and lists of other users are left out. Lists
    are cut at the largest k; a shorter one is judged as it is. Everything that is left out is counted in the result.

    Parameters
    ----------
    recommendations : frame, path, or a list of these
        A row for each user and item, with a rank or a score; or a row for each user with a list of items. See
        :func:`recsys.data.recommendations.read_recommendations`.
    truth : frame, path, store, Interactions or Holdout
        What each user was to be shown: events after those that the system learned from. A repeated user and item counts
        once. A holdout brings its own histories.
    history : frame, path, store or Interactions, optional
        What the system learned from: gives the items that each user has seen, and popularity, by which novelty is measured.
    catalog : frame, path or Catalog, optional
        What could have been recommended: with the items of the history, what coverage is a share of.
    k : int or sequence of int
        List lengths.
    user, item : str
        The columns of ids in every table that is not read yet; a store has its own.
    rank, score : str, optional
        Column that orders each list: ranks, the least first, or scores, the greatest first. By default ``rank``, or else
        ``score``.
    category : str, optional
        A column of the catalogue: measure diversity by category and calibration too.
    name : str
        Of the system, for tables.
    allow_leakage : bool
        Judge although the history holds the events of the truth.

    Returns
    -------
    Evaluation
        Without coverage if there is neither history nor catalogue.

    Raises
    ------
    DataError
        A table cannot be used; a list holds an item twice, or its ranks are repeated or have gaps; no user of the truth has
        a list, or no item of the lists is known.
    LeakageError
        The history holds events of the truth.
    ConfigError
        An option cannot be used.

    Examples
    --------
    >>> lists = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "b", "c"], "rank": [1, 2, 1]})
    >>> later = pl.DataFrame({"user_id": [1, 2, 3], "item_id": ["b", "c", "a"]})
    >>> report = recsys.evaluate_frame(lists, later, k=2)
    >>> report.per_user["recall@2"].tolist(), report.counts["users_without_list"]
    ([1.0, 1.0, 0.0], 1)
    """
    cuts = check_cuts(k)
    text_or_none(category, "category")
    text(name, "name")
    judged = Truth.of(
        truth if isinstance(truth, Interactions | Holdout) else _log_of(truth, user, item),
        history if history is None or isinstance(history, Interactions) else _log_of(history, user, item),
        catalog if catalog is None or isinstance(catalog, Catalog) else catalog_of(catalog, item=item),
        category=category,
        allow_leakage=flag(allow_leakage, "allow_leakage"),
    )
    lists = read_recommendations(recommendations, user=user, item=item, rank=rank, score=score)
    return judged.judge(lists, cuts, name)


def _log_of(source: Source, user: str, item: str) -> Interactions:
    """The log in a store, or in files or frames."""
    if isinstance(source, str | Path) and is_store(Path(source)):
        return open_store(source)
    return read_interactions(source, user=user, item=item)


def catalog_of(source: Source, *, item: str = ITEM, **how: str | Sequence[str] | None) -> Catalog:
    """A catalogue of columns without a text; ``how`` is what :func:`recsys.data.read.read_items` takes."""
    return Catalog.from_frame(read_items(source, item=item, **how), text=[])  # type: ignore[arg-type]
