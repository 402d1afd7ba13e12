"""Options are plain values of their types from the moment they are made; what is misspelt is told with the likely name."""

import enum
import json
from argparse import Namespace
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recsys.config.options import build
from recsys.config.recipe import Recipe
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.training.augment import Augment
from recsys.two_tower import TwoTower


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
        (TwoTower, {"encoder": Path("models") / "small"}, str(Path("models") / "small")),
        (TwoTower, {"dim": np.int64(8)}, 8),
        (TwoTower, {"temperature": np.float16(0.5)}, 0.5),
        (TwoTower, {"words": np.bool_(True)}, True),
        (TwoTower, {"words": None}, None),
        (TwoTower, {"categories": ["a", np.str_("b")]}, ("a", "b")),
        (TwoTower, {"categories": pl.Series(["a", "b"])}, ("a", "b")),
        (TwoTower, {"numbers": np.array(["a", "b"])}, ("a", "b")),
        (TwoTower, {"numbers": (name for name in "ab")}, ("a", "b")),
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
        (TwoTower, {"dim": 64.0}, "dim must be of type int, not 64.0"),
        (TwoTower, {"dim": [64]}, r"dim must be of type int, not \[64\]"),
        (TwoTower, {"dim": np.array([64])}, "dim must be of type int"),
        (TwoTower, {"encoder": 5}, "encoder must be of type str or none, not 5"),
        (TwoTower, {"words": 1}, "words must be of type bool or none, not 1"),
        (TwoTower, {"categories": [1]}, "categories must be a list of names; 1 is none"),
        (TwoTower, {"categories": {"a", "b"}}, "categories must be a list of names, not {"),
        (TwoTower, {"categories": ["a", "a"]}, "categories names 'a' twice"),
        (TwoTower, {"numbers": None}, "numbers must be a list of names, not None"),
    ],
)
def test_a_value_of_another_type_is_refused_when_the_options_are_made(
    owner: type, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        owner(**given)


@pytest.mark.parametrize("owner", [TwoTower, Training, Objective, Augment])
def test_no_option_may_be_no_number_or_infinite(owner: type) -> None:
    names = [field.name for field in fields(owner) if field.type == "float"]
    assert names
    for name in names:
        for value in (float("nan"), float("inf"), -float("inf")):
            with pytest.raises(ConfigError, match=f"^{name} "):
                owner(**{name: value})


def test_an_option_set_later_is_checked_before_training(ring_split: Split) -> None:
    model = TwoTower(encoder=None)
    model.dim = 8.0  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="dim must be of type int, not 8.0"):
        model.fit(ring_split.train)


@pytest.mark.parametrize(
    ("owner", "name", "likely"),
    [(TwoTower, "dims", "dim"), (Training, "learn_rate", "learning_rate"), (Objective, "los", "loss")],
)
def test_a_misspelt_keyword_is_told_with_the_nearest_name(owner: type, name: str, likely: str) -> None:
    with pytest.raises(ConfigError, match=f"{owner.__name__} has no option '{name}'; it has .*; did you mean '{likely}'"):
        owner(**{name: 1})
    with pytest.raises(ConfigError, match=f"no option '{name}'; .*did you mean '{likely}'"):
        build(owner, {name: 1})


def test_a_keyword_that_is_like_no_option_is_told_with_all_of_them() -> None:
    with pytest.raises(ConfigError, match="Augment has no option 'xyz'; it has crop, delete, neighbours"):
        Augment(xyz=1)  # type: ignore[call-arg]


def test_a_misspelt_table_of_a_recipe_is_not_passed_over() -> None:
    with pytest.raises(ConfigError, match=r"unknown table 'trainings'; a recipe has .*; did you mean \[training\]\?"):
        Recipe.of(trainings={"epochs": 3})
    with pytest.raises(ConfigError, match="'epoch'; .*did you mean 'epochs'"):
        Recipe.of(training={"epoch": 3})
    with pytest.raises(ConfigError, match="training must be a dict of options"):
        Recipe.of(training=Training(epochs=3))  # type: ignore[arg-type]
    assert Recipe.of(flags=Namespace(epochs=4), training={"epochs": np.int64(3)}).training.epochs == 3


def test_a_misspelt_name_in_a_recipe_file_is_told_with_the_likely_one(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for text, says in (
        ("[trainings]\n", r"unknown table 'trainings'; .*did you mean \[training\]"),
        ("[training]\nlearning_rat = 0.1\n", r"\[training\] has no option 'learning_rat'; .*did you mean 'learning_rate'"),
        ("model = 8\n", r"model must be a table of options, \[model\], not 8"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            Recipe.of(file)


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[training]\nepochs = 4\n", encoding="utf-8-sig")
    assert Recipe.of(tmp_path / "r.toml").training.epochs == 4


@pytest.mark.parametrize("words", [None, True, False])
def test_options_of_a_fitted_model_train_the_same_model_again(
    words: bool | None, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path
) -> None:
    training = Training(epochs=1, batch_tokens=64, device="cpu")
    asked = TwoTower(encoder=str(tiny_encoder), words=words, dim=8, blocks=1, max_length=6)
    options = asked.options()
    asked.fit(ring_split.train, ring_catalog, training=training)
    assert asked.options() == options
    again = TwoTower(**asked.options()).fit(ring_split.train, ring_catalog, training=training)
    np.testing.assert_array_equal(asked.vectors, again.vectors)
    assert asked.reads_words is again.reads_words is (words is not False)
