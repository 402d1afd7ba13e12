"""Dropped words and synonyms: as many as the probability says, in order, and nothing else is changed."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.augment_text import drop_words, synonyms, variants
from recsys.errors import ConfigError
from tests.data.worlds import refused, small
from tests.training.test_augment import is_subsequence, near, probabilities, seeds

WORDS = ("red", "Car", "(boat)", "né,", "--", "3d")
some_texts = st.lists(
    st.none() | st.builds(" ".join, st.lists(st.sampled_from(WORDS), max_size=6)) | st.sampled_from(["  ", " a\t b "]),
    max_size=6,
).map(lambda texts: pl.Series("text", texts, dtype=pl.String))
TABLE = {"car": ["auto", "motor car"], "Boat": ["ship"], "né": ["born"]}


def words_of(text):
    return None if text is None else text.split()


@small
@given(some_texts, probabilities, seeds)
def test_dropped_words_leave_the_others_in_order_and_at_least_one(texts, probability, seed):
    left = drop_words(texts, probability, np.random.default_rng(seed))
    assert (left.name, left.dtype, len(left)) == (texts.name, pl.String, len(texts))
    for before, after in zip(texts.to_list(), left.to_list(), strict=True):
        if not words_of(before):
            assert after == before
        else:
            assert words_of(after)
            assert is_subsequence(words_of(after), words_of(before))
            assert probability < 1.0 or len(words_of(after)) == 1


def test_as_many_words_are_dropped_as_the_probability_says_and_the_one_that_stays_is_random():
    long = drop_words(pl.Series([" ".join(map(str, range(50)))] * 400), 0.3, np.random.default_rng(0))
    assert near(long.str.split(" ").list.len().sum() / 20_000, 0.7, 20_000)
    one = Counter(drop_words(pl.Series(["a b c"] * 6_000), 1.0, np.random.default_rng(0)).to_list())
    assert set(one) == {"a", "b", "c"}
    assert all(near(count / 6_000, 1 / 3, 6_000) for count in one.values())


@small
@given(some_texts, probabilities, seeds)
def test_each_word_stays_or_becomes_one_of_its_synonyms(texts, probability, seed):
    allowed = {"Car": {"auto", "motor car"}, "(boat)": {"(ship)"}, "né,": {"born,"}}
    told = synonyms(texts, TABLE, probability, np.random.default_rng(seed))
    assert (told.name, told.dtype, len(told)) == (texts.name, pl.String, len(texts))
    for before, after in zip(texts.to_list(), told.to_list(), strict=True):
        if not words_of(before):
            assert after == before
            continue
        possible = {""}
        for word in words_of(before):
            own = allowed.get(word, set())
            choices = {word} if probability == 0.0 or not own else own if probability == 1.0 else own | {word}
            possible = {f"{start} {choice}".strip() for start in possible for choice in choices}
        assert " ".join(words_of(after)) in possible


def test_as_many_words_are_replaced_as_the_probability_says_by_all_synonyms_alike():
    told = Counter(synonyms(pl.Series(["car"] * 10_000), TABLE, 0.4, np.random.default_rng(0)).to_list())
    assert set(told) == {"car", "auto", "motor car"}
    assert near(told["car"] / 10_000, 0.6, 10_000)
    assert near(told["auto"] / 10_000, 0.2, 10_000)


@pytest.mark.parametrize("change", [drop_words, lambda texts, *rest: synonyms(texts, TABLE, *rest)])
def test_text_augmentation_follows_the_seed_and_draws_nothing_when_off(change):
    texts = pl.Series(["a red car and a boat", None, "car boat né"] * 20)
    same = [change(texts, 0.5, np.random.default_rng(3)).to_list() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != change(texts, 0.5, np.random.default_rng(4)).to_list()
    generator = np.random.default_rng(3)
    assert change(texts, 0.0, generator) is texts
    assert generator.bit_generator.state == np.random.default_rng(3).bit_generator.state
    for empty in (pl.Series([], dtype=pl.String), pl.Series([None, None], dtype=pl.String)):
        assert change(empty, 0.5, generator).to_list() == empty.to_list()


def test_variants_are_the_texts_and_then_other_draws():
    texts = pl.Series(["one two three four five six", None] * 10)
    made = variants(texts, 3, 0.5, np.random.default_rng(0))
    generator = np.random.default_rng(0)
    expected = [texts, drop_words(texts, 0.5, generator), drop_words(texts, 0.5, generator)]
    assert [one.to_list() for one in made] == [one.to_list() for one in expected]
    assert len({tuple(one.to_list()) for one in made}) == 3


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"science fiction": ["sf"]}, "science fiction"),
        ({"c++": ["cpp"]}, "c++"),
        ({"Car": ["auto"], "car": ["motor"]}, "car"),
        ({"car": "auto"}, "auto"),
        ({"car": []}, "car"),
        ({"car": ["auto", " "]}, "car"),
    ],
)
def test_a_synonym_table_that_cannot_work_is_refused(table, named):
    with refused(named, error=ConfigError):
        synonyms(pl.Series(["car"]), table, 0.5, np.random.default_rng(0))


def test_text_options_out_of_range_are_refused():
    texts, generator = pl.Series(["car"]), np.random.default_rng(0)
    with refused("probability", 1.5, error=ConfigError):
        drop_words(texts, 1.5, generator)
    with refused("probability", -1.0, error=ConfigError):
        synonyms(texts, TABLE, -1.0, generator)
    with refused("variants", 0, error=ConfigError):
        variants(texts, 0, 0.5, generator)
