from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.core.schema import ITEM, TIMESTAMP, TITLE, USER
from recsys.data.synthetic.shop import Shop, make_shop, write_shop
from recsys.data.synthetic.shop_words import THEMES
from recsys.errors import ConfigError

LAST_DAY = 1_735_689_600 - 86_400
NOUNS = [noun for theme in THEMES for noun, *_ in theme.products]


@pytest.fixture(scope="module")
def small() -> Shop:
    return make_shop(users=60, items=80)


@pytest.fixture(scope="module")
def big() -> Shop:
    return make_shop(users=600, items=800)


@pytest.fixture(params=["small", "big"])
def shop(request: pytest.FixtureRequest) -> Shop:
    made: Shop = request.getfixturevalue(request.param)
    return made


def arrivals(shop: Shop) -> pl.DataFrame:
    """Events whose item nobody touched before the last day."""
    return shop.events.filter(pl.col(TIMESTAMP).min().over(ITEM) >= LAST_DAY)


def test_the_same_seed_gives_the_same_shop() -> None:
    one, two = (make_shop(users=60, items=80, seed=3) for _ in range(2))
    assert_frame_equal(one.events, two.events)
    assert_frame_equal(one.items, two.items)


def test_another_seed_gives_another_shop(small: Shop) -> None:
    other = make_shop(users=60, items=80, seed=1)
    assert not other.events.equals(small.events)
    assert not other.items.equals(small.items)


def test_the_global_generator_is_neither_read_nor_moved(small: Shop) -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    again = make_shop(users=60, items=80)
    assert np.random.random() == expected  # noqa: NPY002
    assert again.events.equals(small.events)


def test_the_frames_have_the_promised_columns(small: Shop) -> None:
    assert small.events.schema == {USER: pl.String, ITEM: pl.String, TIMESTAMP: pl.Int64}
    assert list(small.items.columns) == [ITEM, TITLE, "description", "category", "price", "brand"]
    assert (small.events[USER].n_unique(), small.items[ITEM].n_unique(), small.items.height) == (60, 80, 80)
    assert small.items.null_count().sum_horizontal().item() == 0
    assert (small.items["price"].round(2) == small.items["price"]).all()


def test_every_user_has_five_events_or_more_and_no_item_twice(shop: Shop) -> None:
    lengths = shop.events.group_by(USER).len()["len"]
    assert lengths.min() >= 5
    assert lengths.max() <= 80
    assert not shop.events.select(USER, ITEM).is_duplicated().any()


def test_events_come_in_time_order_within_the_year_and_no_user_buys_twice_at_once(shop: Shop) -> None:
    times = shop.events[TIMESTAMP]
    assert times.is_sorted()
    assert times.min() >= LAST_DAY - 364 * 86_400
    assert times.max() < LAST_DAY + 86_400
    assert not shop.events.select(USER, TIMESTAMP).is_duplicated().any()


def test_titles_are_distinct_and_nothing_is_left_to_fill_in(shop: Shop) -> None:
    assert shop.items[TITLE].n_unique() == shop.items.height
    assert not shop.items.select(pl.any_horizontal(pl.col(TITLE, "description").str.contains(r"[{}]"))).to_series().any()


def test_no_vocabulary_makes_two_products_look_alike() -> None:
    assert len(set(NOUNS)) == len(NOUNS)
    assert {len(theme.products) for theme in THEMES} == {8}
    assert len({brand for theme in THEMES for brand in theme.brands}) == sum(len(theme.brands) for theme in THEMES)


def test_the_largest_shop_still_has_distinct_titles() -> None:
    assert make_shop(users=10, items=10_000).items[TITLE].is_unique().all()


def test_some_items_are_never_bought(shop: Shop) -> None:
    unsold = 1.0 - shop.events[ITEM].n_unique() / shop.items.height
    assert 0.04 <= unsold <= 0.2


def test_new_arrivals_are_only_ever_last_events_of_about_eight_percent(shop: Shop) -> None:
    new = arrivals(shop)
    last = shop.events.group_by(USER, maintain_order=True).last()
    assert new.join(last, on=[USER, ITEM], how="anti").is_empty()
    assert new.height == pytest.approx(0.08 * last.height, abs=1)


def test_new_arrivals_fit_the_category_bought_before(big: Shop) -> None:
    events = big.events.join(big.items, on=ITEM, maintain_order="left")
    before = events.with_columns(before=pl.col("category").shift(1).over(USER))
    new = before.join(arrivals(big), on=[USER, ITEM], how="semi")
    assert (new["category"] == new["before"]).all()


def test_popular_items_take_far_more_than_their_share(big: Shop) -> None:
    counts = big.events[ITEM].value_counts(sort=True)["count"]
    assert counts.head(big.items.height // 10).sum() > 0.3 * big.events.height


def test_the_next_product_follows_from_the_previous_one(big: Shop) -> None:
    product = {item: next(n for n in NOUNS if f" {n}, " in title) for item, title in big.items.select(ITEM, TITLE).rows()}
    steps = big.events.select(USER, after=pl.col(ITEM).replace_strict(product))
    steps = steps.with_columns(before=pl.col("after").shift(1).over(USER)).drop_nulls()
    halves = pl.col(USER) < "u00300"
    learned = steps.filter(halves).group_by("before").agg(guess=pl.col("after").mode().sort().first())
    judged = steps.filter(~halves).join(learned, on="before", how="left")
    right = judged.select(pl.col("guess").eq_missing(pl.col("after"))).to_series().mean()
    best_constant = judged["after"].value_counts(normalize=True)["proportion"].max()
    assert right > 0.4
    assert right > 5 * best_constant


def test_a_companion_is_often_of_the_brand_bought_before(big: Shop) -> None:
    brands = big.events.join(big.items, on=ITEM, maintain_order="left").select(
        "brand", before=pl.col("brand").shift(1).over(USER)
    )
    same = brands.drop_nulls().select(pl.col("brand") == pl.col("before")).to_series().mean()
    assert same > 0.35  # five brands a theme


def test_tastes_drift_between_categories(big: Shop) -> None:
    events = big.events.join(big.items, on=ITEM, maintain_order="left")
    steps = events.select("category", before=pl.col("category").shift(1).over(USER)).drop_nulls()
    moved = (steps["category"] != steps["before"]).mean()
    assert 0.05 < moved < 0.2


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_shop_can_be_made(seed: int) -> None:
    shop = make_shop(users=10, items=40, seed=seed)
    assert shop.events.group_by(USER).len()["len"].min() >= 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": 9}, "users is 9.*10"),
        ({"items": 39}, "items is 39.*40"),
        ({"items": 10_001}, "items is 10001.*10,000"),
        ({"seed": -1}, "seed is -1.*0"),
    ],
)
def test_a_size_outside_its_limits_is_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_shop(**wrong)


def test_written_files_read_back_as_they_were(small: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shop"
    write_shop(small, folder)
    assert_frame_equal(pl.read_csv(folder / "events.csv"), small.events)
    assert_frame_equal(pl.read_csv(folder / "items.csv"), small.items)
    assert sorted(file.name for file in folder.iterdir()) == ["events.csv", "items.csv"]
