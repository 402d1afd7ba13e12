import itertools
import math
import re
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.catalog import Catalog
from recsys.errors import ConfigError, DataError
from recsys.models.features import Standardiser, TokenVocabulary
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.item_tower import ItemTower, TokenEmbedding


def catalog_of(**columns: list) -> Catalog:
    """Items i0, i1, …; the text is made of ``title``, where there is one."""
    length = len(next(iter(columns.values())))
    frame = pl.DataFrame({"item_id": [f"i{row}" for row in range(length)], **columns}, strict=False)
    return Catalog.from_frame(frame, text=["title"] if "title" in columns else [])


def make_bags(catalog: Catalog, categories: list[str], *, words: bool, least: int = 2) -> TokenBags:
    """The bags of the catalogue that the vocabulary was read from."""
    return TokenVocabulary.of(catalog, categories, words=words, least=least).bags(catalog)


def make_numbers(catalog: Catalog, columns: list[str]) -> torch.Tensor:
    """The columns, scaled by the catalogue's own means and deviations."""
    return Standardiser.of(catalog, columns).table(catalog)


def bags_as_lists(bags: TokenBags) -> list[dict[int, float]]:
    """Per item, the weight of each token."""
    ends = bags.offsets.tolist()
    tokens, weights = bags.tokens.tolist(), bags.weights.tolist()
    return [dict(zip(tokens[a:b], weights[a:b], strict=True)) for a, b in itertools.pairwise(ends)]


def expected_bags(token_sets: list[set], least: int = 2) -> list[dict]:
    """The definition, one item and one token at a time."""
    counts = Counter(token for tokens in token_sets for token in tokens)
    out = []
    for tokens in token_sets:
        raw = {t: math.log(len(token_sets) / counts[t]) + 1.0 for t in tokens if counts[t] >= least}
        length = math.sqrt(sum(weight**2 for weight in raw.values()))
        out.append({token: weight / length for token, weight in raw.items()})
    return out


def assert_same_up_to_names(found: list[dict[int, float]], expected: list[dict]) -> None:
    """Each token of one is one token of the other: it is in the same items with the same weights."""

    def by_token(bags: list[dict]) -> list[tuple]:
        owners: dict = {}
        for item, bag in enumerate(bags):
            for token, weight in bag.items():
                owners.setdefault(token, []).append((item, round(weight, 5)))
        return sorted(tuple(one) for one in owners.values())

    for one, other in zip(by_token(found), by_token(expected), strict=True):
        assert [item for item, _ in one] == [item for item, _ in other]
        assert [weight for _, weight in one] == pytest.approx([weight for _, weight in other], abs=2e-5)


def words_of(text: str | None) -> set:
    words = re.findall(r"[^\W_]+", (text or "").lower())
    return set(words) | {(one, two) for one, two in itertools.pairwise(words)}


TITLES = st.lists(st.one_of(st.none(), st.text("ab éÜ_-.|7", max_size=9)), min_size=3, max_size=12)
GENRES = st.lists(st.one_of(st.none(), st.text("AB| ", max_size=5)), min_size=12, max_size=12)


@given(TITLES, GENRES)
def test_bags_of_words_pairs_and_categories_are_what_their_definition_says(titles: list, genres: list) -> None:
    genres = genres[: len(titles)]
    catalog = catalog_of(title=titles, genre=genres)
    sets = [words_of(text) for text in catalog.texts]
    for tokens, value in zip(sets, genres, strict=True):
        tokens |= {("genre", one.strip(), "") for one in (value or "").split("|") if one.strip()}
    expected = expected_bags(sets)
    if not any(expected):
        with pytest.raises(DataError, match="no word or category occurs in 2 items"):
            make_bags(catalog, ["genre"], words=True)
        return
    bags = make_bags(catalog, ["genre"], words=True)
    assert_same_up_to_names(bags_as_lists(bags), expected)
    assert sorted(set(bags.tokens.tolist())) == list(range(bags.size))


def test_a_bag_by_hand() -> None:
    bags = make_bags(catalog_of(title=["Red car", "red CAR, red", "red", None]), [], words=True)
    rare, common = math.log(4 / 2) + 1, math.log(4 / 3) + 1  # "car" and "red car" in two of four, "red" in three
    length = math.sqrt(2 * rare**2 + common**2)
    two, again, one, none = bags_as_lists(bags)
    assert sorted(two.values()) == pytest.approx(sorted([rare / length, rare / length, common / length]), abs=1e-6)
    assert two == again  # "car red" is a pair of one item alone, and how often a word occurs does not count
    assert list(one.values()) == [1.0]
    assert none == {}


def test_what_only_one_item_has_is_left_out() -> None:
    bags = make_bags(catalog_of(title=["red car", "red boat", "blue"]), [], words=True)
    assert bags.size == 1
    assert [len(bag) for bag in bags_as_lists(bags)] == [1, 1, 0]
    assert make_bags(catalog_of(title=["red car", "red boat", "blue"]), [], words=True, least=1).size == 6


def test_equal_values_of_two_columns_and_equal_words_are_different_tokens() -> None:
    catalog = catalog_of(title=["red", "red"], colour=["red", "red"], mood=["red", "red"])
    bags = make_bags(catalog, ["colour", "mood"], words=True)
    assert bags.size == 3
    assert [len(bag) for bag in bags_as_lists(bags)] == [3, 3]


def test_categories_can_be_lists_or_numbers() -> None:
    catalog = catalog_of(tags=[["x", "y"], ["y"], []], year=[1999, 1999, None])
    assert [len(bag) for bag in bags_as_lists(make_bags(catalog, ["tags", "year"], words=False))] == [2, 2, 0]


def test_a_column_that_is_not_there_is_named() -> None:
    catalog = catalog_of(title=["a", "b"])
    for ask in (
        lambda: make_bags(catalog, ["genre"], words=False),
        lambda: make_numbers(catalog, ["genre"]),
        lambda: catalog.column("genre"),
    ):
        with pytest.raises(ConfigError, match="no column 'genre'; its columns are title"):
            ask()


def test_numbers_have_mean_0_and_deviation_1_and_missing_ones_are_the_mean() -> None:
    values = [2.0, None, 4.0, 9.0]
    known = np.array([2.0, 4.0, 9.0])
    found = make_numbers(catalog_of(price=values, stars=[1, 2, None, 3]), ["price", "stars"])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[[0, 2, 3], 0], (known - known.mean()) / known.std(), rtol=1e-6)
    assert found[1, 0] == 0.0
    assert found[2, 1] == 0.0


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20), st.integers(0, 2**40))
def test_numbers_far_from_zero_keep_their_differences(values: list[int], base: int) -> None:
    found = make_numbers(catalog_of(n=[base + value for value in values]), ["n"])[:, 0].double().numpy()
    array = np.array(values, dtype=np.float64)
    expected = (array - array.mean()) / array.std() if array.std() > 0 else np.zeros(len(array))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_column_without_differences_or_values_says_nothing() -> None:
    found = make_numbers(catalog_of(same=[0.1, 0.1, 0.1], empty=[None, None, None]), ["same", "empty"])
    assert found.tolist() == [[0.0, 0.0]] * 3


def test_numbers_may_be_written_as_text_or_be_truth_values() -> None:
    found = make_numbers(catalog_of(price=[" 1.5 ", "", "2.5"], new=[True, False, None]), ["price", "new"])
    assert found.tolist() == [[-1.0, 1.0], [0.0, -1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1", "cheap", "2"], "has 'cheap' for item 'i1', expected a finite number"),
        ([1.0, 2.0, float("nan")], "has nan for item 'i2'"),
        ([float("inf"), 2.0, 1.0], "has inf for item 'i0'"),
        ([[1], [2], [3]], "is of type List"),
    ],
)
def test_what_is_no_number_is_refused_by_item(values: list, says: str) -> None:
    with pytest.raises(DataError, match=re.escape("the catalogue's column 'price' ") + says):
        make_numbers(catalog_of(price=values), ["price"])


# The towers that read it.


def make_tower(dropout: float = 0.0) -> tuple[TokenEmbedding, torch.Tensor]:
    """A tower and the matrix of its bags, float (n_items, tokens)."""
    torch.manual_seed(0)
    catalog = catalog_of(title=["red car", "blue boat", None, "red boat", "blue car", "red blue"])
    bags = make_bags(catalog, [], words=True)
    dense = torch.zeros(len(catalog), bags.size)
    for item, bag in enumerate(bags_as_lists(bags)):
        for token, weight in bag.items():
            dense[item, token] = weight
    return TokenEmbedding(bags, 5, dropout), dense


def test_a_bag_tower_is_a_matrix_product() -> None:
    tower, dense = make_tower()
    torch.testing.assert_close(tower(None), dense @ tower.vectors.weight)
    tower(None).square().sum().backward()
    weight = tower.vectors.weight.detach().requires_grad_()
    (dense @ weight).square().sum().backward()
    torch.testing.assert_close(tower.vectors.weight.grad, weight.grad)


@given(st.lists(st.integers(0, 5), max_size=9))
def test_some_bags_are_rows_of_all_bags(rows: list[int]) -> None:
    tower, dense = make_tower()
    chosen = torch.tensor(rows, dtype=torch.int64)
    torch.testing.assert_close(tower(chosen), (dense @ tower.vectors.weight)[chosen])


def test_words_are_dropped_in_training_alone_and_make_no_difference_on_average() -> None:
    tower, dense = make_tower(dropout=0.4)
    whole = dense @ tower.vectors.weight
    torch.testing.assert_close(tower.eval()(None), whole)
    tower.train()
    draws = torch.stack([tower(None) for _ in range(4000)])
    assert not torch.allclose(draws[0], draws[1])
    torch.testing.assert_close(draws.mean(0), whole, atol=0.05, rtol=0)


def test_every_part_of_the_content_is_added_up() -> None:
    torch.manual_seed(0)
    catalog = catalog_of(title=["red car", "blue boat", "red boat"], price=[1, 2, 4])
    content = ItemContent(
        text=torch.randn(3, 4),
        images=torch.randn(3, 2),
        numbers=make_numbers(catalog, ["price"]),
        bags=make_bags(catalog, [], words=True),
    )
    tower = ItemTower(3, 6, content, torch.tensor([True, True, False])).eval()
    parts = [
        tower.id.weight,
        content.text @ tower.project.weight.T,
        content.images @ tower.project_images.weight.T,
        content.numbers @ tower.project_numbers.weight.T,
        tower.bags(None),
    ]
    torch.testing.assert_close(tower(), tower.norm(sum(parts)))
    assert tower.id.weight[2].tolist() == [0.0] * 6  # warm: content alone
    torch.testing.assert_close(tower(torch.tensor([2, 0])), tower()[[2, 0]])


@pytest.mark.parametrize("columns", [1, 30])
def test_numbers_begin_with_the_weight_of_an_id(columns: int) -> None:
    torch.manual_seed(0)
    content = ItemContent(numbers=torch.randn(2000, columns))
    tower = ItemTower(2000, 64, content, torch.ones(2000, dtype=torch.bool))
    lengths = (content.numbers @ tower.project_numbers.weight.T).detach().norm(dim=1).square().mean().sqrt()
    assert float(lengths) == pytest.approx(float(tower.id.weight.detach().norm(dim=1).mean()), rel=0.3)


@pytest.mark.parametrize("part", ["text", "images", "numbers"])
def test_content_alone_makes_an_item_tower(part: str) -> None:
    tower = ItemTower(4, 6, ItemContent(**{part: torch.randn(4, 3)}), torch.zeros(4, dtype=torch.bool), use_id=False)
    assert tower.has_content
    assert tower().shape == (4, 6)


def test_of_too_many_tokens_those_of_the_most_items_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    catalog = catalog_of(title=["a b", "a c", "a b", "c"], genre=[None] * 4)
    with caplog.at_level("INFO", "recsys"):
        assert TokenVocabulary.of(catalog, [], words=True, most=2).table["token"].to_list() == ["a", "a b"]
    assert "words and categories, the 2 that most items have are read" in caplog.text
    assert TokenVocabulary.of(catalog, [], words=True).table["token"].to_list() == ["a", "a b", "b", "c"]


def test_categories_that_are_paths_share_the_strength_of_their_beginnings() -> None:
    paths = ["Hair > Care > Oils", "Hair>Care > Masks", "Hair > Care > Oils|Skin", "Skin", None, " > "]
    sets: list[set] = [
        {"Hair", "Hair > Care", "Hair > Care > Oils"}, {"Hair", "Hair > Care", "Hair > Care > Masks"},
        {"Hair", "Hair > Care", "Hair > Care > Oils", "Skin"}, {"Skin"}, set(), set(),
    ]  # fmt: skip
    vocabulary = TokenVocabulary.of(catalog_of(kind=paths), ["kind"], words=False, paths=" > ")
    assert [token.removeprefix("kind\0") for token in vocabulary.table["token"]] == [
        "Hair", "Hair > Care", "Hair > Care > Oils", "Skin",
    ]  # fmt: skip
    assert_same_up_to_names(bags_as_lists(vocabulary.bags(catalog_of(kind=paths))), expected_bags(sets))
    new = vocabulary.bags(catalog_of(kind=["Hair > Dyes"]))
    assert new.tokens.tolist() == [0]
    grown = vocabulary.extended(catalog_of(kind=[*paths, "Hair > Dyes", "Hair > Dyes"]))
    assert grown.table["token"].to_list()[4:] == ["kind\0Hair > Dyes"]
