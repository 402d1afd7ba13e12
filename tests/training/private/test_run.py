"""Private trainings as users meet them: what they promise and keep, what they refuse, and what they leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.config.options import read_recipe
from recsys.config.recipe import TABLES
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError, DataError
from recsys.models.towers import TwoTowerModel
from recsys.privacy.accounting import epsilon_of
from recsys.privacy.noise import Noise
from recsys.training.private import run
from recsys.training.private.users import UserBatches
from recsys.training.update.run import updated
from tests.conftest import make_events, make_items

pytest.importorskip("opacus", reason="the extra privacy")
MODEL: dict[str, Any] = {"encoder": None, "dim": 8, "blocks": 1, "max_length": 4}
TRAINING: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-2, "device": "cpu"}
PRIVACY: dict[str, Any] = {"epsilon": 50.0, "delta": 1e-3, "users_per_step": 20, "accountant": "rdp"}


def recipe_of(**changes: Any) -> recsys.Recipe:
    """The small private recipe with changes by table."""
    plain = {"model": MODEL, "training": TRAINING, "privacy": PRIVACY}
    tables = {name: plain.get(name, {}) | changes.get(name, {}) for name in TABLES}
    return recsys.Recipe.read(**tables)


@pytest.fixture(scope="module")
def fitted(ring_split: Split, ring_catalog: Catalog) -> recsys.TwoTower:
    return recipe_of().fit(ring_split.train, ring_catalog, validation=ring_split.validation)


def test_the_budget_is_spent_and_told(fitted: recsys.TwoTower) -> None:
    assert fitted.log is not None
    spent = fitted.log.privacy
    assert spent is not None
    assert (spent["users"], spent["rate"], spent["steps"], spent["delta"]) == (40, 0.5, 4, 1e-3)
    assert 48 < spent["epsilon"] <= 50
    assert spent["epsilon"] == pytest.approx(epsilon_of(spent["noise"], 1e-3, 0.5, 4, "rdp"))
    assert spent["secure"]


def test_nothing_is_chosen_by_private_events(fitted: recsys.TwoTower, ring_split: Split) -> None:
    assert fitted.log is not None
    assert fitted.transitions is None
    assert fitted.log.best_epoch == 2
    assert not any("val_" in name for row in fitted.log.epochs for name in row)
    assert fitted.items.ids.to_list() == make_items()["item_id"].to_list()  # in the order of the catalogue
    assert fitted.towers.net.items.has_id.all()
    assert fitted.retriever(holdout=ring_split.test).bundle.index.spec.kind == "exact"
    with pytest.raises(ConfigError, match="spends a budget again"):
        fitted.refit(ring_split.train)
    with pytest.raises(ConfigError, match="without noise"):
        fitted.distil(ring_split.validation)


def test_the_same_seeds_give_the_same_weights_and_other_noise_does_not(ring_split: Split, ring_catalog: Catalog) -> None:
    def vectors(noise_seed: int | None) -> np.ndarray:
        made = recipe_of(privacy={"noise_seed": noise_seed}).fit(ring_split.train, ring_catalog)
        assert made.log is not None
        assert made.log.privacy is not None
        assert made.log.privacy["secure"] == (noise_seed is None)
        return made.vectors

    assert np.array_equal(vectors(1), vectors(1))
    assert not np.array_equal(vectors(1), vectors(2))
    assert not np.array_equal(vectors(None), vectors(None))  # the training's seed repeats nothing of the noise


def test_nothing_but_the_noisy_sum_tells_two_logs_apart(
    ring: Interactions, ring_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untrained towers are the same whoever is in the log: ids, their order and their first vectors come from elsewhere."""
    met: list[tuple[list[str], np.ndarray]] = []

    def look(self: Any, checkpoint: Any, on_epoch: Any, tick: Any) -> None:
        towers: TwoTowerModel = self.towers
        met.append((towers.items.ids.to_list(), towers.vectors.copy()))

    monkeypatch.setattr(run.PrivateRun, "go", look)
    for log in (ring, ring.select(ring.histories.list_index() > 3).compact()):
        recipe_of().fit(log, ring_catalog)
    assert met[0][0] == met[1][0]
    assert np.array_equal(met[0][1], met[1][1])


def test_each_user_is_drawn_on_its_own_with_one_window() -> None:
    log = Interactions.from_frame(make_events(users=200, length=7))
    batches = UserBatches(log, length=4, tokens=1, seed=0, users_per_step=50, noise=Noise(3))
    assert (batches.rate, batches.steps) == (0.25, 4)
    drawn = np.zeros(200)
    for epoch in range(25):
        (owners, starts, sizes), plan = batches.plan(epoch)
        for step in plan:
            assert len(np.unique(owners[step])) == len(step)  # nobody twice
            drawn[owners[step]] += 1
        assert ((starts >= 0) & (starts + sizes <= 6) & (sizes == 4)).all()
    assert drawn.sum() == pytest.approx(5000, abs=6 * (100 * 200 * 0.25 * 0.75) ** 0.5)
    assert drawn.var() == pytest.approx(100 * 0.25 * 0.75, rel=0.5)  # binomial: coins, not a shuffle
    nobody = UserBatches(log, length=4, tokens=1, seed=0, users_per_step=1, noise=Noise(5))
    sizes = [len(batch.inputs) for batch in nobody.epoch(0)]
    assert 0 in sizes


REFUSED = [
    ({"model": {"transitions": "ridge"}}, "without noise"),
    ({"objective": {"loss": "sampled"}}, "one person changes everybody's gradient"),
    ({"objective": {"loss": "sampled", "sampler": "in-batch"}}, "targets of everybody in the batch"),
    ({"objective": {"loss": "sampled", "sampler": "popularity"}}, "counts of the log, which are private"),
    ({"objective": {"loss": "bpr"}}, "loss='bpr' cannot be trained privately"),
    ({"objective": {"loss": "bce"}}, "loss='bce' cannot be trained privately"),
    ({"objective": {"loss": "gbce"}}, "loss='gbce' cannot be trained privately"),
    ({"objective": {"mask_history": True}}, "mask_history is not built"),
    ({"training": {"adapt": "on"}}, "decides from the log"),
    ({"training": {"max_grad_norm": 0.5}}, "max_grad_norm has no part"),
    ({"training": {"patience": 3}}, "patience has no part"),
    ({"training": {"precision": "bf16"}}, "in 32 bits"),
    ({"privacy": {"delta": 0.1}}, r"not below one in the number of users \(40\)"),
]


@pytest.mark.parametrize(("changes", "why"), REFUSED)
def test_what_would_tell_of_one_person_is_refused_with_the_reason(
    changes: dict[str, Any], why: str, ring: Interactions, ring_catalog: Catalog
) -> None:
    with pytest.raises(ConfigError, match=why):
        recipe_of(**changes).fit(ring, ring_catalog)


def test_vocabularies_of_the_log_are_refused(ring: Interactions, ring_catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="name the catalogue"):
        recipe_of().fit(ring)
    fewer = Catalog.from_frame(make_items().head(29), text=["title"])
    with pytest.raises(DataError, match="1 items of the log are not in the catalogue, such as 'i29'"):
        recipe_of().fit(ring, fewer)
    typed = Interactions.from_frame(make_events().with_columns(event_type=pl.lit("view")))
    assert typed.events is not None
    with pytest.raises(ConfigError, match="vocabulary of the log"):
        recipe_of().fit(typed, ring_catalog)
    with pytest.raises(ConfigError, match="user_norm"):
        recsys.Recipe.read(model={"fast": True}, privacy={"epsilon": 1.0, "user_norm": 1.0})
    with pytest.raises(ConfigError, match="delta belongs to a private training"):
        recsys.PrivacyOptions(delta=1e-4)


def test_public_negatives_train(ring: Interactions, ring_catalog: Catalog) -> None:
    made = recipe_of(objective={"loss": "sampled", "sampler": "uniform", "negatives": 8}).fit(ring, ring_catalog)
    assert np.isfinite(made.vectors).all()


def test_the_command_line_trains_prints_keeps_and_documents_the_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_events().write_csv(tmp_path / "log.csv")
    make_items().write_csv(tmp_path / "items.csv")
    words = ["fit", str(tmp_path / "log.csv"), "--catalog", str(tmp_path / "items.csv"), "--out", str(tmp_path / "run")]
    words += ["--encoder", "none", "--dim", "8", "--blocks", "1", "--max-length", "4", "--epochs", "1", "--device", "cpu"]
    words += ["--delta", "1e-3", "--users-per-step", "20", "--accountant", "rdp"]
    assert main(words) == 2
    assert "set epsilon (--epsilon) too" in capsys.readouterr().err
    assert main([*words, "--epsilon", "50", "--refit", "update"]) == 2
    assert "spends a budget again" in capsys.readouterr().err
    assert main([*words, "--epsilon", "50"]) == 0
    told = capsys.readouterr()
    assert "differential privacy: epsilon" in told.out
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["privacy"]["epsilon"] <= 50
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "## Differential privacy" in card
    assert "histories" in card
    assert "--epsilon 50" in card
    kept = recsys.load(tmp_path / "run", device="cpu")
    assert kept.bundle.record["privacy"]["epsilon"] == manifest["privacy"]["epsilon"]
    kept.save(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["privacy"] == manifest["privacy"]
    assert main(["inspect", str(tmp_path / "run")]) == 0
    assert "epsilon" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="events without noise"):
        updated(kept.bundle, Interactions.from_frame(make_events()))
    (recipe := tmp_path / "r.toml").write_text("[privacy]\nepsilon = 2\ndelta = 1e-7\n")
    assert read_recipe(recipe, TABLES)["privacy"] == {"epsilon": 2.0, "delta": 1e-7}
