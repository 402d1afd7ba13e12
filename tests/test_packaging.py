"""What stands in several files of the package's own papers is the same in all of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import recsys

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = (ROOT / "docs" / "packaging" / "recipe.yaml").read_text(encoding="utf-8")


def test_every_paper_names_one_version() -> None:
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    conda = re.search(r'^  version: "(.*)"$', CONDA, re.MULTILINE)
    assert cited is not None
    assert conda is not None
    assert {PROJECT["version"], cited[1], conda[1]} == {recsys.__version__}


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for() -> None:
    wheel = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]]
    named = {re.sub(r"^torch>", "pytorch>", one).replace(">=", " >=") for one in wheel}
    run = CONDA.partition("  run:\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"    - (.*)", run)) == {*named, f"python {PROJECT['requires-python']}"}


def test_every_extra_is_in_the_readme_or_the_docs() -> None:
    """But for those of people who work on the package."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    told = " ".join(page.read_text(encoding="utf-8") for page in pages)
    unsaid = {name for name in PROJECT["optional-dependencies"] if name not in ("dev", "docs") and f"`{name}`" not in told}
    assert unsaid - {name for name in PROJECT["optional-dependencies"] if re.search(rf"\[[^\]]*\b{name}\b", told)} == set()
