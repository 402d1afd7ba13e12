"""Several models on the same users: one table that says plainly which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.core.arguments import flag, instance, listed, text
from recsys.data.catalog import Catalog
from recsys.data.shown import card, frame_rows, rows
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.arguments import check_cuts, check_ranker, filters_seen
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import ACCURACY, Evaluation
from recsys.evaluation.significance import holm, paired_test

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    reports : list of Evaluation
        Best first, by ``metric``.
    metric : str
        What the models are ranked and tested by, such as ``"ndcg@10"``.
    tests : DataFrame
        One row per pair: ``better``, ``worse``, ``difference``, ``p`` (paired randomisation), ``p_holm``, ``significant``.
    """

    reports: list[Evaluation]
    metric: str
    tests: pl.DataFrame

    def frame(self, metrics: Sequence[str] | None = None) -> pl.DataFrame:
        """One row per model, best first; each metric with its 95 % interval."""
        names = list(metrics) if metrics else self._shown()
        rows = []
        for report in self.reports:
            row: dict[str, Any] = {"model": report.model}
            for name in names:
                row[name] = report[name]
                row[f"{name}_low"], row[f"{name}_high"] = report.intervals.get(name, (None, None))
            rows.append(row)
        return pl.DataFrame(rows)

    def _shown(self) -> list[str]:
        first = self.reports[0]
        names = [f"recall@{k}" for k in first.k] + [self.metric, f"coverage@{first.k[0]}"]
        return [name for name in dict.fromkeys(names) if all(name in report.means for report in self.reports)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"metric": self.metric, "models": [r.to_dict() for r in self.reports], "tests": self.tests.to_dicts()}

    def __str__(self) -> str:
        first = self.reports[0]
        names = self._shown()
        wide = max(12, *(len(report.model) + 2 for report in self.reports))
        lines = [f"{first.protocol} · {first.n_users:,} users", " " * wide + "".join(f"{name:>18}" for name in names)]
        lines += [f"{one.model:<{wide}}" + "".join(f"{one.cell(name):>18}" for name in names) for one in self.reports]
        lines.append(f"differences in {self.metric}, paired on the same users (Holm-corrected p)")
        for row in self.tests.iter_rows(named=True):
            verdict = "significant" if row["significant"] else "not significant"
            lines.append(
                f"  {row['better']} over {row['worse']}: {row['difference']:+.4f}, p = {row['p_holm']:.2g}: {verdict}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names = self._shown()
        cells = [[one.model, *(one.cell(name).strip() for name in names)] for one in self.reports]
        facts = {"protocol": self.reports[0].protocol, "users": self.reports[0].n_users}
        note = f"below: differences in {self.metric}, paired on the same users; p_holm is corrected for all pairs"
        return card("comparison", facts, rows(["model", *names], cells), frame_rows(self.tests), note=note)


def compare(
    models: Sequence[Ranker | Evaluation],
    holdout: Holdout | None = None,
    k: int | Sequence[int] = (10, 20, 50),
    *,
    metric: str = "ndcg@10",
    filter_seen: bool | None = None,
    catalog: Catalog | None = None,
    category: str | None = None,
) -> Comparison:
    """Evaluate several models on the same users and test every pair.

    Parameters
    ----------
    models : sequence of Ranker or Evaluation
        At least two, with different names; an Evaluation must be on this holdout.
    holdout : Holdout, optional
        Needed unless each of ``models`` is an Evaluation.
    k, filter_seen, catalog, category
        As for :func:`recsys.evaluate`.
    metric : str
        A per-user metric at one of the ks.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError
        Fewer than two models, two of the same name, an unknown metric, or an evaluation of other users.
    LeakageError
        A model was trained on pairs that it is to find.

    Examples
    --------
    >>> models = [recsys.Popularity().fit(split.train), recsys.EASE().fit(split.train)]
    >>> comparison = recsys.compare(models, split.test, k=10)
    >>> comparison.tests.select("better", "worse", "significant").rows()
    [('EASE', 'popularity', True)]
    """
    models = listed(models, "models", "fitted models")
    for one in models:
        if not isinstance(one, Evaluation):
            check_ranker(one, "each of models")
    evaluated = [one.holdout for one in models if isinstance(one, Evaluation)]
    if holdout is None and models and len(evaluated) == len(models):
        holdout = evaluated[0]
    holdout = instance(holdout, Holdout, "holdout")
    text(metric, "metric")
    if len(models) < 2:
        raise ConfigError("compare needs at least two models")
    names = [one.model if isinstance(one, Evaluation) else one.name for one in models]
    if len(set(names)) < len(names):
        raise ConfigError(f"models to compare need different names; these are {', '.join(names)}")
    k = check_cuts(k)
    rankers = [one for one in models if not isinstance(one, Evaluation)]
    if rankers:
        check_metric(metric, k)
    filter_seen = filters_seen(rankers) if filter_seen is None else flag(filter_seen, "filter_seen")
    reports = [
        one
        if isinstance(one, Evaluation)
        else evaluate(one, holdout, k, filter_seen=filter_seen, catalog=catalog, category=category)
        for one in models
    ]
    for report in reports:
        check_same_users(report.holdout, holdout, report.model)
        if metric not in report.per_user or metric.partition("@")[0] not in ACCURACY:
            raise ConfigError(
                f"metric= (--metric) is {metric!r}, expected one of {', '.join(ACCURACY)} at a k, such as ndcg@10"
            )
    reports.sort(key=lambda report: (-report[metric], report.model))
    return Comparison(reports, metric, _tested(reports, metric))


def check_metric(metric: str, k: int | Sequence[int]) -> None:
    """Refuse to compare by a metric that is not measured.

    Raises
    ------
    ConfigError
        It is not an accuracy metric at one of the ks.
    """
    cuts = check_cuts(k)
    if metric not in {f"{name}@{cut}" for name in ACCURACY for cut in cuts}:
        shown = ", ".join(str(cut) for cut in cuts)
        raise ConfigError(
            f"metric= (--metric) is {metric!r}, expected one of {', '.join(ACCURACY)} at a k of {shown}, such as "
            f"ndcg@{cuts[0]}"
        )


def check_same_users(one: Holdout, other: Holdout, name: str) -> None:
    """Refuse two holdouts that differ in users or targets; those that one of them does not know are ignored.

    Raises
    ------
    ConfigError
        They differ; the message says how.
    """
    if len(one) != len(other):
        raise ConfigError(
            f"{name} was evaluated on other users ({len(one):,} against {len(other):,}); fit both on the same split"
        )
    known = one.user_rows >= 0
    mine, theirs = (
        one.users.to_ids(one.user_rows[known]).cast(pl.String),
        other.users.to_ids(other.user_rows[known]).cast(pl.String),
    )
    unknown = one.users.find_rows(other.users.to_ids(other.user_rows[~known]))
    if (differ := int((mine != theirs).sum() + (unknown >= 0).sum())) > 0:
        raise ConfigError(
            f"{name} was evaluated on other users than these {len(other):,}: {differ:,} differ; fit both on the same split"
        )
    known = one.targets.rows < len(one.items)
    mine = one.items.to_ids(one.targets.rows[known]).cast(pl.String)
    if len(one.targets.rows) != len(other.targets.rows) or not mine.equals(
        other.items.to_ids(other.targets.rows[known]).cast(pl.String)
    ):
        raise ConfigError(f"{name} was evaluated on other targets; fit both on the same split")


def _tested(reports: list[Evaluation], metric: str) -> pl.DataFrame:
    rows = []
    for i, better in enumerate(reports):
        for worse in reports[i + 1 :]:
            a, b = better.per_user[metric], worse.per_user[metric]
            rows.append(
                {
                    "better": better.model,
                    "worse": worse.model,
                    "difference": float((a - b).mean()),
                    "p": paired_test(a, b),
                }
            )
    frame = pl.DataFrame(rows)
    adjusted = holm(frame["p"].to_numpy())
    return frame.with_columns(p_holm=pl.Series(adjusted), significant=pl.Series(adjusted < LEVEL))
