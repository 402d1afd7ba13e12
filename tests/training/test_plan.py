"""What is left open is decided from the log, told with its reason, and kept in the bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out
from recsys.errors import CheckpointError, ConfigError, DataError
from recsys.training.logs import TrainingLog
from recsys.training.plan import run as plan_run
from recsys.training.plan import trials
from recsys.training.plan.cost import epoch_seconds
from recsys.training.plan.decide import budget, decide
from recsys.training.plan.facts import LogFacts, measure
from recsys.training.plan.options import Options, open_options
from recsys.training.plan.rules import first_decisions, spent_on
from recsys.training.plan.trials import alternatives
from recsys.two_tower import TwoTower

SHORT = LogFacts(
    events=150_000, users=20_000, items=12_000, candidates=12_000, positions=130_000, median_length=4, long_length=41,
    words=15,
)  # fmt: skip
LONG = LogFacts(
    events=1_000_000, users=6_000, items=3_400, candidates=3_900, positions=994_000, median_length=94, long_length=900,
    words=60,
)  # fmt: skip
PLAIN = Options(ModelConfig(), Objective(), Training())


def _log(n_users: int, length: int, n_items: int = 30, seed: int = 0) -> Interactions:
    """Users who walk along a ring of items from somewhere."""
    starts = np.random.default_rng(seed).integers(0, n_items, n_users)
    rows = [(f"u{u}", f"i{(start + step) % n_items}") for u, start in enumerate(starts) for step in range(length)]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"))


def test_short_histories_get_another_plan_than_long_ones() -> None:
    short = {one.option: one.value for one in first_decisions(SHORT, PLAIN)}
    long = {one.option: one.value for one in first_decisions(LONG, PLAIN)}
    assert short["model.max_length"] == 50
    assert long["model.max_length"] == 200
    assert (short["model.blocks"], long["model.blocks"]) == (1, 2)
    assert (short["objective.loss"], long["objective.loss"]) == ("sampled", "softmax")
    assert (short["model.use_ids"], long["model.use_ids"]) == (False, True)
    assert (short["training.batch_tokens"], long["training.batch_tokens"]) == (1_600, 6_400)


def test_items_with_many_events_get_less_dropout_and_an_inner_product() -> None:
    values = {one.option: one.value for one in first_decisions(LONG, PLAIN)}
    assert (values["model.dropout"], values["model.score"]) == (0.1, "dot")
    rare = {one.option: one.value for one in first_decisions(LogFacts(**{**vars(LONG), "items": 20_000}), PLAIN)}
    assert rare["model.dropout"] == 0.2
    assert "model.score" not in rare
    tried = alternatives(PLAIN.changed(values), open_options(PLAIN), LONG)
    assert {"score cosine", "dropout 0.2"} <= {one.name for one in tried}


def test_a_filter_is_tried_on_short_histories_with_an_order() -> None:
    unordered = LogFacts(**{**vars(SHORT), "ordered": False})
    for facts, tried in ((SHORT, True), (LONG, False), (unordered, False)):
        names = {one.name for one in alternatives(PLAIN, open_options(PLAIN), facts)}
        assert ("filter_length 16" in names) == tried


def test_small_logs_get_more_steps() -> None:
    small = LogFacts(**{**vars(SHORT), "positions": 5_000})
    values = {one.option: one.value for one in first_decisions(small, PLAIN)}
    assert values["training.batch_tokens"] == 256
    options = PLAIN.changed({"training.batch_tokens": 256})
    spent = {one.option: one.value for one in spent_on(small, options, open_options(PLAIN), 3_000.0, 40e9)}
    assert spent["training.epochs"] * small.positions / 256 == pytest.approx(1_000, rel=0.05)


def test_without_texts_ids_are_no_question() -> None:
    plain = LogFacts(**{**vars(SHORT), "words": 0})
    assert "model.use_ids" not in {one.option for one in first_decisions(plain, PLAIN)}
    assert "use_ids" not in " ".join(one.name for one in alternatives(PLAIN, open_options(PLAIN), plain))


def test_a_larger_budget_buys_more() -> None:
    spent = [
        {one.option: one.value for one in spent_on(LONG, PLAIN, open_options(PLAIN), seconds, 40e9)}
        for seconds in (60.0, 900.0, 90_000.0)
    ]
    cost = [one["model.dim"] * one["training.epochs"] * one["model.ensemble_size"] for one in spent]
    assert cost == sorted(cost)
    assert cost[0] < cost[1] < cost[2]
    assert spent[0]["training.epochs"] >= 1
    assert spent[2]["model.ensemble_size"] == 3


def test_short_histories_get_a_second_member_rather_than_more_epochs() -> None:
    plan = PLAIN.changed({"training.batch_tokens": 1_600})
    short, long = (epoch_seconds(facts, plan.changed({"model.dim": 256})) for facts in (SHORT, LONG))

    def spent(facts: LogFacts, seconds: float, *settled: str) -> tuple[int, int]:
        found = spent_on(facts, plan, open_options(PLAIN) - set(settled), seconds, 40e9)
        values = {one.option: one.value for one in found}
        return values["model.ensemble_size"], values["training.epochs"]

    assert spent(SHORT, 14.5 * short) == (2, 7)
    assert spent(SHORT, 11.5 * short) == (1, 11)
    assert spent(SHORT, 14.5 * short, "model.ensemble_size") == (1, 14)
    assert spent(LONG, 25.5 * long) == (1, 25)


def test_what_is_reckoned_grows_with_the_work() -> None:
    one = epoch_seconds(SHORT, PLAIN)
    assert epoch_seconds(SHORT, PLAIN.changed({"model.dim": 256})) > one
    assert epoch_seconds(SHORT, PLAIN.changed({"model.ensemble_size": 2})) == pytest.approx(2 * one)
    assert epoch_seconds(SHORT, PLAIN, rate=80e9) < one


def test_the_budget_follows_the_log_unless_minutes_are_given() -> None:
    assert budget(SHORT, Training()) == pytest.approx(735)
    assert budget(LONG, Training()) == 1800
    assert budget(LONG, Training(minutes=5)) == 300


def test_whoever_sets_an_option_gets_what_was_set() -> None:
    assert open_options(Options(ModelConfig(dim=64), Objective(), Training())) == frozenset()
    assert open_options(Options(ModelConfig(), Objective(), Training(epochs=3))) == frozenset()
    assert open_options(Options(ModelConfig(), Objective(), Training(adapt="off"))) == frozenset()
    some = open_options(Options(ModelConfig(dim=64), Objective(), Training(adapt="on")))
    assert "model.dim" not in some
    assert "training.epochs" in some
    assert open_options(Options(ModelConfig(encoder=None), Objective(), Training(seed=3)))


def test_minutes_without_anything_to_decide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"minutes=5 .* with model\.dim it decides nothing; .*--adapt on"):
        open_options(Options(ModelConfig(dim=64), Objective(), Training(minutes=5)))


def test_words_of_texts_are_counted(ring_split: Split, ring_catalog: recsys.Catalog) -> None:
    facts = measure(ring_split.train, ring_catalog, ModelConfig())
    assert facts.words == 3
    assert facts.events == len(ring_split.train)
    assert measure(ring_split.train, ring_catalog, ModelConfig(encoder=None)).words == 0
    assert facts.positions == len(ring_split.train) - facts.users


def _planned(split: Split, **how: Any) -> TwoTower:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.training.plan.decide._LEAST_SECONDS", 0.5)
        return TwoTower(encoder=None).fit(split.train, validation=split.validation, **how)


def _interrupt(split: Split, checkpoint: Path) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _planned(split, checkpoint=checkpoint, on_epoch=stop)


@pytest.fixture(scope="module")
def planned() -> tuple[TwoTower, Split]:
    split = leave_last_out(_log(n_users=60, length=8))
    return _planned(split), split


def test_the_default_learns_and_says_what_it_decided(planned: tuple[TwoTower, Split], tmp_path: Path) -> None:
    model, split = planned
    assert recsys.evaluate(model, split.test, (10,))["recall@10"] > 0.8
    assert model.config == ModelConfig(encoder=None)
    assert model.fitted_config.blocks == 1
    assert model.log is not None
    told = {one["option"]: one for one in model.log.decisions}
    assert told["model.blocks"] == {
        "option": "model.blocks", "value": 1, "because": "the median history has 6 events", "against": "2",
    }  # fmt: skip
    model.retriever(index="exact").save(tmp_path / "run")
    saved = recsys.load(tmp_path / "run")
    assert saved.bundle.record["decisions"] == model.log.decisions
    assert saved.bundle.config == model.fitted_config
    assert saved.bundle.training is not None
    assert saved.bundle.training.adapt == "off"


def test_the_same_log_gives_the_same_plan_and_the_same_vectors(planned: tuple[TwoTower, Split]) -> None:
    model, split = planned
    again = _planned(split)
    assert np.array_equal(again.vectors, model.vectors)


def test_trials_take_what_is_really_better_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Made-up gains: inner products are ahead for good, little dropout only at first."""
    monkeypatch.setattr(trials, "_LEAST_USERS", 10)
    split = leave_last_out(_log(n_users=40, length=6))
    tried = []

    def gains(self: object, options: Options, share: float) -> np.ndarray:
        tried.append((options.model.score, options.model.dropout, options.model.filter_length, share))
        noise = np.random.default_rng(0).random(40) * 0.01
        lead = {1.0: 0.3, 2.0: 0.1}[share] if options.model.dropout == 0.3 else 0.0
        return noise + lead + (0.2 if options.model.score == "dot" else 0.0)

    monkeypatch.setattr(trials._Trials, "run", gains)
    monkeypatch.setattr(trials._Trials, "epochs", lambda self, options, share: 2 * share)
    with caplog.at_level(logging.INFO, "recsys"):
        plan = decide(Options(ModelConfig(encoder=None), Objective(), Training()), split.train, validation=split.validation)
    plans = [("cosine", 0.5, 0), ("dot", 0.5, 0), ("cosine", 0.3, 0), ("cosine", 0.5, 16)]
    assert tried == [(*one, 1.0) for one in plans] + [(*one, 2.0) for one in (plans[0], plans[2], plans[1])]
    assert plan.options.model.score == "dot"
    assert (plan.options.model.dropout, plan.options.model.filter_length) == (0.5, 0)
    assert "dropout 0.3: validation NDCG@100 +0.3000 after 2 epochs, +0.1000 after 4, -0.3000 expected" in caplog.text


def test_a_schedule_that_was_too_long_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    split = leave_last_out(_log(n_users=30, length=6))
    asked = []

    def run(inputs: object, validation: object, config: Training, **how: object) -> TrainingLog:
        asked.append((config.epochs, config.patience))
        ends = 4 if len(asked) == 1 else config.epochs  # the first run stops early
        rows = [{"epoch": one + 1.0, "val_ndcg@10": 0.5 if one else 0.6} for one in range(ends)]
        return TrainingLog(rows, best_epoch=1 if len(asked) == 1 else config.epochs, seconds=2.0)

    monkeypatch.setattr(plan_run, "train", run)
    model = TwoTower(encoder=None, transitions="none").fit(split.train, validation=split.validation)
    (first, patience), (second, none) = asked
    assert first > 4
    assert patience > 0
    assert (second, none) == (1, 0)
    assert model.log is not None
    assert model.log.seconds == 4.0


def test_no_trials_without_validation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recsys"):
        plan = decide(Options(ModelConfig(encoder=None), Objective(), Training()), _log(n_users=20, length=5))
    assert "deciding by short trials" not in caplog.text
    assert plan.options.training.adapt == "off"
    assert "model.blocks" in str(plan)


def test_a_log_without_a_catalogue_is_learned_from_ids(tmp_path: Path) -> None:
    split = leave_last_out(_log(n_users=30, length=6))
    plan = decide(PLAIN, split.train)
    assert plan.options.model.encoder is None
    assert plan.decisions[0].because == "there is no catalogue (--catalog)"
    empty = recsys.Catalog.from_frame(pl.DataFrame({"item_id": ["i1", "i2"], "title": [None, ""]}), text=["title"])
    assert decide(PLAIN, split.train, empty).decisions[0].because == "no item has a text"
    signs = recsys.Catalog.from_frame(pl.DataFrame({"item_id": ["i1", "i2"], "title": ["★★", "♥"]}), text=["title"])
    assert measure(split.train, signs, ModelConfig()).words == 1


def test_an_interrupted_run_goes_on_with_its_plan(planned: tuple[TwoTower, Split], tmp_path: Path) -> None:
    model, split = planned
    _interrupt(split, tmp_path)
    again = TwoTower(encoder=None).fit(split.train, validation=split.validation, checkpoint=tmp_path, resume=True)
    assert again.fitted_config == model.fitted_config
    assert np.array_equal(again.vectors, model.vectors)
    assert again.log is not None
    assert model.log is not None
    assert again.log.decisions == model.log.decisions


def test_a_log_without_a_next_item_is_refused() -> None:
    with pytest.raises(DataError, match="no user has two events"):
        decide(PLAIN, _log(n_users=9, length=1))


def test_widths_are_multiples_of_the_heads() -> None:
    asked = Options(ModelConfig(heads=6, dim=96), Objective(), Training(adapt="on"))
    assert trials._narrow(asked).model.dim == 60
    three = Options(ModelConfig(heads=3, dim=129), Objective(), Training(adapt="on"))
    wide = {one.option: one.value for one in spent_on(SHORT, three, frozenset({"model.dim"}), 1e6, 40e9)}
    assert wide["model.dim"] == 255


def test_a_trial_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(trials, "_LEAST_USERS", 10)

    def gains(self: object, options: Options, share: float) -> np.ndarray:
        if options.model.score == "dot":
            raise recsys.RecsysError("the training diverged")
        return np.full(40, 0.3)

    monkeypatch.setattr(trials._Trials, "run", gains)
    split = leave_last_out(_log(n_users=40, length=6))
    plan = decide(Options(ModelConfig(encoder=None), Objective(), Training()), split.train, validation=split.validation)
    assert plan.options.model.score == "cosine"
    assert "the trial with score dot failed (RecsysError: the training diverged)" in caplog.text


def test_resuming_with_another_option_is_refused(planned: tuple[TwoTower, Split], tmp_path: Path) -> None:
    _, split = planned
    _interrupt(split, tmp_path)
    with pytest.raises(CheckpointError, match=r"comes from another run \(training\.seed: 0 then, 7 now\)"):
        TwoTower(encoder=None).fit(
            split.train, validation=split.validation, checkpoint=tmp_path, resume=True, training=Training(seed=7)
        )
