"""Options are plain values of their types from the moment they are made; what is misspelt is told with the likely name."""

import argparse
import enum
import json
import re
from dataclasses import FrozenInstanceError, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.options import add_flags, build, field_docs
from recsys.config.recipe import TABLES
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.two_tower import Recipe, TwoTower


class Choice(str, enum.Enum):  # noqa: UP042 - as people write it
    """A word in the clothes of an enumeration."""

    SOFTMAX = "softmax"


@pytest.mark.parametrize(
    ("owner", "given", "plain"),
    [
        (Training, {"epochs": np.int64(3)}, 3),
        (Training, {"epochs": np.array(3, dtype=np.uint8)}, 3),
        (Training, {"epochs": torch.tensor(3)}, 3),
        (Training, {"learning_rate": np.float32(0.5)}, 0.5),
        (Training, {"learning_rate": torch.tensor(0.5)}, 0.5),
        (Training, {"learning_rate": 1}, 1.0),
        (Training, {"compile": np.bool_(False)}, False),
        (Training, {"monitor": np.str_("recall@5")}, "recall@5"),
        (Training, {"device": torch.device("cpu")}, "cpu"),
        (Objective, {"loss": Choice.SOFTMAX}, "softmax"),
        (Objective, {"negatives": np.uint16(9)}, 9),
        (Augment, {"crop": np.float64(0.25)}, 0.25),
        (Augment, {"neighbours": np.int32(4)}, 4),
        (ModelConfig, {"encoder": Path("models") / "small"}, str(Path("models") / "small")),
        (ModelConfig, {"dim": np.int64(8)}, 8),
        (ModelConfig, {"temperature": np.float16(0.5)}, 0.5),
        (ModelConfig, {"use_ids": np.bool_(True)}, True),
        (ModelConfig, {"word_features": "auto"}, "auto"),
        (ModelConfig, {"categories": ["a", np.str_("b")]}, ("a", "b")),
        (ModelConfig, {"categories": pl.Series(["a", "b"])}, ("a", "b")),
        (ModelConfig, {"numbers": np.array(["a", "b"])}, ("a", "b")),
        (ModelConfig, {"numbers": (name for name in "ab")}, ("a", "b")),
    ],
)
def test_every_value_becomes_a_plain_one_of_its_type(owner: type, given: dict[str, Any], plain: object) -> None:
    (name,) = given
    for made in (owner(**given), build(owner, given)) if name != "numbers" else (owner(**given),):
        value = getattr(made, name)
        assert value == plain
        assert type(value) is type(plain)
        json.dumps(asdict(made))


@pytest.mark.parametrize(
    ("owner", "given", "says"),
    [
        (Training, {"epochs": 2.0}, "epochs must be of type int, not 2.0"),
        (Training, {"epochs": np.float64(2)}, "epochs must be of type int, not 2.0"),
        (Training, {"epochs": True}, "epochs must be of type int, not True"),
        (Training, {"epochs": "2"}, "epochs must be of type int, not '2'"),
        (Training, {"epochs": None}, "epochs must be of type int, not None"),
        (Training, {"learning_rate": True}, "learning_rate must be of type float, not True"),
        (Training, {"learning_rate": "1e-3"}, "learning_rate must be of type float, not '1e-3'"),
        (Training, {"learning_rate": float("inf")}, "learning_rate must be a finite number, not inf"),
        (Training, {"max_grad_norm": 10**400}, "max_grad_norm must be a finite number"),
        (Training, {"compile": 1}, "compile must be of type bool, not 1"),
        (Training, {"monitor": b"ndcg@10"}, "monitor must be of type str"),
        (Training, {"precision": "fp16"}, "precision must be one of auto, fp32, bf16, not 'fp16'"),
        (Training, {"precision": ["fp32"]}, r"precision must be one of auto, fp32, bf16, not \['fp32'\]"),
        (Training, {"seed": -1}, "seed must be a whole number from 0 to"),
        (Training, {"seed": 2**64}, "seed must be a whole number from 0 to"),
        (Objective, {"negatives": 10.5}, "negatives must be of type int"),
        (Objective, {"mask_history": "yes"}, "mask_history must be of type bool, not 'yes'"),
        (Augment, {"crop": "half"}, "crop must be of type float, not 'half'"),
        (Augment, {"neighbours": 4.5}, "neighbours must be of type int, not 4.5"),
        (ModelConfig, {"dim": 64.0}, "dim must be of type int, not 64.0"),
        (ModelConfig, {"dim": [64]}, r"dim must be of type int, not \[64\]"),
        (ModelConfig, {"dim": np.array([64])}, "dim must be of type int"),
        (ModelConfig, {"encoder": 5}, "encoder must be of type str or none, not 5"),
        (ModelConfig, {"word_features": 1}, "word_features must be one of auto, on, off, not 1"),
        (ModelConfig, {"categories": [1]}, "categories must be a list of names; 1 is none"),
        (ModelConfig, {"categories": {"a", "b"}}, "categories must be a list of names, not {"),
        (ModelConfig, {"categories": ["a", "a"]}, "categories names 'a' twice"),
        (ModelConfig, {"numbers": None}, "numbers must be a list of names, not None"),
    ],
)
def test_a_value_of_another_type_is_refused_when_the_options_are_made(
    owner: type, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        owner(**given)


@pytest.mark.parametrize("owner", [ModelConfig, Training, Objective, Augment])
def test_no_option_may_be_no_number_or_infinite(owner: type) -> None:
    names = [field.name for field in fields(owner) if field.type == "float"]
    assert names
    for name in names:
        for value in (float("nan"), float("inf"), -float("inf")):
            with pytest.raises(ConfigError, match=f"^{name} "):
                owner(**{name: value})


def test_no_option_can_be_set_later() -> None:
    model = TwoTower(encoder=None)
    with pytest.raises(FrozenInstanceError):
        model.config.dim = 8.0  # type: ignore[assignment, misc]
    assert model.config.dim == ModelConfig().dim


@pytest.mark.parametrize(
    ("owner", "name", "likely"),
    [(ModelConfig, "dims", "dim"), (Training, "learn_rate", "learning_rate"), (Objective, "los", "loss")],
)
def test_a_misspelt_keyword_is_told_with_the_nearest_name(owner: type, name: str, likely: str) -> None:
    with pytest.raises(ConfigError, match=f"{owner.__name__} has no option '{name}'; it has .*; did you mean '{likely}'"):
        owner(**{name: 1})
    with pytest.raises(ConfigError, match=f"no option '{name}'; .*did you mean '{likely}'"):
        build(owner, {name: 1})


def test_a_keyword_that_is_like_no_option_is_told_with_all_of_them() -> None:
    with pytest.raises(ConfigError, match="Augment has no option 'xyz'; it has ahead, crop, delete, neighbours"):
        Augment(xyz=1)  # type: ignore[call-arg]


def test_a_misspelt_table_of_a_recipe_is_not_passed_over() -> None:
    with pytest.raises(ConfigError, match=r"unknown table 'trainings'; a recipe has .*; did you mean \[training\]\?"):
        Recipe.read(trainings={"epochs": 3})
    with pytest.raises(ConfigError, match="'epoch'; .*did you mean 'epochs'"):
        Recipe.read(training={"epoch": 3})
    with pytest.raises(ConfigError, match="training must be a dict of options"):
        Recipe.read(training=Training(epochs=3))  # type: ignore[arg-type]
    assert Recipe.read(training={"epochs": np.int64(3)}).training.epochs == 3


def test_a_misspelt_name_in_a_recipe_file_is_told_with_the_likely_one(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for text, says in (
        ("[trainings]\n", r"unknown table 'trainings'; .*did you mean \[training\]"),
        ("[training]\nlearning_rat = 0.1\n", r"\[training\] has no option 'learning_rat'; .*did you mean 'learning_rate'"),
        ("model = 8\n", r"model must be a table of options, \[model\], not 8"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            Recipe.read(file)


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[training]\nepochs = 4\n", encoding="utf-8-sig")
    assert Recipe.read(tmp_path / "r.toml").training.epochs == 4


@pytest.mark.parametrize("words", ["auto", "on", "off"])
def test_options_of_a_fitted_model_train_the_same_model_again(
    words: str, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path
) -> None:
    training = Training(epochs=1, batch_tokens=64, device="cpu")
    asked = TwoTower(encoder=str(tiny_encoder), word_features=words, dim=8, blocks=1, max_length=6)
    options = asked.config.to_dict()
    asked.fit(ring_split.train, ring_catalog, training=training)
    assert asked.config.to_dict() == options
    again = TwoTower(**asked.config.to_dict()).fit(ring_split.train, ring_catalog, training=training)
    np.testing.assert_array_equal(asked.vectors, again.vectors)
    assert asked.reads_words is again.reads_words is (words != "off")


def test_the_fields_of_a_config_make_the_same_config_again() -> None:
    config = ModelConfig(encoder=None, categories=("a", "b"), word_features="on", dim=64, ensemble_size=2)
    assert TwoTower(**asdict(config)).config == config
    assert TwoTower(**json.loads(json.dumps(config.to_dict()))).config == config


def test_a_bundle_has_every_option_of_its_training(ring_split: Split, tmp_path: Path) -> None:
    recipe = Recipe.read(
        model={"encoder": None, "dim": 8, "blocks": 1, "max_length": 6, "stochastic_depth": 0.1},
        objective={"loss": "bpr", "negatives": 7},
        augment={"crop": 0.3},
        training={"epochs": 1, "batch_tokens": 64, "device": "cpu", "ema_decay": 0.5},
    )
    recipe.fit(ring_split.train).retriever(index="exact").save(tmp_path / "run")
    kept = recsys.load(tmp_path / "run", device="cpu").bundle
    assert Recipe(kept.config, kept.objective, kept.augment, kept.training) == recipe  # type: ignore[arg-type]


@pytest.mark.parametrize("owner", TABLES.values())
def test_each_option_has_one_sentence_of_its_own_that_a_terminal_can_show(owner: type) -> None:
    texts = field_docs(owner)
    assert list(texts) == [field.name for field in fields(owner)]
    everywhere = [text for one in TABLES.values() for text in field_docs(one).values()]
    assert len(set(everywhere)) == len(everywhere)
    for text in texts.values():
        assert text.endswith(".")
        assert ". " not in text
        assert not re.search(r"[`*_]{2}|`|\bNone\b|\bTrue\b|\bFalse\b|[\"]|:class:|:func:", text), text


def test_help_says_defaults_as_a_terminal_does() -> None:
    parser = argparse.ArgumentParser(prog="x")
    for table, owner in TABLES.items():
        add_flags(parser, owner, table)
    shown = " ".join(parser.format_help().split())
    assert not re.search(r"default: (None|True|False|\(\)|\[\])", shown)
    assert "attention heads per block; they divide dim (default: 2)" in shown
    assert "L1 penalty" in shown
    assert "in addition to content features (default: on)" in shown


def test_a_recipe_is_made_of_its_own_kinds() -> None:
    parts = {"objective": Objective(), "augment": Augment(), "training": Training()}
    with pytest.raises(ConfigError, match=r"model must be a ModelConfig, not a dict; pass recsys.ModelConfig\(dim=64\)"):
        Recipe(model={}, **parts)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"config must be a ModelConfig, not a dict; pass recsys.ModelConfig\(dim=64\)"):
        TwoTower({"dim": 64})  # type: ignore[arg-type]


def test_what_a_recipe_file_holds_is_refused_by_file_and_table(tmp_path: Path) -> None:
    (file := tmp_path / "r.toml").write_text("[model]\ndim = 64\nheads = 4\n")
    assert Recipe.read(file, model={"dim": 63, "heads": 3}).model.dim == 63
    with pytest.raises(ConfigError, match="^dim 63 is not divisible by heads 4"):
        Recipe.read(file, model={"dim": 63})
    file.write_text("[model]\ndim = 63\nheads = 4\n")
    with pytest.raises(ConfigError, match=rf"^{file}: \[model\] dim 63 is not divisible by heads 4"):
        Recipe.read(file, training={"epochs": 1})
