import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle import describe, manifest, saved_towers
from recsys.bundle.build import build
from recsys.config.training import Training
from recsys.core.files import sha256_of
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split, leave_last_out
from recsys.errors import BundleError, DataError
from recsys.index import io as files
from recsys.index.item_index import ItemIndex
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower


@pytest.fixture(scope="module")
def fitted(ring: Interactions, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path, tmp_path_factory) -> Retriever:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        training = Training(epochs=1, batch_tokens=64, device="cpu")
        model = TwoTower(encoder=str(tiny_encoder), word_features="off", dim=16, max_length=8).fit(
            ring_split.train, ring_catalog, training=training
        )
    return model.retriever(log=ring, holdout=ring_split.test)


@pytest.fixture
def folder(fitted: Retriever, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "run", metrics={"recall@10": 0.5})
    return tmp_path / "run"


def test_what_is_loaded_answers_as_what_was_saved(fitted: Retriever, folder: Path) -> None:
    loaded = recsys.load(folder)
    assert loaded.recommend(["u1", "u2"], k=7).equals(fitted.recommend(["u1", "u2"], k=7))
    assert loaded.recommend(histories=[["i1", "i2"]], k=7).equals(fitted.recommend(histories=[["i1", "i2"]], k=7))
    assert loaded.similar_items("i4", k=7).equals(fitted.similar_items("i4", k=7))
    assert loaded.search("a red car", k=7)["item_id"].equals(fitted.search("a red car", k=7)["item_id"])


def test_the_holdout_travels_with_the_bundle(fitted: Retriever, folder: Path, ring_split: Split) -> None:
    loaded = recsys.load(folder)
    assert loaded.holdout is not None
    assert loaded.holdout.protocol == ring_split.test.protocol
    before, after = (recsys.evaluate(one, ring_split.test, (1, 5)).means for one in (fitted, loaded))
    assert before == after
    assert recsys.evaluate(loaded, loaded.holdout, (1, 5)).means == before


def test_a_bundle_is_moved_and_copied_freely(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    assert recsys.load(tmp_path / "elsewhere").search("a red car", k=1).height == 1


def test_nothing_in_a_bundle_is_pickled(folder: Path) -> None:
    kinds = {file.suffix for file in folder.rglob("*") if file.is_file()}
    assert kinds <= {".json", ".parquet", ".safetensors", ".npy", ".faiss"}
    np.load(folder / "item_vectors.npy", allow_pickle=False)


def files_of(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and f.name != "manifest.json")


def test_every_file_is_in_the_manifest(folder: Path) -> None:
    assert sorted(json.loads((folder / "manifest.json").read_text())["files"]) == files_of(folder)


def test_one_changed_byte_in_any_file_is_refused_by_name(folder: Path) -> None:
    for name in files_of(folder):
        file = folder / name
        good = file.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        file.write_bytes(bad)
        with pytest.raises(BundleError, match=f"{file.name} is damaged"):
            recsys.load(folder)
        file.write_bytes(good)
    recsys.load(folder)


def test_a_missing_or_shortened_file_is_refused_by_name(folder: Path) -> None:
    file = folder / "histories.parquet"
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(BundleError, match=r"histories\.parquet is damaged"):
        recsys.load(folder)
    file.unlink()
    with pytest.raises(BundleError, match=r"incomplete: histories\.parquet is missing"):
        recsys.load(folder)


def test_a_half_written_folder_is_no_bundle(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"not a recsys bundle: it has no manifest\.json"):
        recsys.load(folder)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    told = json.loads((folder / "manifest.json").read_text())
    for name in told["files"]:
        told["files"][name] = {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest.sealed(told | changes)))


def test_a_newer_format_is_refused_with_the_remedy(folder: Path) -> None:
    rewrite_manifest(folder, format_version=manifest.FORMAT_VERSION + 1)
    with pytest.raises(BundleError, match="format version 2; this recsys reads up to 1: upgrade recsys"):
        recsys.load(folder)


def test_a_foreign_or_broken_manifest_is_refused(folder: Path) -> None:
    rewrite_manifest(folder, format="something-else")
    with pytest.raises(BundleError, match="'something-else'"):
        recsys.load(folder)
    (folder / "manifest.json").write_text('{"format": ')
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        recsys.load(folder)


def test_an_index_of_another_model_is_refused(fitted: Retriever, folder: Path) -> None:
    other = np.random.default_rng(0).normal(size=fitted.index.vectors().shape).astype(np.float32)
    files.write(ItemIndex.build(other), folder, other)
    rewrite_manifest(folder)
    with pytest.raises(BundleError, match=r"built from other vectors than item_vectors\.npy"):
        recsys.load(folder)
    np.save(folder / "item_vectors.npy", other)
    rewrite_manifest(folder)
    with pytest.raises(BundleError, match="not made by the towers"):
        recsys.load(folder)


def test_towers_of_other_items_are_refused(folder: Path) -> None:
    items = pl.read_parquet(folder / "items.parquet")
    items.head(10).write_parquet(folder / "items.parquet")
    rewrite_manifest(folder)
    with pytest.raises(BundleError, match=r"histories\.parquet names items that are none of the 10 in items\.parquet"):
        recsys.load(folder)
    more = items.head(1).with_columns(item_id=pl.lit("one more"))
    pl.concat([items, more]).write_parquet(folder / "items.parquet")
    rewrite_manifest(folder)
    with pytest.raises(BundleError, match=r"knows 32 items, items\.parquet 33"):
        recsys.load(folder)


def test_saving_over_something_is_refused_unless_asked_for(fitted: Retriever, folder: Path) -> None:
    with pytest.raises(DataError, match="already holds something.*--overwrite"):
        fitted.save(folder)
    recsys.load(folder)
    fitted.save(folder, overwrite=True)
    recsys.load(folder)


def test_what_is_not_a_bundle_is_never_overwritten(fitted: Retriever, tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("words")
    with pytest.raises(DataError, match="not a recsys bundle; it is not overwritten"):
        fitted.save(precious, overwrite=True)
    assert (precious / "chapter.txt").read_text() == "words"


def test_a_failure_while_saving_leaves_the_old_bundle_and_no_litter(
    fitted: Retriever, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256_of(folder / "manifest.json")

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(saved_towers, "write", full_disk)
    with pytest.raises(OSError, match="no space"):
        fitted.save(folder, overwrite=True)
    assert sha256_of(folder / "manifest.json") == before
    assert [entry.name for entry in folder.parent.iterdir() if "run" in entry.name] == ["run"]
    recsys.load(folder)


def test_inspecting_verifies_too(folder: Path) -> None:
    assert describe.describe(folder)["test"] == {"recall@10": "0.5000"}
    (folder / "config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"config\.json is damaged"):
        describe.describe(folder)


def test_the_bundle_knows_what_its_model_was_trained_on(folder: Path, ring_split: Split) -> None:
    trained_on = recsys.load(folder).bundle.trained_on
    assert trained_on is not None
    assert trained_on.histories.to_lists() == ring_split.train.histories.to_lists()
    assert trained_on.items.ids[:30].equals(ring_split.train.items.ids)


def test_the_times_of_the_targets_travel_too(folder: Path, ring_split: Split) -> None:
    holdout = recsys.load(folder).holdout
    assert holdout is not None
    assert holdout.times is not None
    assert ring_split.test.times is not None
    assert holdout.times.tolist() == ring_split.test.times.tolist()


# Times and event types of histories.


@pytest.fixture(scope="module")
def typed(ring: Interactions) -> Interactions:
    """The ring, every event with a type."""
    kinds = pl.Series(["view", "cart", "view", "buy"] * (len(ring) // 4))
    return Interactions.from_frame(ring.frame().with_columns(event_type=kinds))


def built(
    fitted: Retriever, log: Interactions, holdout: Holdout | None = None, train: Interactions | None = None
) -> Retriever:
    return Retriever(build(fitted.towers, fitted.catalog, log, config=fitted.bundle.config, holdout=holdout, train=train))


def events_of(retriever: Retriever, lists: Ragged) -> list[tuple]:
    """Item, time and type of every event."""
    names = [None if lists.events is None else retriever.event_names[code] for code in lists.events]
    return list(zip(retriever.items.to_ids(lists.rows), lists.times.tolist(), names, strict=True))


def test_histories_keep_the_time_and_the_type_of_each_event(fitted: Retriever, typed: Interactions) -> None:
    split = leave_last_out(typed)
    retriever = built(fitted, typed, split.test, split.train)
    told = typed.frame().select("item_id", "timestamp", "event_type").rows()
    assert events_of(retriever, retriever.histories) == told
    assert retriever.bundle.trained_on is not None
    assert retriever.bundle.trained_on.frame().equals(split.train.frame())


def test_times_and_event_types_travel_with_the_bundle(fitted: Retriever, typed: Interactions, tmp_path: Path) -> None:
    split = leave_last_out(typed)
    retriever = built(fitted, typed, split.test, split.train)
    retriever.save(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["event_names"] == ["buy", "cart", "view"]
    loaded = recsys.load(tmp_path / "run")
    assert loaded.event_names == ("buy", "cart", "view")
    assert loaded.holdout is not None
    assert loaded.holdout.event_names == loaded.event_names
    assert loaded.holdout.times.tolist() == split.test.times.tolist()
    for before, after in (
        (retriever.histories, loaded.histories),
        (retriever.holdout.histories, loaded.holdout.histories),
        (retriever.holdout.targets, loaded.holdout.targets),
    ):
        for name in ("offsets", "rows", "times", "events"):
            one, other = getattr(before, name), getattr(after, name)
            assert (one is None) == (other is None)
            assert one is None or (one.dtype == other.dtype and one.tolist() == other.tolist())
    assert loaded.bundle.trained_on.frame().equals(split.train.frame())
    assert loaded.recommend(["u1"], k=7, exclude="i3").equals(retriever.recommend(["u1"], k=7, exclude="i3"))


def test_users_without_a_history_travel_too(fitted: Retriever, typed: Interactions, tmp_path: Path) -> None:
    some = typed.select(typed.histories.list_index() % 3 == 1)
    built(fitted, some).save(tmp_path / "run")
    loaded = recsys.load(tmp_path / "run").histories
    assert loaded.to_lists() == some.histories.to_lists()
    assert loaded.times.tolist() == some.timestamps.tolist()
    assert loaded.events.tolist() == some.events.tolist()


def test_a_bundle_from_before_there_were_times_and_types_still_loads(folder: Path, fitted: Retriever) -> None:
    for name, columns in (("histories", ["times"]), ("holdout", ["history_times"])):
        file = folder / f"{name}.parquet"
        pl.read_parquet(file).drop(columns).write_parquet(file)
    config = json.loads((folder / "config.json").read_text())
    del config["event_names"]
    (folder / "config.json").write_text(json.dumps(config))
    rewrite_manifest(folder)
    loaded = recsys.load(folder)
    assert (loaded.histories.times, loaded.histories.events, loaded.event_names) == (None, None, ())
    assert loaded.histories.to_lists() == fitted.histories.to_lists()
    assert loaded.holdout is not None
    assert loaded.holdout.histories.times is None
    assert loaded.holdout.times.tolist() == fitted.holdout.times.tolist()
    assert loaded.recommend(["u1"], k=7).equals(fitted.recommend(["u1"], k=7))


def test_event_types_are_put_into_the_codes_that_the_model_was_trained_on(fitted: Retriever, typed: Interactions) -> None:
    split = leave_last_out(typed)
    other = Interactions.from_frame(typed.frame().filter(pl.col("event_type") != "buy"))  # cart and view alone
    retriever = built(fitted, other, leave_last_out(other).test, split.train)
    assert retriever.event_names == ("buy", "cart", "view")
    assert [event[2] for event in events_of(retriever, retriever.histories)] == other.frame()["event_type"].to_list()
    judged = leave_last_out(other).test.histories
    assert retriever.holdout is not None
    assert retriever.holdout.histories.events.tolist() == (judged.events + 1).tolist()


def test_a_log_with_event_types_unknown_to_the_model_is_refused(fitted: Retriever, typed: Interactions) -> None:
    strange = Interactions.from_frame(typed.frame().with_columns(pl.col("event_type").replace("cart", "wish")))
    with pytest.raises(DataError, match=r"events of type 'wish' are not among the known event types \(buy, cart, view\)"):
        built(fitted, strange, train=leave_last_out(typed).train)


# Options and tensors of other versions.

FIRST_OPTIONS = (
    "encoder", "dim", "blocks", "heads", "max_length", "dropout", "id_dropout", "use_ids", "text_dim", "score",
    "temperature",
)  # fmt: skip
"""What a model could be told when the first bundles were written."""
_BLOCK = (
    "attention_gate.bias", "attention_gate.weight", "attention_norm.weight", "attention_out.weight", "feed.into.weight",
    "feed.out.weight", "feed_gate.bias", "feed_gate.weight", "feed_norm.weight", "qkv.weight",
)  # fmt: skip
FIRST_TENSORS = {
    "items.has_id", "items.id.weight", "items.norm.bias", "items.norm.weight", "items.project.weight", "items.text",
    "log_scale", "users.norm.weight", "users.position", "whitening.matrix", "whitening.mean",
    *(f"users.blocks.{block}.{name}" for block in (0, 1) for name in _BLOCK),
}  # fmt: skip
"""The tensors of those bundles, where the model reads ids and text."""


def change_options(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"] = changes
    (folder / "config.json").write_text(json.dumps(config))
    rewrite_manifest(folder)


def test_a_bundle_from_before_there_were_more_options_still_loads(fitted: Retriever, folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "towers.safetensors", "np") as file:
        assert set(file.keys()) == FIRST_TENSORS
    change_options(folder, **{name: fitted.bundle.options[name] for name in FIRST_OPTIONS})
    loaded = recsys.load(folder)
    assert loaded.recommend(["u1", "u2"], k=7).equals(fitted.recommend(["u1", "u2"], k=7))
    assert loaded.search("a red car", k=7)["item_id"].equals(fitted.search("a red car", k=7)["item_id"])


def test_options_of_a_later_version_are_named(fitted: Retriever, folder: Path) -> None:
    change_options(folder, **fitted.bundle.options, gravity=9.81, flavour="up")
    with pytest.raises(BundleError, match=r"options that this recsys does not know \(flavour, gravity\); upgrade recsys"):
        recsys.load(folder)


def test_tensors_of_another_model_are_refused(fitted: Retriever, folder: Path) -> None:
    change_options(folder, **(fitted.bundle.options | {"positions": "rotary"}))
    with pytest.raises(BundleError, match=r"towers\.safetensors does not fit config\.json"):
        recsys.load(folder)
