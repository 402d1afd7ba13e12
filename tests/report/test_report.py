"""The report: figures of a small fitted model, as JSON, as a page that loads nothing, and as a model card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import evaluate
from recsys.pages.page import in_script
from recsys.report import build, model_card, write
from recsys.report.figures import plain
from recsys.report.groups import long_tail
from recsys.report.sections import SECTIONS, report_page
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower
from tests.conftest import make_events, make_items

EVIL = "<script>alert(1)</script>"


def evil_items() -> pl.DataFrame:
    """Titles and categories that try to become markup."""
    items = make_items()
    title = pl.col("title") + f" {EVIL}</script><b>&amp; | `x`"
    return items.with_columns(title, category=pl.Series([f"sort {i % 3} {EVIL}" for i in range(items.height)]))


def fitted(catalog: Catalog | None, *, timestamps: bool = True, encoder: Path | None = None) -> Retriever:
    events = make_events()
    log = Interactions.from_frame(events if timestamps else events.drop("timestamp"))
    split = leave_last_out(log)
    training = Training(epochs=4, batch_tokens=64, learning_rate=1e-2, device="cpu", patience=0)
    model = TwoTower(encoder=None if encoder is None else str(encoder), dim=16, max_length=8, blocks=1, transitions="none")
    model.fit(split.train, catalog, validation=split.validation, training=training)
    return model.retriever(log=log, holdout=split.test)


@pytest.fixture(scope="module")
def retriever(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fitted(Catalog.from_frame(evil_items(), text=["title"]), encoder=tiny_encoder)


@pytest.fixture(scope="module")
def figures(retriever: Retriever) -> dict[str, Any]:
    return build(retriever.bundle, retriever).figures


@pytest.fixture(scope="module")
def html(figures: dict[str, Any]) -> str:
    return report_page(figures)


@pytest.fixture(scope="module")
def plain_figures() -> dict[str, Any]:
    """Of a model of ids alone, without catalogue, timestamps and training log."""
    bare = fitted(None, timestamps=False)
    bare = Retriever(replace(bare.bundle, trained=None))
    return build(bare.bundle, bare).figures


class Elements(HTMLParser):
    """Every element with its attributes, the text outside scripts and styles, and each script's content."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text.append(data)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    found = Elements(html)
    assert not [tag for tag, _ in found.elements if tag in {"link", "iframe", "img", "object", "embed", "base", "video"}]
    for _, attributes in found.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    own_style = "".join(found.styles)
    assert "url(" not in own_style
    assert "@import" not in own_style
    policy = next(a["content"] for t, a in found.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    own_script = "".join(script for script in found.scripts if "plotly.js" not in script[:400])
    assert len(own_script) < 500_000
    assert "http://" not in own_script
    assert "https://" not in own_script


def test_titles_and_categories_stay_text(html: str) -> None:
    found = Elements(html)
    assert len(found.scripts) == 3
    assert EVIL not in html.replace(found.scripts[1], "")
    assert EVIL in "".join(found.text)


def test_titles_in_the_plots_cannot_end_the_script_and_are_shown_as_written(html: str) -> None:
    raw = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.DOTALL)
    assert raw is not None
    assert "<" not in raw[1]
    specs = json.loads(raw[1])
    titles = specs["plot-map"]["data"][0]["text"]
    assert all("<" not in title for title in titles)
    assert EVIL in unescape(titles[0])
    shown = [text for text in strings(specs) if "<" in text]
    assert {text.partition("<")[2] for text in shown} <= {"extra></extra>"}


def test_every_section_is_there_and_linked(html: str) -> None:
    found = Elements(html)
    anchors = {attributes.get("id") for tag, attributes in found.elements if tag == "section"}
    assert anchors == set(SECTIONS)
    assert {attributes["href"] for tag, attributes in found.elements if tag == "a"} == {f"#{name}" for name in SECTIONS}


def test_every_plot_has_its_place_and_plotly_accepts_it(html: str) -> None:
    import plotly.graph_objects as go

    found = Elements(html)
    specs = json.loads(found.scripts[0])
    assert {a["id"] for _, a in found.elements if a.get("class") == "plot"} == set(specs)
    for spec in specs.values():
        figure = go.Figure(spec)
        assert len(figure.data) > 0
        assert all(len(trace.y) > 0 for trace in figure.data)
    assert {"plot-curve", "plot-tail", "plot-loss", "plot-validation", "plot-map"} <= set(specs)


def test_json_is_strict_and_agrees_with_the_page_and_the_card(figures: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write(figures, out)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert read == figures
    text = "".join(Elements(out.read_text()).text)
    card = model_card(figures)
    for name in ("recall@10", "ndcg@10", "mrr@10", "coverage@10"):
        shown = f"{read['headline']['metrics'][name]['mean']:.4f}"
        assert shown in text
        assert shown in card
    assert f"{read['headline']['users']:,}" in text
    assert (tmp_path / "report.md").read_text() == card
    assert sorted(file.name for file in tmp_path.glob("report*")) == ["report.html", "report.json", "report.md"]


def test_the_figures_are_those_of_evaluate(retriever: Retriever, figures: dict[str, Any]) -> None:
    assert retriever.holdout is not None
    report = evaluate(retriever, retriever.holdout, (1, 10))
    assert figures["headline"]["metrics"]["recall@10"]["mean"] == pytest.approx(report["recall@10"])
    own = next(one for one in figures["curve"]["models"] if one["model"] == retriever.name)
    assert own["mean"][figures["curve"]["k"].index(1)] == pytest.approx(report["recall@1"])
    assert figures["curve"]["k"] == [1, 2, 5, 10, 20]
    assert {one["model"] for one in figures["models"]} == {"two towers", "popularity", "item-kNN", "transitions", "EASE"}
    assert len(figures["tests"]["rows"]) == 10  # every pair of five models


def test_shares_are_shares(figures: dict[str, Any]) -> None:
    assert [group["name"] for group in figures["fairness"]["groups"]] == ["popularity", "temperature", "category"]
    for group in figures["fairness"]["groups"]:
        for key in ("catalogue", "interactions", "exposure"):
            assert sum(row[key] for row in group["rows"]) == pytest.approx(1)
    for one in figures["long_tail"]["curves"]:
        assert one["share"][-1] == pytest.approx(1)
        assert one["share"] == sorted(one["share"])


def test_the_long_tail_by_hand(retriever: Retriever) -> None:
    assert retriever.holdout is not None
    report = evaluate(retriever, retriever.holdout, 10)
    shown = np.zeros(len(retriever.items), dtype=np.int64)
    shown[[0, 1, 2]] = [1, 2, 5]
    counts = np.zeros(len(retriever.items), dtype=np.int64)
    counts[[2, 0]] = [30, 10]
    found = long_tail([replace(report, exposure={10: shown})], counts)
    assert found["items"][:3] == [1, 2, 3]
    assert found["curves"][0]["share"][:3] == [0.75, 1.0, 1.0]
    assert found["curves"][1]["share"][:3] == [5 / 8, 6 / 8, 1.0]


def test_examples_tell_places_that_the_recommendations_bear_out(figures: dict[str, Any]) -> None:
    users = figures["examples"]["users"]
    assert 4 <= len(users) <= 6
    for user in users:
        place = user["targets"][0]["place"]
        hits = [i for i, one in enumerate(user["recommended"], start=1) if one["hit"]]
        assert hits == ([place] if place is not None and place <= 5 else [])
        assert user["found"] == (place is not None and place <= 10)


def test_the_same_seed_gives_the_same_figures(retriever: Retriever, figures: dict[str, Any]) -> None:
    again = build(retriever.bundle, retriever).figures
    for changing in (again, figures):
        changing["headline"] = changing["headline"] | {"made": ""}
    assert again == figures


def test_what_is_missing_is_left_out_and_said(plain_figures: dict[str, Any], tmp_path: Path) -> None:
    assert set(plain_figures["left_out"]) == {"baselines", "popularity", "long_tail", "category", "time"}
    assert [segment["name"] for segment in plain_figures["segments"]] == ["history length"]
    assert plain_figures["fairness"]["groups"] == []
    assert plain_figures["long_tail"] is None
    assert [one["model"] for one in plain_figures["models"]] == ["two towers"]
    write(plain_figures, tmp_path / "plain.html")
    text = "".join(Elements((tmp_path / "plain.html").read_text()).text)
    card = model_card(plain_figures)
    for reason in plain_figures["left_out"].values():
        assert reason in text
    assert text.count("left out") >= 5
    assert plain_figures["left_out"]["baselines"] in card
    assert "It reads no text" in card
    assert "plot-tail" not in text


def test_baselines_can_be_declined_and_a_missing_column_is_refused(retriever: Retriever) -> None:
    alone = build(retriever.bundle, retriever, k=(10,), baselines=False).figures
    assert alone["left_out"] == {"baselines": "not asked for"}
    assert alone["tests"]["rows"] == []
    assert "two towers" in model_card(alone)
    with pytest.raises(ConfigError, match="no column 'colour'; it has title, category"):
        build(retriever.bundle, retriever, category="colour")
    with pytest.raises(ConfigError, match="keeps no holdout"):
        build(replace(retriever.bundle, holdout=None), retriever)


def test_the_card_holds_metrics_baselines_groups_and_the_command(figures: dict[str, Any]) -> None:
    card = model_card(figures)
    own = next(one for one in figures["models"] if one["model"] == "two towers")["metrics"]["ndcg@10"]
    assert f"{own['mean']:.4f} ({own['low']:.4f}–{own['high']:.4f})" in card
    for word in ("# Model card: two towers", "EASE", "item-kNN", "## Data", "Holm", "### By history", "recsys fit LOG"):
        assert word.replace("By history", "By length of history") in card
    assert "<script" not in card
    for line in card.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    tables = re.findall(r"(?:^\|.*\n?)+", card, re.MULTILINE)
    for one in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in one.splitlines()}) == 1


@pytest.mark.parametrize("name", ["report.json", "report", "report.md"])
def test_a_page_needs_the_ending_of_one(figures: dict[str, Any], tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        write(figures, tmp_path / name)
    assert not list(tmp_path.glob("report*"))


def test_a_failed_write_leaves_the_old_page(
    figures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")

    def fail(*_: Any, **__: Any) -> str:
        raise RuntimeError

    monkeypatch.setattr("recsys.report.files.report_page", fail)
    with pytest.raises(RuntimeError):
        write(figures, out)
    assert out.read_text() == "old"
    assert [file.name for file in tmp_path.glob("*report*")] == ["report.html"]


@pytest.mark.parametrize("make", [in_script, lambda value: json.dumps(value)])
def test_what_is_no_number_becomes_null(make: Callable[[Any], str]) -> None:
    cleaned = plain({"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": np.array([1.5, np.nan]), "d": None})
    assert json.loads(make(cleaned)) == {"a": None, "b": [None, 3], "c": [1.5, None], "d": None}


def test_import_leaves_plotly_alone() -> None:
    import subprocess
    import sys

    code = "import sys, recsys.report, recsys.report.sections, recsys.pages.page; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
