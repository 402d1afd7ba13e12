"""The sources of the notebooks run, and the notebooks are made of them."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
SOURCES = [file for file in sorted(NOTEBOOKS.glob("*.py")) if file.stem != "make"]


def cells(file: Path) -> list[tuple[str, str]]:
    spec = util.spec_from_file_location("make_notebooks", NOTEBOOKS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[tuple[str, str]] = module.cells(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: one.stem)
def test_a_source_runs_and_its_notebook_is_made_of_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert [(one["cell_type"], "".join(one["source"])) for one in made["cells"]] == cells(source)
    assert all(one["output_type"] != "error" for cell in made["cells"] for one in cell.get("outputs", []))
    assert source.with_suffix(".ipynb").stat().st_size < 200_000
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, text in cells(source):
        if kind == "code":
            exec(compile(text, str(source), "exec"), names)  # noqa: S102 - our own


def test_there_are_notebooks() -> None:
    assert len(SOURCES) >= 5
