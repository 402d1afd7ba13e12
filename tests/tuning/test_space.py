"""What a search space may say; what is wrong in it is named by file, table and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.model import ModelConfig
from recsys.config.recipe import TABLES
from recsys.config.training import Training
from recsys.errors import ConfigError
from recsys.tuning.space import Choice, Range, read_space, recipe_text
from tests.tuning.searching import FIXED, SEARCH, space_of


def test_a_space_holds_lists_ranges_and_fixed_values(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        FIXED
        + '[search.model]\ndim = [64, 128]\ndropout = { low = 0, high = 0.6, step = 0.2 }\nscore = ["dot", "cosine"]\n'
        "blocks = { low = 1, high = 3 }\n[search.training]\nlearning_rate = { low = 1e-4, high = 5e-3, log = true }\n",
    )
    assert space.searched == {
        "model.dim": Choice((64, 128)),
        "model.dropout": Range(0.0, 0.6, step=0.2),
        "model.score": Choice(("dot", "cosine")),
        "model.blocks": Range(1, 3),
        "training.learning_rate": Range(1e-4, 5e-3, log=True),
    }
    assert isinstance(space.searched["model.dropout"], Range)
    assert isinstance(space.searched["model.dropout"].low, float)
    assert space.fixed["model"] == {"encoder": None, "max_length": 8}
    made = space.configs({"model.dim": 64, "training.learning_rate": 1e-3})
    assert made["model"] == ModelConfig(encoder=None, max_length=8, dim=64)
    assert made["training"] == Training(epochs=2, batch_tokens=64, device="cpu", learning_rate=1e-3)


def test_none_is_a_choice_as_in_recipes(tmp_path: Path) -> None:
    space = space_of(tmp_path, '[search.model]\nencoder = ["none", "all-MiniLM-L6-v2"]\n')
    assert space.searched["model.encoder"] == Choice((None, "all-MiniLM-L6-v2"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[search.modell]\ndim = [8]\n",
            "[search] has no option 'modell'; it has augment, model, objective, privacy, training",
        ),
        ("[modell]\ndim = 8\n" + SEARCH, "unknown table 'modell'"),
        ("[search]\nmodel = 3\n", "[search] model must be a table of options, not 3"),
        ("[search.model]\ndims = [8]\n", "[search.model] has no option 'dims'"),
        ("[search.model]\ndim = []\n", "[search.model] dim is an empty list"),
        ("[search.model]\ndim = [8, 8]\n", "[search.model] dim names a value twice"),
        ("[search.model]\ndim = 8\n", "[search.model] dim must be a list of values or"),
        ("[search.model]\ndim = [8, 'wide']\n", "[search.model] dim must be of type int, not 'wide'"),
        ("[search.model]\ndim = [8, 16.0]\n", "[search.model] dim must be of type int, not 16.0"),
        ("[search.model]\nuse_ids = [true, 0]\n", "[search.model] use_ids must be of type bool, not 0"),
        ("[search.model]\nscore = ['dot', 'euclid']\n", "[search.model] score must be one of cosine, dot, not 'euclid'"),
        ("[search.model]\nscore = { low = 1, high = 2 }\n", "[search.model] score is not a number"),
        ("[search.model]\ndim = { low = 8, high = 16.5 }\n", "[search.model] dim must be of type int, not 16.5"),
        ("[search.model]\ndropout = { low = 0.5, high = 0.5 }\n", "dropout: a range needs low below high, not 0.5 and 0.5"),
        ("[search.model]\ndropout = { low = 0, high = 1, log = true }\n", "a logarithmic range needs low above 0, not 0.0"),
        ("[search.model]\ndropout = { low = 0, high = inf }\n", "dropout: high must be a finite number, not inf"),
        ("[search.model]\ndropout = { low = 0 }\n", "dropout: the range has no high"),
        ("[search.model]\ndropout = { low = 0, hi = 1, high = 1 }\n", "a range has low, high, step and log, but not hi"),
        ("[search.model]\ndropout = { low = 0, high = 1, log = 1 }\n", "dropout: log must be true or false, not 1"),
        ("[search.model]\ndim = { low = 8, high = 16, step = 0 }\n", "dim: step must be above 0, not 0"),
        ("[search.model]\ndim = { low = 8, high = 15, step = 4 }\n", "15 is not 8 plus a whole number of steps of 4"),
        ("[search.model]\ndim = { low = 8, high = 16, step = 4, log = true }\n", "step and log exclude each other"),
        ("[model]\ndim = 8\n[search.model]\ndim = [8, 16]\n", "[search.model] dim is fixed by [model] as well"),
        ("[search.training]\nmonitor = ['ndcg@10', 'recall@10']\n", "monitor decides how trials are evaluated"),
        ("[model]\ndim = 'wide'\n[search.training]\nl1 = [0.0]\n", "[model] dim must be of type int, not 'wide'"),
        ("[training]\nepochs = 0\n" + SEARCH, "[training] epochs must be at least 1"),
        ("[search.model]\ncategories = ['genres', 'year']\n", "categories is a list of names, which cannot be searched"),
        ("[search.model]\n", "[search.model] is empty"),
        ("[model]\ndim = 8\n", "nothing to search: add a table such as [search.model]"),
        ("[search", "not valid TOML"),
    ],
)
def test_a_broken_space_is_refused_by_file_table_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        space_of(tmp_path, text)
    assert str(tmp_path / "space.toml") in str(refused.value)


def test_a_step_that_floats_cannot_hold_exactly_still_fits(tmp_path: Path) -> None:
    space = space_of(tmp_path, "[search.model]\ndropout = { low = 0.1, high = 0.7, step = 0.1 }\n")
    assert space.searched["model.dropout"] == Range(0.1, 0.7, step=0.1)


def test_the_shipped_space_is_one() -> None:
    file = Path(__file__).parents[2] / "training" / "recipes" / "search-default.toml"
    space = read_space(file, TABLES)
    assert "training.learning_rate" in space.searched
    assert space.fixed["training"]["epochs"] >= 1


KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT, st.lists(TEXT))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS), min_size=1), st.text("ab \n#"))
def test_recipes_are_written_so_that_toml_reads_the_same(options: dict[str, dict[str, Any]], comment: str) -> None:
    read = tomllib.loads(recipe_text(options, comment))
    options = {name: table for name, table in options.items() if table}
    assert read == options
    assert [[type(v) for v in table.values()] for table in read.values()] == [
        [type(v) for v in table.values()] for table in options.values()
    ]
