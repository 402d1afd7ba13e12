"""A web service of one's own around a retriever, for those who have one already.

BUNDLE=runs/ml uvicorn own_service:app          (pip install 'recsys[cpu]' fastapi uvicorn)

`recsys serve` has much more: events, keys, limits, metrics, exchange of bundles. It is for those who need none.
"""

from __future__ import annotations

import os
from typing import Annotated

import polars as pl
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel

import recsys


class Item(BaseModel):
    """One line of an answer."""

    item_id: str
    score: float
    rank: int


def items(found: pl.DataFrame) -> list[Item]:
    """An answer as the service gives it."""
    return [
        Item(item_id=str(item), score=score, rank=rank) for item, score, rank in found.select(*Item.model_fields).rows()
    ]


def create_app(retriever: recsys.Retriever) -> FastAPI:
    """The service; a plain `def` route runs in a thread, and any number of threads may ask a retriever."""
    app = FastAPI(title="films")

    @app.get("/users/{user}")
    def for_user(user: str, k: Annotated[int, Query(ge=1, le=100)] = 10) -> list[Item]:
        try:
            found = retriever.recommend(user, k=k)
        except recsys.RecsysError as error:  # an unknown user, and what to do about it
            raise HTTPException(404, str(error)) from error
        return items(found)

    @app.get("/histories")
    def for_history(item: Annotated[list[str], Query(min_length=1, max_length=200)], k: int = 10) -> list[Item]:
        found = retriever.recommend(histories=[item], k=k, unknown="skip")
        return items(found)

    return app


if "BUNDLE" in os.environ:
    app = create_app(recsys.load(os.environ["BUNDLE"]))
