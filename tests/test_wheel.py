"""The wheel and the sdist, built as a release builds them: what is in them, and that nothing needs a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling import build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"


def build(kind: str, folder: Path) -> Path:
    command = [sys.executable, "-c", BUILD, kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_its_recipes_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    made = {".pyc", ".pyo", ".so"}
    package = {file for file in (ROOT / "recsys").rglob("*") if file.is_file() and file.suffix not in made}
    awaited = {str(file.relative_to(ROOT)) for file in package}
    awaited |= {f"recsys/data/recipes/toml/{file.name}" for file in (ROOT / "data" / "recipes").iterdir()}
    awaited |= {f"recsys/config/recipes/{file.name}" for file in (ROOT / "training" / "recipes").iterdir()}
    assert held == awaited
    assert {"recsys/py.typed", "recsys/pages/page.css", "recsys/server/page/page.html"} <= held


def test_the_sdist_holds_what_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
        papers = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md"}
        assert top == papers | {".gitignore", "PKG-INFO", "pyproject.toml", "data", "recsys", "training"}
        held = {name.partition("/")[2] for name in archive.getnames()}
    ours = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    assert ours <= held
    assert {"data/recipes/ml-1m.toml", "training/recipes/ml-1m.toml"} <= held


def test_the_package_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    inside = tmp_path / "site"
    shutil.unpack_archive(wheel, inside, "zip")
    code = f"""
import recsys
from recsys.cli.parser import main
from recsys.server.page.shell import ASSETS, asset, shell
assert recsys.__file__.startswith({str(inside)!r}), recsys.__file__
assert recsys.Recipe.read("amazon-beauty").model.encoder == "all-MiniLM-L6-v2"
assert b"<html" in shell(is_open=True) and all(asset(name)[0] for name in ASSETS)
assert main(["prepare", "--list"]) == 0
"""
    environment = os.environ | {"PYTHONPATH": str(inside)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ml-1m" in done.stdout
