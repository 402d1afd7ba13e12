"""A bundle takes in new events, users and items; what it was made of stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.bundle.contents import Bundle
from recsys.bundle.describe import describe
from recsys.config.training import Objective, Training
from recsys.config.update import UpdateOptions
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.serving.retriever import Retriever
from recsys.training.update.joint import joined, untrained
from recsys.training.update.run import updated
from recsys.transitions.choose import learn_memory
from recsys.two_tower import TwoTower
from tests.conftest import make_items

_TRAINING = Training(epochs=3, batch_tokens=64, learning_rate=0.01)


@pytest.fixture(scope="module")
def bundle(ring: Interactions, ring_split: Split, ring_catalog: Catalog) -> Bundle:
    """An ensemble that reads words, trained on all but the last two events of each user."""
    model = TwoTower(encoder=None, dim=8, max_length=8, word_features="on", ensemble_size=2)
    model.fit(ring_split.train, ring_catalog, validation=ring_split.validation, training=_TRAINING)
    return model.retriever(log=ring, holdout=ring_split.test).bundle


@pytest.fixture(scope="module")
def day() -> Interactions:
    """One old user goes on, one is new; one item is new and has a text, another has none."""
    rows = [("u1", "fresh", 9000), ("zed", "i1", 9001), ("zed", "i2", 9002), ("zed", "fresh", 9003), ("zed", "bare", 9004)]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    more = pl.DataFrame({"item_id": ["fresh"], "title": ["a red zeppelin"]})
    return Catalog.from_frame(pl.concat([make_items(), more]), text=["title"])


@pytest.fixture(scope="module")
def after(bundle: Bundle, day: Interactions, catalog: Catalog) -> Bundle:
    return updated(bundle, joined(bundle, day), catalog, UpdateOptions(epochs=2, batch_tokens=64))


def test_new_users_and_items_are_served_and_rankable(after: Bundle) -> None:
    found = Retriever(after).recommend("zed", k=40, filter_seen=False)
    assert {"fresh", "bare", "i5"} <= set(found["item_id"])
    assert Retriever(after).history("zed")["item_id"].to_list() == ["i1", "i2", "fresh", "bare"]
    assert np.isfinite(after.vectors).all()
    red = [row for row, text in enumerate(after.catalog.texts) if text is not None and "red" in text]
    near = Retriever(after).similar_items("fresh", k=10)["similar_item_id"].to_list()
    assert set(near) & set(after.items.ids.gather(red)), "a red item stands near other red ones"


def test_old_rows_keep_their_ids_and_every_weight_moves(bundle: Bundle, after: Bundle) -> None:
    n = len(bundle.items)
    assert after.items.ids[:n].to_list() == bundle.items.ids.to_list()
    assert after.users.ids[: len(bundle.users)].to_list() == bundle.users.ids.to_list()
    before, now = bundle.towers.net.state_dict(), after.towers.net.state_dict()
    assert torch.equal(now["items.bags.tokens"][: len(before["items.bags.tokens"])], before["items.bags.tokens"])
    for name, value in before.items():
        if value.dtype.is_floating_point and name.endswith("weight") and value.dim() > 1:
            moved = (now[name][: len(value)] - value).abs()
            assert 0 < float(moved.max()) < 0.5, f"{name} is trained on, of every member"
    similar = torch.nn.functional.cosine_similarity(torch.from_numpy(bundle.vectors), torch.from_numpy(after.vectors[:n]))
    assert float(similar.min()) > 0.5, "old items mean what they meant"


def test_the_parent_stays_as_it_was(bundle: Bundle, day: Interactions, catalog: Catalog, tmp_path: Path) -> None:
    Retriever(bundle).save(tmp_path / "parent")
    files = {file.name: file.read_bytes() for file in (tmp_path / "parent").iterdir() if file.is_file()}
    parent = recsys.load(tmp_path / "parent").bundle
    weights = {name: value.clone() for name, value in parent.towers.net.state_dict().items()}
    one, two = (updated(parent, joined(parent, day), catalog, UpdateOptions(epochs=1)) for _ in range(2))
    for name, value in parent.towers.net.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert all((tmp_path / "parent" / name).read_bytes() == content for name, content in files.items())
    assert np.array_equal(one.vectors, two.vectors), "one seed, one result"
    other = updated(parent, joined(parent, day), catalog, UpdateOptions(epochs=1, seed=1))
    assert not np.array_equal(one.vectors, other.vectors)
    assert one.lineage is not None
    assert one.lineage["parent"] == parent.seal is not None
    Retriever(one).save(tmp_path / "child")
    child = recsys.load(tmp_path / "child").bundle
    assert child.lineage is not None
    assert (child.lineage["updates"], child.lineage["events"]["new"]) == (1, 80 + 5)
    assert child.lineage["items"] == {"old": 32, "new": 2}
    assert describe(tmp_path / "child")["lineage"]["events"] == "240 old, 85 new"
    assert updated(child, joined(child, day)).lineage["updates"] == 2  # type: ignore[index]


def test_the_memory_is_that_of_all_events(bundle: Bundle, after: Bundle) -> None:
    old, new = bundle.corpus.transitions, after.corpus.transitions
    assert old is not None
    assert new is not None
    wanted = learn_memory(after.histories.without_events(), len(after.items), old.form, old.weight)
    assert (new.table != wanted.table).nnz == 0
    assert (new.form, new.weight) == (old.form, old.weight)


def test_nothing_new_changes_no_ranking(after: Bundle, day: Interactions) -> None:
    again = updated(after, joined(after, day))
    assert np.array_equal(again.vectors, after.vectors)
    users = after.users.ids.to_list()
    assert Retriever(again).recommend(users).equals(Retriever(after).recommend(users))


def test_removed_items_stay_removed(after: Bundle, day: Interactions) -> None:
    retriever = Retriever(after)
    retriever.remove_items(["i7", "fresh"])
    again = Retriever(updated(retriever.bundle, joined(after, day)))
    assert not {"i7", "fresh"} & set(again.recommend("u1", k=50, filter_seen=False)["item_id"])


def test_what_was_held_out_is_new(bundle: Bundle, ring_split: Split, ring: Interactions) -> None:
    new = untrained(bundle, joined(bundle, ring))
    assert int(new.sum()) == len(ring) - len(ring_split.train)
    last = bundle.histories.offsets[1:] - 1
    assert new[last].all()


def test_late_events_find_their_place_and_known_ones_count_once(bundle: Bundle) -> None:
    known = bundle.histories
    first = bundle.items.ids[int(known[0][0])]
    user, time = bundle.users.ids[0], int(known.times[0])  # type: ignore[index]
    rows = [(user, first, time), (user, "i29", time + 2), (user, "i29", time + 2)]
    late = Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    both = joined(bundle, late)
    assert len(both) == len(known.rows) + 2
    assert both.items.to_ids(both.histories[0][:6]).to_list().count("i29") >= 2
    assert (np.diff(both.histories.times[: both.histories.offsets[1]]) >= 0).all()  # type: ignore[index]
    assert len(joined(bundle, both)) == len(both) - 0


@pytest.mark.parametrize("unordered", [False, True])
def test_ids_alone_and_logs_without_times(ring: Interactions, unordered: bool) -> None:
    frame = ring.frame().select("user_id", "item_id")
    log = Interactions.from_frame(frame, unordered=unordered)
    model = TwoTower(encoder=None, dim=8, max_length=8).fit(log, training=replace(_TRAINING, epochs=1))
    bundle = model.retriever(index="exact").bundle
    more = pl.DataFrame({"user_id": ["u1", "zed", "zed"], "item_id": ["solo", "i1", "solo"]})
    both = joined(bundle, Interactions.from_frame(more, unordered=unordered))
    assert (len(both), both.ordered) == (len(log) + 3, not unordered)
    after = updated(bundle, both, options=UpdateOptions(epochs=1))
    assert "solo" in set(Retriever(after).recommend("u2", k=50, filter_seen=False)["item_id"])
    if not unordered:
        whole = Interactions.from_frame(pl.concat([frame, more]))
        assert len(joined(bundle, whole)) == len(log) + 3, "the whole log again is no second log"


def test_a_fast_model_updates_its_memory(ring: Interactions, day: Interactions) -> None:
    bundle = TwoTower(fast=True).fit(ring).retriever().bundle
    after = updated(bundle, joined(bundle, day))
    memory = after.corpus.transitions
    assert memory is not None
    wanted = learn_memory(after.histories.without_events(), len(after.items), memory.form, memory.weight)
    assert (memory.table != wanted.table).nnz == 0
    fresh = TwoTower(fast=True).fit(joined(bundle, day))
    assert np.array_equal(after.vectors, fresh.vectors), "popularity is that of all events"


def test_features_of_users_keep_their_codes(ring: Interactions, day: Interactions, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [f"u{i}" for i in range(40)], "land": ["fr", "es"] * 20, "age": list(range(40))})
    columns = {"categorical": ["land"], "numeric": ["age"]}
    people = UserTable.from_frame(frame, **columns, buckets=4)
    model = TwoTower(encoder=None, dim=8, max_length=8).fit(ring, training=replace(_TRAINING, epochs=1), users=people)
    model.retriever(index="exact").save(tmp_path / "run")
    bundle = recsys.load(tmp_path / "run").bundle
    assert bundle.towers.user_features == people.features
    frame = pl.DataFrame({"user_id": ["zed", "u1"], "land": ["at", "es"], "age": [39, 1]})
    frame.write_csv(tmp_path / "people.csv")
    more = recsys.read_user_table(tmp_path / "people.csv", **columns, like=people.features)
    after = updated(bundle, joined(bundle, day), options=UpdateOptions(epochs=1), users=more)
    codes = dict(zip(after.users.ids, after.towers.user_codes.tolist(), strict=True))  # type: ignore[union-attr]
    assert (codes["u0"], codes["u1"], codes["zed"]) == ([2, 1], [1, 1], [3, 4])
    assert after.towers.user_features[0].categories == ("es", "fr", "at")
    with pytest.raises(DataError, match="the column 'age' of the table of users is cut into other buckets"):
        updated(bundle, joined(bundle, day), users=UserTable.from_frame(frame, **columns))


def test_moments_go_from_bundle_to_bundle(ring: Interactions, day: Interactions, tmp_path: Path) -> None:
    model = TwoTower(encoder=None, dim=8, max_length=8)
    model.fit(ring, training=replace(_TRAINING, epochs=1, keep_moments=True)).retriever().save(tmp_path / "run")
    bundle = recsys.load(tmp_path / "run").bundle
    assert bundle.towers.moments is not None
    after = updated(bundle, joined(bundle, day), options=UpdateOptions(epochs=1))
    assert after.towers.moments is not None
    name = "net.items.id.weight"
    steps = [float(one.towers.moments[f"{name}/step"]) for one in (bundle, after)]
    assert steps[1] > steps[0] > 1, "the count goes on"
    assert len(after.towers.moments[f"{name}/exp_avg"]) == len(after.items)


def test_whatever_a_model_reads_grows_at_its_end(ring: Interactions, tiny_encoder: Path, tmp_path: Path) -> None:
    items = make_items().with_columns(kind=pl.Series(["big", "small"] * 16), size=pl.Series(range(32)))
    events = ring.frame().with_columns(event_type=pl.Series(["buy", "view"] * (len(ring) // 2)))
    log = Interactions.from_frame(events)
    model = TwoTower(
        encoder=str(tiny_encoder), categories=["kind"], numbers=["size"], dim=8, max_length=8, heads=1, blocks=1,
        time_bias="request", event_heads=True,
    )  # fmt: skip
    training = replace(_TRAINING, epochs=1, ema_decay=0.9)
    model.fit(log, Catalog.from_frame(items, text=["title"]), training=training)
    model.retriever(index=recsys.IndexSpec("hnsw")).save(tmp_path / "run")
    bundle = recsys.load(tmp_path / "run").bundle
    more = pl.DataFrame(
        {
            "item_id": ["n1", "n2", "i0"],
            "title": ["a red car car", "a blue car", "a black boat"],
            "kind": ["huge", "huge", "big"],
            "size": [31, 2, 0],
        }
    )
    new = {"user_id": ["u1", "u1", "u1"], "item_id": ["n1", "i2", "n2"], "timestamp": [9000, 9001, 9002]}
    day = Interactions.from_frame(pl.DataFrame(new | {"event_type": ["cart", "view", "buy"]}))
    after = updated(bundle, joined(bundle, day), Catalog.from_frame(more, text=["title"]), UpdateOptions(epochs=1))
    Retriever(after).save(tmp_path / "after")
    after = recsys.load(tmp_path / "after").bundle
    assert after.event_names == ("buy", "view", "cart")
    old, tokens = bundle.corpus.encoder.tokens, after.corpus.encoder.tokens
    assert old is not None
    assert tokens is not None
    assert tokens.table[: len(old)].equals(old.table)
    assert "kind\0huge" in tokens.table["token"].tail(len(tokens) - len(old)).to_list()
    row = int(after.items.find_rows(["i0"])[0])
    assert after.catalog.texts[row] == "a black boat", "what a catalogue says anew of an old item is taken over"
    was, now = (one.towers.net.items.text for one in (bundle, after))
    same = np.arange(32) != row
    assert torch.equal(was[same], now[:32][same])
    assert not torch.equal(was[row], now[row])
    assert after.index.spec.kind == "hnsw"
    found = Retriever(after).recommend(["u1", "u2"], k=40, filter_seen=False, target_event="cart")
    assert {"n1", "n2"} <= set(found["item_id"])


def test_a_whole_log_keeps_its_weights(ring: Interactions, day: Interactions) -> None:
    weighted = replace(ring, weights=np.arange(len(ring), dtype=np.float32) + 1)
    training, objective = replace(_TRAINING, epochs=1), Objective(weighted=True)
    model = TwoTower(encoder=None, dim=8, max_length=8).fit(weighted, training=training, objective=objective)
    bundle = model.retriever(index="exact").bundle
    with pytest.raises(DataError, match="give the whole log, old and new events, with its weights"):
        updated(bundle, joined(bundle, day))
    frame = pl.concat([day.frame().with_columns(pl.lit(7.0, pl.Float32).alias("weight")), weighted.frame()], how="diagonal")
    both = joined(bundle, Interactions.from_frame(frame))
    assert both.users.ids[0] == bundle.users.ids[0]
    assert both.weights is not None
    assert both.weights[both.histories.offsets[2] - 1] == 7.0, "u1 bought something fresh last"
    assert np.array_equal(both.weights[: both.histories.offsets[1]], weighted.weights[: weighted.histories.offsets[1]])
    updated(bundle, both, options=UpdateOptions(epochs=1))


def test_what_does_not_fit_is_refused(bundle: Bundle, day: Interactions, catalog: Catalog) -> None:
    with pytest.raises(DataError, match=r"have times, and the new log has none"):
        joined(bundle, Interactions.from_frame(day.frame().drop("timestamp")))
    strange = Catalog.from_frame(pl.DataFrame({"item_id": ["x"], "name": ["y"]}), text=["name"])
    with pytest.raises(DataError, match=r"made of the columns title in the bundle, and of name"):
        updated(bundle, joined(bundle, day), strange)
    with pytest.raises(ConfigError, match="rate is a share above 0"):
        UpdateOptions(rate=0.0)
    with pytest.raises(ConfigError, match="joint must be"):
        updated(bundle, day.frame(), catalog)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_an_encoder_that_was_fine_tuned_reads_new_texts_as_it_is(
    mode: str, tiny_encoder: Path, ring: Interactions, ring_catalog: Catalog, day: Interactions, catalog: Catalog
) -> None:
    if mode == "lora":
        pytest.importorskip("peft")
    options = {"encoder": str(tiny_encoder), "encoder_mode": mode, "word_features": "off", "use_ids": False}
    model = TwoTower(dim=8, blocks=1, max_length=8, texts_per_step=8, transitions="none", **options)  # type: ignore[arg-type]
    parent = model.fit(ring, ring_catalog, training=replace(_TRAINING, epochs=1)).retriever(index="exact").bundle
    made = updated(parent, joined(parent, day), catalog, UpdateOptions(batch_tokens=64))
    n = len(parent.items)
    before, now = (one.towers.net.items.text.numpy() for one in (parent, made))
    assert np.array_equal(now[:n], before), "old texts keep their vectors"
    fresh = made.items.to_rows(pl.Series(["fresh"]))[0]
    assert np.allclose(now[fresh], whitened(parent, "a red zeppelin"), atol=1e-4)
    assert not np.array_equal(made.vectors[:n], parent.vectors)


def whitened(bundle: Bundle, text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    towers = bundle.towers
    assert towers.whitening is not None
    return towers.whitening(towers.encoder.encode([text]))[0]
