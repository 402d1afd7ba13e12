"""Pictures of items: counted, cached, saved with their encoder, of new items, and searched by."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.cli.parser import main
from recsys.data.synthetic.shop import make_shop
from recsys.data.synthetic.shop_pictures import PICTURE, draw, png, write_pictures
from recsys.errors import DataError, UnsupportedError
from recsys.models.encoders.pretrained import ImageEncoder
from recsys.training.update.run import updated
from tests.conftest import make_events, make_items
from tests.models.tiny_encoders import make_clip, make_encoder


def paint(folder: Path, name: str, number: int) -> str:
    file = folder / f"{name}.png"
    file.write_bytes(png(draw(number % 5, number % 8, number)))
    return str(file)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures [1]")
    make_clip(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def retriever(world: Path) -> recsys.Retriever:
    """Of the ring, whose items have pictures, but for one without, one whose file is missing and one that is broken."""
    items = make_items()
    files: list[str | None] = [paint(world, name, number) for number, name in enumerate(items["item_id"])]
    (world / "broken.png").write_bytes(Path(str(files[9])).read_bytes()[:60])
    files[5], files[6], files[7] = None, str(world / "missing.png"), str(world / "broken.png")
    log = recsys.Interactions.from_frame(make_events())
    catalog = recsys.Catalog.from_frame(items.with_columns(pl.Series(PICTURE, files)), text=["title"])
    model = recsys.TwoTower(
        encoder=None, word_features="off", images=PICTURE, image_encoder=str(world / "clip"), dim=8, heads=1, blocks=1,
        transitions="none",
    )  # fmt: skip
    return model.fit(log, catalog, training=recsys.Training(epochs=1)).retriever(index="exact")


def images_of(retriever: recsys.Retriever, *items: str) -> torch.Tensor:
    return retriever.towers.net.items.images[retriever.items.to_rows(list(items)).astype(np.int64)]


def test_items_without_a_picture_that_can_be_read_have_zeros(retriever: recsys.Retriever) -> None:
    images = retriever.towers.net.items.images
    assert torch.nonzero(~images.any(1)).flatten().tolist() == retriever.items.to_rows(["i5", "i6", "i7"]).tolist()


def test_missing_and_broken_files_are_counted(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    from recsys.models.pictures import picture_part

    files = [paint(world, f"c{number}", number) for number in range(6)] + [str(world / "gone.png"), str(world / "cut.png")]
    Path(files[-1]).write_bytes(b"\x89PNG\r\n\x1a\n")
    frame = pl.DataFrame({"item_id": list("abcdefgh"), PICTURE: files})
    with caplog.at_level("WARNING", "recsys"):
        part = picture_part(PICTURE, str(world / "clip"), recsys.Catalog.from_frame(frame, text=[]), 4, "cpu")
    assert "1 of 8 image files" in caplog.text
    assert "1 of 7 image files are no picture" in caplog.text
    assert part.vectors.any(1).tolist() == [True] * 6 + [False] * 2


def test_a_new_item_is_read_by_its_picture_and_found_after_a_save(
    world: Path, retriever: recsys.Retriever, tmp_path: Path
) -> None:
    some = retriever.snapshot()
    some.save(tmp_path / "run")
    loaded = recsys.load(tmp_path / "run")
    new = pl.DataFrame({"item_id": ["n1", "n2"], "title": ["x", "y"], PICTURE: [paint(world, "twin", 3), None]})
    for one in (some, loaded):
        one.add_items(new)
        assert torch.allclose(images_of(one, "n1"), images_of(one, "i3"), atol=1e-4)
        assert not images_of(one, "n2").any()
        assert one.similar_items("n1", k=1).height == 1
        found = one.search(pictures=world / "twin.png", k=2)
        assert set(found["item_id"]) == {"n1", "i3"}
        assert found["score"].to_list() == pytest.approx([1.0, 1.0], abs=1e-3)
    loaded.update_items(new.head(1).with_columns(pl.Series(PICTURE, [paint(world, "i4", 4)])))
    assert torch.allclose(images_of(loaded, "n1"), images_of(loaded, "i4"), atol=1e-4)


def test_an_update_reads_pictures_of_new_items(world: Path, retriever: recsys.Retriever) -> None:
    items = make_items().head(1).with_columns(pl.Series("item_id", ["late"]), pl.Series(PICTURE, [paint(world, "late", 8)]))
    events = pl.concat([make_events(), pl.DataFrame({"user_id": ["u1"], "item_id": ["late"], "timestamp": [10**6]})])
    catalog = recsys.Catalog.from_frame(items, text=["title"])
    after = updated(retriever.bundle, recsys.Interactions.from_frame(events), catalog)
    row = after.items.to_rows(["late"])[0]
    assert torch.allclose(after.towers.net.items.images[int(row)], images_of(retriever, "i8")[0], atol=1e-4)


def test_words_find_pictures_where_the_encoder_reads_both(retriever: recsys.Retriever) -> None:
    found = retriever.search(["a red car", "a blue boat"], by="pictures", k=40)
    assert found.group_by("query").len()["len"].to_list() == [29, 29]
    assert not {"i5", "i6", "i7"} & set(found["item_id"])


def test_what_is_no_picture_and_models_without_pictures_are_refused(
    world: Path, retriever: recsys.Retriever, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"gone\.png is not there"):
        retriever.search(pictures=[world / "gone.png"])
    with pytest.raises(DataError, match=r"broken\.png is not a picture"):
        retriever.search(pictures=[world / "i1.png", world / "broken.png"])
    with pytest.raises(recsys.RecsysError, match="not both"):
        retriever.search("a", pictures=[world / "i1.png"])
    retriever.save(tmp_path / "run")
    assert main(["search", str(tmp_path / "run"), "--pictures", str(world / "i1.png"), "--k", "1"]) == 0
    assert "i1" in capsys.readouterr().out
    assert main(["search", str(tmp_path / "run")]) == 2
    assert "TEXT or --pictures" in capsys.readouterr().err
    log = recsys.Interactions.from_frame(make_events())
    plain = recsys.TwoTower(encoder=None, dim=8, heads=1, blocks=1, transitions="none")
    with pytest.raises(UnsupportedError, match="reads no pictures"):
        plain.fit(log, training=recsys.Training(epochs=1)).retriever(index="exact").search(pictures=world / "i1.png")


def test_an_encoder_of_texts_reads_no_pictures(world: Path) -> None:
    with pytest.raises(recsys.RecsysError, match="reads no pictures"):
        ImageEncoder(make_encoder(world / "bert", layers=1)).encode([str(world / "i1.png")])


def test_the_shop_draws_a_picture_of_each_product_and_brand(tmp_path: Path) -> None:
    from PIL import Image

    items = write_pictures(make_shop(users=10, items=60).items, tmp_path / "pictures")
    assert items[PICTURE].null_count() == 0
    files = items[PICTURE].unique().to_list()
    assert len(files) < 60
    with Image.open(files[0]) as picture:
        assert picture.size == (64, 64)
        theme, kind, brand = (int(one) for one in Path(files[0]).stem.split("-"))
        assert np.array_equal(np.asarray(picture), draw(theme, kind, brand))
    assert len({draw(0, kind, 0).tobytes() for kind in range(8)}) == 8
