"""What a notebook shows: the figures that the text has, and nothing that data could make into HTML."""

from __future__ import annotations

import sys
import types
from html.parser import HTMLParser

import polars as pl
import pytest

import recsys
from recsys.core import progress
from recsys.data.interactions import Interactions
from recsys.data.shown import frame_rows
from recsys.data.split import Split

BAD = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """Checks that every tag is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.met.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> str:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert "script" not in tags.met
    return html


def test_logs_catalogues_models_and_retrievers_are_shown(ring: Interactions, ring_split: Split) -> None:
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(30)], "title": [BAD] * 30})
    catalog = recsys.Catalog.from_frame(items, text=["title"])
    assert ">320<" in checked(ring._repr_html_())
    assert "&lt;script&gt;" in checked(catalog._repr_html_())
    model = recsys.TwoTower(fast=True)
    assert "fast=True" in checked(model._repr_html_())
    retriever = model.fit(ring_split.train, validation=ring_split.validation).retriever(index="exact")
    assert "exact" in checked(retriever._repr_html_())
    assert ">max_length<" in checked(model._repr_html_())


def test_evaluations_and_comparisons_are_shown(ring_split: Split) -> None:
    first = recsys.evaluate(recsys.Popularity().fit(ring_split.train), ring_split.test, k=5)
    assert first.cell("recall@5") in checked(first._repr_html_())
    other = recsys.evaluate(recsys.ItemKNN().fit(ring_split.train), ring_split.test, k=5)
    shown = checked(recsys.compare([first, other], metric="ndcg@5")._repr_html_())
    assert "popularity" in shown
    assert other.cell("ndcg@5") in shown


def test_long_frames_are_cut_and_say_so() -> None:
    assert "80 more rows" in checked(frame_rows(pl.DataFrame({BAD: range(100)})))


def test_a_notebook_gets_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not progress.in_notebook()
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=shell))
    assert progress.in_notebook()
    assert progress.on_terminal()
    with progress.counting(2, what="work", unit="piece") as advance:
        advance(2)
