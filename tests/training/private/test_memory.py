"""The private table: a sum that one user moves by a norm of 1, noise on every pair, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle.without_users import without_users
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.pipeline import membership_test
from recsys.privacy.noise import Noise
from recsys.training.private import memory
from recsys.training.private.memory import UserSums, released, user_sums
from recsys.training.update.run import updated
from recsys.transitions.learn import Form
from tests.conftest import make_events
from tests.transitions.naive import positions

N, FORM = 7, Form("counts", 2.0, 4)
LISTS = [[0, 1, 2, 1, 2, 0], [3, 3, 3], [5], [], [6, 5, 4, 3, 2, 1, 0, 6]]


def _vector(sums: UserSums) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([sums.pairs.toarray().ravel(), sums.items])


def test_each_user_is_in_it_with_one_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _vector(user_sums(Ragged.from_lists(LISTS), N, FORM))
    parts = [_vector(user_sums(Ragged.from_lists([one]), N, FORM)) for one in LISTS]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), atol=1e-12)
    assert [round(float(np.linalg.norm(one)), 9) for one in parts] == [1.0, 1.0, 0.0, 0.0, 1.0]
    for gone in range(len(LISTS)):
        rest = _vector(user_sums(Ragged.from_lists(LISTS[:gone] + LISTS[gone + 1 :]), N, FORM))
        assert np.linalg.norm(whole - rest) <= 1 + 1e-9
    monkeypatch.setattr(memory, "_PAIRS", 1)
    np.testing.assert_allclose(_vector(user_sums(Ragged.from_lists(LISTS), N, FORM)), whole, atol=1e-12)


def test_the_sums_are_those_of_the_events() -> None:
    x, y = positions(Ragged.from_lists([LISTS[0]]), N, FORM.window, FORM.decay)
    counts = x.T @ y
    found = user_sums(Ragged.from_lists([LISTS[0]]), N, FORM)
    np.testing.assert_allclose(found.pairs.toarray(), counts / np.linalg.norm(counts) / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(found.items, [1 / 6**0.5] * 3 + [0.0] * 4)


def test_every_pair_gets_noise_and_what_stands_out_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CERTAIN", -100.0)
    nothing = UserSums(user_sums(Ragged.from_lists([[]] * 3), 60, FORM).pairs, np.zeros(60))
    drawn = []
    real = Noise.normal

    def counted(self: Noise, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        drawn.append(real(self, n))
        return drawn[-1]

    monkeypatch.setattr(Noise, "normal", counted)
    monkeypatch.setattr(memory, "_BLOCK", 300)
    with np.errstate(invalid="ignore"):
        released(nothing, 2.0, Noise(0), 60)
    assert [len(one) for one in drawn] == [60, *[300] * 12]
    assert np.concatenate(drawn).std() == pytest.approx(1.0, abs=0.05)
    monkeypatch.setattr(memory, "_CERTAIN", 4.0)
    sums = user_sums(Ragged.from_lists([[0, 1, 2]] * 500), 60, FORM)
    table, popularity = released(sums, 2.0, Noise(1), 60)
    assert {(0, 1), (1, 2)} <= set(zip(*(one.tolist() for one in table.nonzero()), strict=True))
    assert table.nnz < 6
    scale = np.sqrt(popularity + 8.0)
    assert table[0, 1] * scale[0] * scale[1] == pytest.approx(sums.pairs[0, 1], abs=12.0)
    assert popularity[:3].min() > 5 * popularity[3:].max()


@pytest.fixture(scope="module")
def ring_of_many() -> Interactions:
    return Interactions.from_frame(make_events(users=1500, length=6))


def _recipe(**privacy: object) -> recsys.Recipe:
    options = {"epsilon": 20.0, "delta": 1e-5, "accountant": "rdp"}
    return recsys.Recipe.read(model={"fast": True}, privacy=options | privacy)  # type: ignore[arg-type]


def test_a_private_fast_model_learns_keeps_and_tells(
    ring_of_many: Interactions, ring_catalog: Catalog, tmp_path: Path
) -> None:
    model = _recipe().fit(ring_of_many, ring_catalog)
    assert model.log is not None
    spent = model.log.privacy
    assert spent is not None
    assert (spent["steps"], spent["rate"], spent["norm"], spent["users"]) == (1, 1.0, 1.0, 1500)
    assert 19.5 < spent["epsilon"] <= 20
    retriever = model.retriever()
    found = retriever.recommend(histories=[["i3", "i4"], ["i20"]], k=1)["item_id"].to_list()
    assert found == ["i5", "i21"]
    retriever.save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    assert again.recommend(histories=[["i3", "i4"]], k=1)["item_id"].to_list() == ["i5"]
    with pytest.raises(ConfigError, match="without noise"):
        updated(again.bundle, ring_of_many)
    table = again.bundle.corpus.transitions
    kept = without_users(again.bundle, np.array([1], dtype=np.int32)).bundle.corpus.transitions
    assert table is not None
    assert kept is not None
    assert (abs(kept.table - table.table)).nnz == 0, "what keeps a promise of privacy is not learned anew without noise"


def test_an_attack_on_a_table_sees_members_only_without_noise(ring: Interactions, ring_catalog: Catalog) -> None:
    random = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", place) for user in range(80) for place, item in enumerate(random.permutation(30)[:8])]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    plain = membership_test(recsys.Recipe.read(model={"fast": True}), log, ring_catalog, shadows=2)
    private = membership_test(_recipe(epsilon=1.0, delta=1e-3), log, ring_catalog, shadows=2)
    assert plain.threshold.low > 0.6
    assert private.threshold.low < 0.5 < private.threshold.high
    assert private.privacy is not None


def test_what_a_private_table_cannot_be_is_refused(ring: Interactions, ring_catalog: Catalog) -> None:
    recipe = recsys.Recipe.read(model={"fast": True, "transitions": "ridge"}, privacy={"epsilon": 1.0, "delta": 1e-3})
    with pytest.raises(ConfigError, match="noisy counts"):
        recipe.fit(ring, ring_catalog)
    with pytest.raises(ConfigError, match="--catalog"):
        _recipe(delta=1e-3).fit(ring)
