"""What a search gives: a page that loads nothing, a recipe to fit again with, and the command's answer."""

from __future__ import annotations

import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.config.model import ModelConfig
from recsys.config.options import build, read_recipe
from recsys.config.recipe import TABLES
from recsys.data.split import Split
from recsys.tuning.page import search_page, write
from recsys.tuning.trials import Tuning
from recsys.two_tower import Recipe, TwoTower
from tests.conftest import make_events, make_items
from tests.tuning.searching import FIXED, SEARCH, failing, hill, pretend, search, space_of

pytestmark = pytest.mark.usefixtures("hasty_sqlite")


@pytest.fixture(scope="module")
def found(ring_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    folder = tmp_path_factory.mktemp("found")
    text = '[search.model]\nencoder = ["none", "<b>x</b></script>"]\ndropout = { low = 0.0, high = 0.5 }\n'
    text += "[search.training]\nlearning_rate = { low = 1e-4, high = 1e-2, log = true }\n"
    space = space_of(folder, FIXED.replace('encoder = "none"\n', "") + text)
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, failing(lambda model: model.dropout < 0.1))
        return search(ring_split, space, folder, name="<i>&")


class Loads(HTMLParser):
    """What a page would fetch, what it runs, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str | None] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        found = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "data", "srcset"}]
        self.loads += [tag] if tag in {"link", "iframe", "img", "object", "embed", "base"} else []
        self.ids += [found.get("id")] if found.get("class") == "plot" else []
        self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def test_the_page_loads_nothing_and_says_what_was_found(found: Tuning) -> None:
    html = search_page(found)
    read = Loads(html)
    assert all(one.startswith("#") for one in read.loads)
    assert "default-src 'none'" in html
    assert 'name="viewport" content="width=device-width' in html
    own = [script for script in read.scripts if "plotly.js" not in script[:400]]
    assert "http" not in "".join(own)
    assert len(read.scripts) == 3
    assert f"{found.best_row['value']:.4f}" in read.text
    assert "<i>&: search" in read.text
    assert read.text.count("the loss became nan") == found.trials["state"].to_list().count("failed")


def test_every_plot_is_one_that_plotly_accepts_and_has_axes(found: Tuning) -> None:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    read = Loads(search_page(found))
    specs = json.loads(read.scripts[0])
    assert (
        set(specs) == set(read.ids) == {"plot-history", "plot-importance", "plot-slice-0", "plot-slice-1", "plot-slice-2"}
    )
    for spec in specs.values():
        figure = go.Figure(spec)
        assert all(len(trace.y) > 0 for trace in figure.data)
        assert {"xaxis", "yaxis"} <= spec["layout"].keys()
    drawn = sum(len(trace["x"]) for trace in specs["plot-slice-0"]["data"])
    assert drawn == found.trials["value"].count()
    line = next(trace for trace in specs["plot-history"]["data"] if trace["name"] == "best so far")
    assert line["y"] == sorted(line["y"])
    assert line["y"][-1] == found.best_row["value"]


def test_too_few_trials_leave_importances_out_and_say_so(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, hill)
    few = search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path, trials=2)
    assert few.importances == {}
    assert "it takes 4 complete trials or more" in Loads(search_page(few)).text


def test_the_best_recipe_is_an_ordinary_recipe(found: Tuning, tmp_path: Path) -> None:
    files = write(found, tmp_path / "out")
    recipe = read_recipe(files["recipe"], TABLES)
    assert recipe == found.best | {"training": found.best["training"] | {"adapt": "off"}}
    assert build(ModelConfig, recipe["model"]).dropout == found.best_row["model.dropout"]
    assert f"{found.best_row['value']:.4f}" in files["recipe"].read_text().splitlines()[0]
    assert pl.read_csv(files["trials"]).height == 12
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["best.toml", "search.html", "trials.csv"]


def test_the_best_recipe_gives_the_figure_that_it_claims_when_fitted_again(ring_split: Split, tmp_path: Path) -> None:
    text = (
        FIXED.replace("epochs = 2", "epochs = 3")
        + "[search.training]\nlearning_rate = { low = 1e-3, high = 0.05, log = true }\n"
    )
    found = search(ring_split, space_of(tmp_path, text), tmp_path, trials=3)
    recipe = Recipe.read(write(found, tmp_path)["recipe"])
    model = TwoTower(recipe.model).fit(
        ring_split.train,
        validation=ring_split.validation,
        training=recipe.training,
        objective=recipe.objective,
        augment=recipe.augment,
    )
    assert model.log is not None
    assert model.log.best_epoch == found.best_row["best_epoch"]
    assert model.log.epochs[model.log.best_epoch - 1]["val_ndcg@10"] == found.best_row["value"]
    assert found.trials["value"].n_unique() > 1


# The command


def test_the_command_prints_the_table_and_the_command_to_go_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a shop"
    folder.mkdir()
    make_events().rename({"user_id": "who"}).write_csv(folder / "log.csv")
    make_items().write_csv(folder / "items.csv")
    (folder / "space.toml").write_text(FIXED.replace("epochs = 2", "epochs = 1") + SEARCH)
    words = [str(folder / "log.csv"), "--user", "who", "--catalog", str(folder / "items.csv")]
    out = tmp_path / "search"
    asked = ["tune", *words, "--space", str(folder / "space.toml"), "--trials", "2", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert "trial 2/2: model.dropout" in said.err
    assert "complete" in said.out
    assert "best" in said.out
    assert str(out / "best.toml") in said.out
    command = shlex.split(said.out.strip().splitlines()[-1].removeprefix("next: "))
    assert command[:2] == ["recsys", "fit"]
    assert main(command[1:]) == 0
    capsys.readouterr()
    assert main([*asked, "--json"]) == 0  # nothing left to do: the same answer again
    facts = json.loads(capsys.readouterr().out)
    assert facts["recipe"] == str(out / "best.toml")
    assert facts["best"]["training"]["epochs"] == 1


def test_a_broken_space_is_one_line_before_the_log_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.toml").write_text("[search.model]\ndim = []\n")
    code = main(["tune", "absent.csv", "--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "out")])
    assert code == 2
    assert "[search.model] dim is an empty list" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
