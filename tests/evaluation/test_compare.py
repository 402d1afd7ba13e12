import numpy as np
import polars as pl
import pytest

import recsys
from recsys.baselines import ItemKNN, Popularity
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split
from recsys.errors import ConfigError, LeakageError
from recsys.evaluation.compare import compare
from recsys.evaluation.protocol import Traits


class Sayer:
    """Puts every user's target at a place drawn from its own generator: a model of known quality."""

    traits = Traits()

    def __init__(self, name: str, holdout: Holdout, hit_share: float, seed: int = 0) -> None:
        self.name = name
        self.users, self.items = holdout.users, holdout.items
        lucky = np.random.default_rng(seed).random(len(holdout)) < hit_share
        self.lists = np.where(lucky, holdout.targets.rows, (holdout.targets.rows + 1) % len(holdout.items))

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
    ) -> Ranked:
        assert users is not None
        rows = self.lists[users].astype(np.int32)
        return Ranked(Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), rows), np.ones(len(rows), dtype=np.float32))


@pytest.fixture
def holdout() -> Holdout:
    n = 600
    users, items = IdMap(pl.Series(range(n)), "user"), IdMap(pl.Series(range(50)), "item")
    targets = Ragged.from_lists([[i % 50] for i in range(n)])
    histories = Ragged.from_lists([[(i + 7) % 50] for i in range(n)])
    return Holdout(users, items, np.arange(n, dtype=np.int32), histories, targets, "known quality")


def test_a_real_difference_is_called_real_and_a_chance_one_is_not(holdout: Holdout) -> None:
    models = [Sayer("good", holdout, 0.5, 1), Sayer("good-too", holdout, 0.5, 2), Sayer("poor", holdout, 0.2, 3)]
    found = compare(models, holdout, 10)
    verdicts = {(row["better"], row["worse"]): row["significant"] for row in found.tests.iter_rows(named=True)}
    assert [significant for (_, worse), significant in verdicts.items() if worse == "poor"] == [True, True]
    assert [significant for (_, worse), significant in verdicts.items() if worse != "poor"] == [False]


def test_the_best_comes_first_and_the_text_says_so(holdout: Holdout) -> None:
    found = compare([Sayer("poor", holdout, 0.2), Sayer("good", holdout, 0.6)], holdout, 10)
    assert found.frame()["model"].to_list() == ["good", "poor"]
    assert "good over poor" in str(found)
    assert ": significant" in str(found)
    low, mean, high = (found.frame()[name][0] for name in ("ndcg@10_low", "ndcg@10", "ndcg@10_high"))
    assert low < mean < high


def test_p_values_are_corrected_for_their_number(holdout: Holdout) -> None:
    models = [Sayer(f"{share}", holdout, share, seed) for seed, share in enumerate((0.30, 0.34, 0.38))]
    tests = compare(models, holdout, 10).tests.sort("p")
    assert tests["p_holm"][0] == pytest.approx(3 * tests["p"][0])
    assert (tests["p_holm"] >= tests["p"]).all()


def test_an_evaluation_already_made_can_be_compared(holdout: Holdout) -> None:
    made = recsys.evaluate(Sayer("made", holdout, 0.4), holdout, 10)
    assert compare([made, Sayer("poor", holdout, 0.1)], holdout, 10).reports[0] is made


def test_models_judged_on_others_are_refused(holdout: Holdout) -> None:
    fewer = recsys.evaluate(Sayer("fewer", holdout, 0.4), holdout.sample(10), 10)
    with pytest.raises(ConfigError, match="fewer was evaluated on other users"):
        compare([fewer, Sayer("poor", holdout, 0.1)], holdout, 10)


def test_what_cannot_be_compared_is_refused(holdout: Holdout) -> None:
    one = Sayer("one", holdout, 0.4)
    with pytest.raises(ConfigError, match="at least two"):
        compare([one], holdout)
    with pytest.raises(ConfigError, match="different names"):
        compare([one, one], holdout)
    with pytest.raises(ConfigError, match=r"metric= \(--metric\) is 'coverage@10', expected one of"):
        compare([one, Sayer("two", holdout, 0.1)], holdout, metric="coverage@10")


def test_a_model_fitted_on_its_test_data_is_refused_with_the_count(ring: Interactions, ring_split: Split) -> None:
    honest, cheat = ItemKNN().fit(ring_split.train), Popularity().fit(ring)
    with pytest.raises(LeakageError, match="40"):
        compare([honest, cheat], ring_split.test)
    with pytest.raises(LeakageError, match="40"):
        recsys.evaluate(cheat, ring_split.test)
    assert recsys.evaluate(cheat, ring_split.test, allow_leakage=True)["recall@10"] >= 0.0
