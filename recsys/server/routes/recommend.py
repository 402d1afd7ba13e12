"""``POST /v1/recommend``: items for a person; the hot route."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import Request, Response

from recsys.errors import RecsysError
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.limits import check_model, check_predicate, check_rules
from recsys.server.problems import Problem, problem_of
from recsys.server.routes.guarded import HotRoute, asks_model, bytes_of, outcome, router, seconds_left
from recsys.server.schemas import BatchAnswer, BatchBody, RecommendAnswer, RecommendBody
from recsys.server.served import Served, served_by
from recsys.serving.rules.spec import Rules

routes = router("recommend", HotRoute)


@routes.post("/v1/recommend", response_model=RecommendAnswer, openapi_extra=asks_model("read"))
async def recommend(body: RecommendBody, request: Request) -> Response:
    """Recommend items to a user, or for a history.

    A user's history is what the bundle holds and every event that was acknowledged since.
    """
    served = served_by(request)
    check_model(body, served.settings.limits)
    listed = await outcome(request, served.engine.recommend(_ask(body, served, "body"), seconds=seconds_left(request)))
    return bytes_of(_answer(listed, body, served, request.state.request_id))


@routes.post("/v1/recommend/batch", response_model=BatchAnswer, openapi_extra=asks_model("read"))
async def recommend_batch(body: BatchBody, request: Request) -> Response:
    """Answer several requests in one call, each with its answer or its problem, in their order.

    One state of one bundle answers them all.
    """
    served, request_id = served_by(request), request.state.request_id
    check_model(body, served.settings.limits)
    asks = [_tried(asked, served, f"body.requests[{i}]") for i, asked in enumerate(body.requests)]
    good = [ask for ask in asks if isinstance(ask, RecommendAsk)]
    found = await outcome(request, served.engine.together(good, seconds=seconds_left(request))) if good else []
    left = iter(found)
    answers = [next(left) if isinstance(ask, RecommendAsk) else ask for ask in asks]
    return bytes_of(
        {
            "answers": [
                _answer(one, asked, served, request_id) if isinstance(one, Listed) else problem_of(failed(one)).to_dict()
                for one, asked in zip(answers, body.requests, strict=True)
            ]
        }
    )


def _tried(body: RecommendBody, served: Served, place: str) -> RecommendAsk | Exception:
    """What is asked, or the error that stands in the place of its answer."""
    try:
        return _ask(body, served, place)
    except (RecsysError, Problem) as error:
        return error


def failed(found: object) -> Exception:
    """The error in the place of an answer."""
    return found if isinstance(found, Exception) else TypeError(f"{type(found).__name__} is no answer")


def _ask(body: RecommendBody, served: Served, place: str) -> RecommendAsk:
    limits = served.settings.limits
    check_predicate(body.where, limits, f"{place}.where")
    check_rules(body.rules, limits, f"{place}.rules")
    given = {name: value for name, value in vars(body).items() if name != "rules"}
    return RecommendAsk(rules=None if body.rules is None else Rules.of(body.rules, f"{place}.rules"), **given)


def _answer(listed: Listed, body: RecommendBody, served: Served, request_id: str) -> dict[str, Any]:
    effects = {"rule_effects": _titled([asdict(one) for one in listed.rule_effects], listed)} if body.rule_effects else {}
    return {
        "items": items_of(listed),
        **effects,
        "source": listed.source,
        "history_length": listed.history_length,
        "fresh_events": listed.fresh_events,
        "unknown_items": listed.passed.unknown_items,
        "unreadable_events": listed.passed.unreadable_events,
        "stale": served.store.stale,
        "bundle": listed.digest,
        "request_id": request_id,
    }


def items_of(listed: Listed) -> list[dict[str, Any]]:
    """The items of an answer, best first, with their titles where these were asked for."""
    found: list[dict[str, Any]] = [
        {"item_id": item, "score": score, "rank": rank}
        for rank, (item, score) in enumerate(zip(listed.item_ids, listed.scores, strict=True), 1)
    ]
    return _titled(found, listed)


def _titled(found: list[dict[str, Any]], listed: Listed) -> list[dict[str, Any]]:
    if listed.titles:
        for one in found:
            one["title"] = listed.titles[one["item_id"]]
    return found
