"""``POST /v1/similar``, ``search``, ``score`` and ``explain``: the other questions to a bundle."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict

from fastapi import Request, Response

from recsys.errors import RecsysError
from recsys.server.asks import ExplainAsk, Listed, ScoreAsk, SearchAsk, SimilarAsk
from recsys.server.engine import Answered
from recsys.server.limits import check_model, check_predicate
from recsys.server.problems import of_field
from recsys.server.routes.guarded import asks_model, bytes_of, outcome, router, seconds_left
from recsys.server.routes.recommend import items_of
from recsys.server.schemas import (
    ExplainAnswer,
    ExplainBody,
    ListsAnswer,
    ScoreAnswer,
    ScoreBody,
    SearchBody,
    SimilarBody,
)
from recsys.server.served import served_by

routes = router("look up")


@routes.post("/v1/similar", response_model=ListsAnswer, openapi_extra=asks_model("read"))
async def similar(body: SimilarBody, request: Request) -> Response:
    """Find the items that are most like others."""
    served = served_by(request)
    check_model(body, served.settings.limits)
    check_predicate(body.where, served.settings.limits, "body.where")
    asks = [SimilarAsk(item=item, k=body.k, where=body.where, by=body.by, titles=body.titles) for item in body.items]
    found = await _all(request, served.engine.together(asks, seconds=seconds_left(request)))
    results = [{"item_id": item, "items": items_of(listed)} for item, listed in zip(body.items, found, strict=True)]
    return bytes_of({"results": results, "bundle": found[0].digest, "request_id": request.state.request_id})


@routes.post("/v1/search", response_model=ListsAnswer, openapi_extra=asks_model("read"))
async def search(body: SearchBody, request: Request) -> Response:
    """Find items by a description in words."""
    served, limits = served_by(request), served_by(request).settings.limits
    check_model(body, limits)
    check_predicate(body.where, limits, "body.where")
    for i, text in enumerate(body.texts):
        if len(text) > limits.max_text_length:
            raise of_field(f"body.texts[{i}]", f"has {len(text):,} characters; at most {limits.max_text_length:,} are read")
    asks = [SearchAsk(text=text, k=body.k, where=body.where, titles=body.titles) for text in body.texts]
    found = await _all(request, served.engine.together(asks, seconds=seconds_left(request)))
    results = [{"text": text, "items": items_of(listed)} for text, listed in zip(body.texts, found, strict=True)]
    return bytes_of({"results": results, "bundle": found[0].digest, "request_id": request.state.request_id})


@routes.post("/v1/explain", response_model=ExplainAnswer, openapi_extra=asks_model("read"))
async def explain(body: ExplainBody, request: Request) -> Response:
    """Explain which events of a history, and which parts of an item, raise or lower its score."""
    served = served_by(request)
    check_model(body, served.settings.limits)
    found = await outcome(request, served.engine.explain(ExplainAsk(**dict(body)), seconds=seconds_left(request)))
    answer = {"reasons": [asdict(one) for one in found.reasons], "parts": found.parts, "bundle": found.digest}
    return bytes_of({**answer, "request_id": request.state.request_id})


@routes.post("/v1/score", response_model=ScoreAnswer, openapi_extra=asks_model("read"))
async def score(body: ScoreBody, request: Request) -> Response:
    """Score items for a user, or for a history, seen or not."""
    served = served_by(request)
    check_model(body, served.settings.limits)
    found = await outcome(request, served.engine.score(ScoreAsk(**dict(body)), seconds=seconds_left(request)))
    items = [{"item_id": item, "score": value} for item, value in zip(found.item_ids, found.scores, strict=True)]
    return bytes_of({"items": items, "bundle": found.digest, "request_id": request.state.request_id})


async def _all(request: Request, future: Future[list[Answered | RecsysError]]) -> list[Listed]:
    """The lists of one call, or the first error among them."""
    found = await outcome(request, future)
    lists = [one for one in found if isinstance(one, Listed)]
    if len(lists) < len(found):
        raise next(one for one in found if isinstance(one, RecsysError))
    return lists
