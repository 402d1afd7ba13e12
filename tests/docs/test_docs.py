"""Every block of code in the documentation runs or, where it needs what a test has not, is at least what it seems."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

import recsys
from recsys.cli.parser import build_parser, main
from tests.docs.pages import DOCS, ROOT, Block, blocks, broken_links, commands, pages

START = DOCS / "start.md"
BY_HAND = {
    "README.md": "tests/test_readme.py runs its first block",
    "docs/serving.md": "they need a server: tests/server",
    "docs/updating.md": "they train: tests/pipeline/test_update.py",
    "docs/privacy.md": "they train: tests/privacy",
    "docs/data.md": "they need databases and stores: tests/data",
}
"""Page → why its Python is not run here; it is compiled."""
GIVEN = {
    "docs/evaluation.md": """
import recsys
whole = recsys.read_interactions("ratings.csv", user="userId", item="movieId")
items = recsys.read_catalog("movies.csv", item="movieId", text=["title"])
split = recsys.leave_last_out(whole)
log, later = split.train, split.test
model = recsys.TwoTower(fast=True).fit(log)
lists = model.retriever(log=log).recommend(log.users.ids.to_list(), k=50)
others = lists.filter(lists["rank"] < 20)
"""
}
"""Page → what its reader has already."""
BLOCKS = [block for page in pages() for block in blocks(page)]


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The files that the page "In five minutes" writes, and a small bundle of them."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(python_of(START)[0].code, str(START), "exec"), {})  # noqa: S102 - our own page
        log = recsys.read_interactions("ratings.csv", user="userId", item="movieId")
        catalog = recsys.read_catalog("movies.csv", item="movieId", text=["title", "genres"])
        split = recsys.leave_last_out(log)
        model = recsys.TwoTower(encoder=str(tiny_encoder), dim=8, heads=1, blocks=1, max_length=8, word_features="off")
        model.fit(split.train, catalog, validation=split.validation, training=recsys.Training(epochs=1, device="cpu"))
        model.retriever(index="exact", log=log).save("runs/ml")
    return folder


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("page", [page for page in pages() if python_of(page)], ids=shown)
def test_python_runs_as_it_is_printed(page: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page share their names, as a reader's session does."""
    monkeypatch.chdir(world)
    names: dict[str, object] = {}
    exec(GIVEN.get(shown(page), ""), names)  # noqa: S102 - our own
    for block in python_of(page):
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        if not block.note.startswith("not run: ") and shown(page) not in BY_HAND:
            exec(code, names)  # noqa: S102 - our own page


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.note == "run"], ids=lambda one: f"{shown(one.page)}:{one.line}"
)
def test_commands_run_as_they_are_printed(block: Block, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    found = list(commands(block))
    assert found
    for words in found:
        assert main(words) == 0


def test_every_command_that_is_shown_is_one_that_the_parser_takes() -> None:
    parser, wrong, count = build_parser(), [], 0
    for block in BLOCKS:
        for words in commands(block) if block.language in ("", "bash", "sh") and block.page.name != "CHANGELOG.md" else ():
            count += 1
            try:
                parser.parse_args(words)
            except SystemExit as stopped:
                wrong += [f"{shown(block.page)}:{block.line}: {words}"] if stopped.code else []
    assert wrong == []
    assert count > 60


def test_messages_that_are_explained_are_those_that_are_printed() -> None:
    """Their fixed parts stand in the source."""
    told = {
        part
        for cell in re.findall(r"^\| (`.*?) \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", cell)
        for part in re.split(r"\s*…\s*", message)
    }
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "recsys").rglob("*.py"))
    texts = re.sub(r'"\s*\n\s*f?"', "", source)  # a text that stands on several lines is one
    assert {part for part in told if part not in texts} == set()
    assert len(told) > 50


def test_toml_and_json_are_well_formed() -> None:
    for block in BLOCKS:
        if block.language == "toml":
            tomllib.loads(block.code)
        if block.language == "json":
            json.loads(block.code)


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_check_of_links_finds_what_it_is_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A b\n[a](#a-b) [b](#c) [d](nowhere.md) [e](page.md#a-b) `[f](g.md)`\n", encoding="utf-8")
    assert broken_links(page) == ["#c", "nowhere.md"]


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    hidden = {"packaging"}
    for page in DOCS.rglob("*.md"):
        path = page.relative_to(DOCS).as_posix()
        assert path in menu or path.partition("/")[0] in hidden, path


def test_the_pictures_are_what_their_script_draws() -> None:
    names: dict[str, object] = {"__file__": str(DOCS / "site" / "pictures.py"), "__name__": "pictures"}
    exec((DOCS / "site" / "pictures.py").read_text(encoding="utf-8"), names)  # noqa: S102 - our own script
    drawn = names["PICTURES"]
    assert isinstance(drawn, dict)
    for name, draw in drawn.items():
        assert (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8") == draw()
