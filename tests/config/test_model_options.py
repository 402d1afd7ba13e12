"""Every kind of input a model can have, from fit to a bundle and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.features import Standardiser, TokenVocabulary
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower
from tests.conftest import make_events, make_items
from tests.models.tiny_encoders import make_clip, make_encoder

QUICK = Training(epochs=2, batch_tokens=64, learning_rate=1e-2, encoder_learning_rate=1e-3, device="cpu")
HOUR = 3600


@pytest.fixture(scope="module")
def log() -> Interactions:
    """The ring, with hours between events and a type for each."""
    events = make_events().with_columns(
        pl.col("timestamp") * HOUR, event_type=pl.Series(["view", "cart", "view", "buy"] * 80)
    )
    return Interactions.from_frame(events)


@pytest.fixture(scope="module")
def split(log: Interactions) -> Split:
    return leave_last_out(log)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The ring's items with two columns of categories, one of numbers and one of image files, each with a gap."""
    from PIL import Image

    folder, frame = tmp_path_factory.mktemp("images"), make_items()
    generator, files = np.random.default_rng(0), []
    for name in frame["item_id"]:
        files.append(str(folder / f"{name}.png"))
        Image.fromarray(generator.integers(0, 255, (18, 20, 3), dtype=np.uint8)).save(files[-1])
    words = frame["title"].str.split(" ")
    frame = frame.with_columns(
        kinds=(words.list.get(1) + "|" + words.list.get(2)).set(pl.Series([True] + [False] * 31), None),
        price=pl.Series([None, *range(31)]),
        picture=pl.Series([*files[:5], None, *files[6:]]),
    )
    return Catalog.from_frame(frame, text=["title"])


@pytest.fixture(scope="module")
def people() -> UserTable:
    """Teams of all users of the log but the first."""
    frame = pl.DataFrame({"user_id": [f"u{i}" for i in range(1, 40)], "team": ["red", "blue", "green"] * 13})
    return UserTable.from_frame(frame, categorical=["team"])


def same_after_loading(retriever: Retriever, folder: Path, **asked: Any) -> Retriever:
    """Save, load, and see that all is as it was."""
    retriever.save(folder)
    loaded = recsys.load(folder, device="cpu")
    assert loaded.recommend(["u1", "u2", "u0"], k=30, **asked).equals(
        retriever.recommend(["u1", "u2", "u0"], k=30, **asked)
    )
    assert loaded.similar_items("i3", k=9).equals(retriever.similar_items("i3", k=9))
    assert loaded.bundle.options == retriever.bundle.options
    return loaded


Fit = Callable[..., tuple[TwoTower, Retriever]]


@pytest.fixture
def fit(split: Split, log: Interactions, catalog: Catalog) -> Fit:
    def fitted(users: UserTable | None = None, training: Training = QUICK, **options: Any) -> tuple[TwoTower, Retriever]:
        made = TwoTower(**({"encoder": None, "dim": 16, "heads": 2, "max_length": 6, "dropout": 0.0} | options))
        made.fit(split.train, catalog, validation=split.validation, training=training, users=users)
        return made, made.retriever(log=log, holdout=split.test)

    return fitted


CONTENT: dict[str, dict[str, Any]] = {
    "words": {"word_features": "on", "word_dropout": 0.3},
    "categories": {"categories": ("kinds",)},
    "numbers": {"numbers": ("price",)},
    "words and categories alone": {"word_features": "on", "categories": ["kinds"], "use_ids": False},
    "words alone": {"word_features": "on", "use_ids": False},
    "all of it": {"word_features": "on", "categories": ("kinds",), "numbers": ("price",)},
}


@pytest.mark.parametrize("options", CONTENT.values(), ids=CONTENT)
def test_content_of_items_travels_with_the_bundle(fit: Fit, options: dict[str, Any], tmp_path: Path) -> None:
    _, retriever = fit(**options)
    loaded = same_after_loading(retriever, tmp_path / "run")
    new = retriever.similar_items("new0", k=31)  # nobody touched it, and yet it is near something
    assert new["score"].n_unique() > 20
    assert loaded.similar_items("new0", k=31).equals(new)


def test_words_let_an_item_that_nobody_touched_be_near_its_like(fit: Fit) -> None:
    _, retriever = fit(word_features="on", use_ids=False)
    vectors = dict(zip(retriever.items.ids, retriever.vectors, strict=True))
    assert float(vectors["new0"] @ vectors["i0"]) == pytest.approx(1.0, abs=1e-5)  # "a red car ." and "a red car"
    assert float(vectors["new0"] @ vectors["i17"]) < 0.99


def test_a_filter_of_each_member_travels_with_the_bundle(fit: Fit, tmp_path: Path) -> None:
    model, retriever = fit(filter_length=3, ensemble_size=2)
    first, second = (weight for name, weight in model.towers.net.named_parameters() if name.endswith("filter.weight"))
    assert first.shape == (3,)
    assert not first.equal(second)
    same_after_loading(retriever, tmp_path / "run")


TUNED: dict[str, dict[str, Any]] = {
    "lora of the top": {"encoder_mode": "lora", "trainable_layers": 1, "texts_per_step": 7},
    "full": {"encoder_mode": "full"},
}


@pytest.mark.parametrize(
    "options", [{"word_features": "on"}, {"event_heads": True}, {"score": "dot", "numbers": ("price",)}]
)
def test_an_ensemble_travels_with_the_bundle(fit: Fit, people: UserTable, options: dict[str, Any], tmp_path: Path) -> None:
    model, retriever = fit(users=people, ensemble_size=3, **options)
    assert model.vectors.shape == (32, 48)
    loaded = same_after_loading(retriever, tmp_path / "run", target_event="buy" if "event_heads" in options else None)
    assert loaded.towers.net.users.ensemble_size == 3


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.mark.parametrize("options", TUNED.values(), ids=TUNED)
def test_an_encoder_that_was_trained_along_travels_with_the_bundle(
    fit: Fit, bert: Path, catalog: Catalog, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.core.device.has_bf16", lambda device: False)  # in float32, so as to be compared
    monkeypatch.setattr("recsys.models.encoders.finetuned.has_bf16", lambda device: False)
    model, retriever = fit(encoder=str(bert), text_dim=8, **options)
    towers = model.towers
    assert towers.whitening is not None
    assert towers.held_encoder is not None
    texts = catalog.aligned(model.items).texts.to_list()
    vectors = towers.encoder.encode(texts)
    assert not np.allclose(vectors, TextEncoder(bert).encode(texts), atol=1e-2)
    # What the item tower reads is what the saved encoder gives, although the best epoch was not the last step.
    np.testing.assert_allclose(towers.net.items.text, towers.whitening(vectors), atol=0.05)
    loaded = same_after_loading(retriever, tmp_path / "run")
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()
    found = retriever.search("a red boat", k=5)
    assert loaded.search("a red boat", k=5)["item_id"].equals(found["item_id"])
    assert found["item_id"][0] == "i1"


def test_a_trained_encoder_follows_from_the_seed(fit: Fit, bert: Path) -> None:
    torch.manual_seed(1)
    one, _ = fit(encoder=str(bert), encoder_mode="lora", texts_per_step=5)
    before = torch.get_rng_state()
    two, _ = fit(encoder=str(bert), encoder_mode="lora", texts_per_step=5)
    assert torch.equal(torch.get_rng_state(), before)
    weights = two.towers.net.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.towers.net.state_dict().items())


def test_the_files_of_a_trained_encoder_go_with_its_model(fit: Fit, bert: Path) -> None:
    import gc
    import weakref

    model, retriever = fit(encoder=str(bert), encoder_mode="full")
    held = model.towers.held_encoder
    assert held is not None
    file = held.files["model.safetensors"]
    handle = weakref.ref(file.handle)
    assert not file.path.exists()  # nothing of it lies about, however this process ends
    del model, held, file
    gc.collect()
    assert handle() is not None  # the retriever still reads it
    del retriever
    gc.collect()
    assert handle() is None


def test_images_travel_with_the_bundle(fit: Fit, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip")
    model, retriever = fit(images="picture", image_encoder=str(clip), use_ids=False)
    images = model.towers.net.items.images
    assert images.shape[0] == 32
    assert torch.nonzero(~images.any(1)).flatten().tolist() == model.items.to_rows(["i5"]).tolist()
    same_after_loading(retriever, tmp_path / "run")


def test_images_that_cannot_be_read_are_named(split: Split, catalog: Catalog, tmp_path: Path) -> None:
    def ask(frame: pl.DataFrame) -> None:
        bad = Catalog.from_frame(frame.with_columns(item_id=catalog.items.ids), text=["title"])
        model = TwoTower(encoder=None, images="picture", image_encoder=str(clip), dim=8)
        model.fit(split.train, bad, training=QUICK)

    clip = make_clip(tmp_path / "clip")
    with pytest.raises(DataError, match="'picture' names no image file that is there"):
        ask(catalog.columns.with_columns(picture=pl.Series([f"nowhere{i}.png" for i in range(32)])))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="none of the files of the catalogue's column 'picture' is a picture"):
        ask(catalog.columns.with_columns(picture=pl.lit(str(tmp_path / "text.png"))))
    with pytest.raises(DataError, match="'picture' names no image file"):
        ask(catalog.columns.with_columns(picture=pl.lit(None, dtype=pl.String)))
    with pytest.raises(ConfigError, match="no column 'picture'"):
        ask(catalog.columns.drop("picture"))


TIME: dict[str, dict[str, Any]] = {
    "rotary": {"positions": "rotary"},
    "relative": {"positions": "relative"},
    "none": {"positions": "none"},
    "between events": {"time_bias": "history"},
    "relative and between events": {"positions": "relative", "time_bias": "history"},
}


@pytest.mark.parametrize("options", TIME.values(), ids=TIME)
def test_order_and_time_are_read_again_after_loading(fit: Fit, options: dict[str, Any], tmp_path: Path) -> None:
    model, retriever = fit(**options)
    same_after_loading(retriever, tmp_path / "run")
    assert not model.reads_request_time
    assert retriever.recommend("u1", k=9, request_time=0).equals(retriever.recommend("u1", k=9, request_time=10**9))


def test_the_clock_of_the_request_changes_the_answer_where_it_is_read(fit: Fit, split: Split, tmp_path: Path) -> None:
    model, retriever = fit(time_bias="request")
    last = int(retriever.histories.times.max())
    soon, late = (retriever.recommend("u39", k=9, request_time=last + wait)["score"] for wait in (60, 400 * 24 * HOUR))
    assert not np.allclose(soon, late, atol=1e-4)
    loaded = same_after_loading(retriever, tmp_path / "run", request_time=last + 60)
    assert loaded.traits.reads_request_time
    for one in (model, retriever, loaded):
        assert "request time known" in recsys.evaluate(one, split.test, 5).protocol
    before, after = (recsys.evaluate(one, split.test, 5).means for one in (retriever, loaded))
    assert after == pytest.approx(before, abs=1e-6)


def test_a_history_of_somebody_new_needs_what_the_model_reads(fit: Fit) -> None:
    _, retriever = fit(time_bias="history")
    path = [["i1", "i2"]]
    with pytest.raises(ConfigError, match="this model reads the times of a history; give times="):
        retriever.recommend(histories=path, events=[["view", "buy"]])
    with pytest.raises(ConfigError, match="this model reads the events of a history; give events="):
        retriever.recommend(histories=path, times=[[0, HOUR]])
    with pytest.raises(ConfigError, match="times must have one value for each item of each history"):
        retriever.recommend(histories=path, times=[[0]], events=[["view", "buy"]])
    with pytest.raises(DataError, match="events of type 'wish' are not among the known event types"):
        retriever.recommend(histories=path, times=[[0, HOUR]], events=[["view", "wish"]])
    whole = retriever.history("u5")
    rows = retriever.histories.take(np.array([5]))
    told = retriever.recommend(
        histories=[whole["item_id"].to_list()],
        times=[rows.times.tolist()],
        events=[[retriever.event_names[code] for code in rows.events]],
        k=9,
    )
    known = retriever.recommend("u5", k=9)
    assert told["item_id"].equals(known["item_id"])
    np.testing.assert_allclose(told["score"], known["score"], atol=1e-6)


def test_what_a_model_does_not_read_is_passed_over(ring_split: Split, ring: Interactions) -> None:
    model = TwoTower(encoder=None, dim=8, max_length=6).fit(ring_split.train, training=QUICK)
    retriever = model.retriever(log=ring)
    plain = retriever.recommend(histories=[["i1", "i2"]], k=5)
    assert retriever.recommend(histories=[["i1", "i2"]], times=[[5, 6]], events=[["a", "b"]], k=5).equals(plain)


def test_histories_without_the_times_that_a_model_reads_are_refused(fit: Fit, log: Interactions, catalog: Catalog) -> None:
    model, _ = fit(time_bias="history")
    timeless = Interactions.from_frame(log.frame().drop("timestamp").with_columns(order=pl.int_range(pl.len())))
    with pytest.raises(DataError, match="reads the times of a history, and these histories have none"):
        model.retriever(log=timeless).recommend("u1")


def test_each_type_of_event_has_an_answer_of_its_own(fit: Fit, tmp_path: Path) -> None:
    _, retriever = fit(event_heads=True)
    assert retriever.event_names == ("buy", "cart", "view")
    scores = [retriever.recommend("u1", k=9, target_event=name)["score"].to_list() for name in retriever.event_names]
    scores.append(retriever.recommend("u1", k=9)["score"].to_list())
    assert all(not np.allclose(scores[a], scores[b], atol=1e-4) for a in range(4) for b in range(a))
    loaded = same_after_loading(retriever, tmp_path / "run", target_event="buy")
    assert loaded.event_names == retriever.event_names
    with pytest.raises(ConfigError, match="target_event='wish' is no event type of the model; it has buy, cart, view"):
        retriever.recommend("u1", target_event="wish")


def test_types_of_events_are_read_without_heads_too(fit: Fit, tmp_path: Path) -> None:
    _, retriever = fit()
    same_after_loading(retriever, tmp_path / "run")
    path = [["i1", "i2"]]
    one, other = (retriever.recommend(histories=path, events=[["view", kind]], k=9)["score"] for kind in ("view", "buy"))
    assert not np.allclose(one, other, atol=1e-4)
    with pytest.raises(ConfigError, match="needs a model that tells event types apart; fit it with event_heads=True"):
        retriever.recommend("u1", target_event="buy")


def test_features_of_users_travel_with_the_bundle(fit: Fit, people: UserTable, split: Split, tmp_path: Path) -> None:
    model, retriever = fit(users=people)
    same_after_loading(retriever, tmp_path / "run")
    history = split.test.histories.block(0, 1)
    rows = [int(model.users.to_rows([name])[0]) for name in ("u1", "u2", "u4", "u0")]
    red, blue, also_red, nobody = (
        model.recommend_rows(history, 9, users=np.array([row], dtype=np.int32)).scores for row in rows
    )
    assert not np.allclose(red, blue, atol=1e-4)
    np.testing.assert_allclose(red, also_red, atol=1e-6)
    unknown = model.recommend_rows(history, 9, users=np.array([-1], dtype=np.int32)).scores
    np.testing.assert_allclose(nobody, unknown, atol=1e-6)  # the table does not have u0
    np.testing.assert_allclose(model.recommend_rows(history, 9).scores, unknown, atol=1e-6)


def test_features_find_their_users_in_another_log(fit: Fit, people: UserTable, log: Interactions, split: Split) -> None:
    model, retriever = fit(users=people)
    frame = log.frame()
    newcomer = frame.filter(user_id="u7").with_columns(user_id=pl.lit("u39"))  # the path of u7, in another team
    served = Interactions.from_frame(pl.concat([newcomer, frame.filter(pl.col("user_id").is_in(["u9", "u7"]))]))
    assert served.users.ids.to_list() == ["u39", "u7", "u9"]
    other = model.retriever(log=served)
    for name in ("u7", "u9"):
        np.testing.assert_allclose(other.recommend(name, k=9)["score"], retriever.recommend(name, k=9)["score"], atol=1e-6)
    teams = dict(zip(people.users.ids, people.codes[:, 0].tolist(), strict=True))
    assert teams["u39"] != teams["u7"]
    assert not np.allclose(other.recommend("u39", k=9)["score"], other.recommend("u7", k=9)["score"], atol=1e-4)


def test_people_whom_the_training_log_lacks_have_their_features_too(people: UserTable, log: Interactions) -> None:
    some = Interactions.from_frame(log.frame().filter(pl.col("user_id") != "u39"))
    model = TwoTower(encoder=None, dim=16, max_length=6, dropout=0.0).fit(some, training=QUICK, users=people)
    retriever = model.retriever(log=log)
    row = int(retriever.users.to_rows(["u39"])[0])
    assert retriever.towers.user_codes[row].tolist() == people.codes_for(log.users)[row].tolist() != [0]


def test_an_event_log_or_time_that_is_missing_is_told_before_training(ring_split: Split, split: Split) -> None:
    with pytest.raises(
        DataError, match=r"event_heads=True reads event types, and the log has none; name their column, event= \(--event\)"
    ):
        TwoTower(encoder=None, event_heads=True).fit(ring_split.train, training=QUICK)
    frame = ring_split.train.frame().drop("timestamp").with_columns(order=pl.int_range(pl.len()))
    with pytest.raises(
        DataError,
        match=r"time_bias='history' reads timestamps, and the log has none; name their column, timestamp= \(--timestamp\)",
    ):
        TwoTower(encoder=None, time_bias="history").fit(Interactions.from_frame(frame), training=QUICK)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"categories": "kinds"}, r"categories is a list of columns; write \['kinds'\]"),
        ({"numbers": "price"}, "numbers is a list of columns"),
        ({"images": "picture"}, "image_encoder=None go together"),
        ({"image_encoder": "clip"}, "images=None and image_encoder='clip' go together"),
        ({"encoder_mode": "lora"}, "needs an encoder to train"),
        ({"encoder_mode": "some"}, "encoder_mode must be one of frozen, lora, full, not 'some'"),
        ({"trainable_layers": -1}, "trainable_layers must not be negative"),
        ({"filter_length": -1}, "filter_length must not be negative"),
        ({"texts_per_step": 0}, "texts_per_step must be at least 1"),
        ({"word_dropout": 1.0}, "word_dropout is a probability"),
        ({"positions": "absolute"}, "positions must be one of learned, rotary, relative, none"),
        ({"time_bias": "always"}, "time_bias must be one of none, history, request"),
        ({"use_ids": False}, "leaves nothing to distinguish items by"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TwoTower(encoder=None, **options)


def test_options_make_the_same_model_again() -> None:
    model = TwoTower(encoder=None, categories=["kinds"], word_features="on", time_bias="request", positions="rotary")
    again = TwoTower(**model.config.to_dict())
    assert again.config == model.config
    assert again.config.categories == ("kinds",)


def test_words_are_learned_by_default_where_an_encoder_reads_texts_in_which_they_recur(
    split: Split, catalog: Catalog, tiny_encoder: Path, tmp_path: Path
) -> None:
    small: dict[str, Any] = {"dim": 16, "blocks": 1, "max_length": 8}
    model = TwoTower(encoder=str(tiny_encoder), **small).fit(split.train, catalog, training=QUICK)
    assert model.reads_words
    assert model.towers.net.items.bags is not None
    assert TwoTower(encoder=None).reads_words is False

    frame = pl.DataFrame(
        {"item_id": catalog.items.ids, "title": [" ".join([f"only{i}"] * (i + 1)) for i in range(len(catalog))]}
    )
    strange = Catalog.from_frame(frame, text=["title"])
    model = TwoTower(encoder=str(tiny_encoder), **small).fit(split.train, strange, training=QUICK)
    assert (model.reads_words, model.towers.net.items.bags) == (False, None)
    assert model.config.word_features == "auto"  # what was asked stays as it was asked
    assert TwoTower(model.config).fit(split.train, strange, training=QUICK).towers.net.items.bags is None
    model.retriever().save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    again.add_items(pl.DataFrame({"item_id": ["new"], "title": ["only1"]}))
    assert "new" in again.items.ids.to_list()
    with pytest.raises(DataError, match="leave out words"):
        TwoTower(encoder=str(tiny_encoder), word_features="on", **small).fit(split.train, strange, training=QUICK)


def test_words_and_numbers_are_fitted_once_and_handed_on(
    split: Split, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = list[str]()
    for kind in (TokenVocabulary, Standardiser):
        plain = kind.of
        monkeypatch.setattr(
            kind, "of", lambda *a, plain=plain, kind=kind, **k: (fitted.append(kind.__name__), plain(*a, **k))[1]
        )
    dear = replace(catalog, columns=catalog.columns.with_columns(price=pl.int_range(pl.len())))
    model = TwoTower(encoder=None, dim=8, heads=1, blocks=1, word_features="on", numbers=["price"])
    retriever = model.fit(split.train, dear, training=QUICK).retriever(index="exact")
    assert fitted == ["TokenVocabulary", "Standardiser"]
    assert retriever.bundle.corpus.encoder is model.towers.reader
