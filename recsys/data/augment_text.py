"""Text augmentation: an item described in other words, or in fewer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from recsys.errors import ConfigError

_PARTS = r"^(?<before>\W*)(?<core>.*?)(?<after>\W*)$"
"""A word between white space: the punctuation before it, the word proper, the punctuation after it."""


def drop_words(texts: pl.Series, probability: float, generator: np.random.Generator) -> pl.Series:
    """Texts without some of their words (word dropout; "random deletion" of EDA, arXiv 1901.11196).

    Parameters
    ----------
    texts : Series of String (n,)
        Words are what white space separates; a language written without it has one word per text, which always stays.
    probability : float
        Of each word to be left out; one word of a text stays in any case.
    generator : numpy Generator
        Not drawn from with probability 0, which leaves the texts as they are.

    Returns
    -------
    Series of String (n,)
        The words left, in order, joined by single spaces; nulls and texts without a word as they were.

    Raises
    ------
    ConfigError
        The probability is not one.
    """
    if _off(probability):
        return texts
    words = _words(texts)
    draw = pl.col("draw")
    left = words.with_columns(draw=generator.random(len(words))).filter(
        (draw >= probability) | (draw == draw.max().over("owner"))
    )
    return _joined(texts, left)


def synonyms(
    texts: pl.Series, table: Mapping[str, Sequence[str]], probability: float, generator: np.random.Generator
) -> pl.Series:
    """Texts with some words replaced by a synonym ("synonym replacement" of EDA, arXiv 1901.11196).

    Parameters
    ----------
    texts : Series of String (n,)
    table : mapping of str to sequence of str
        Word → what may stand for it, a word or several. Words are found whatever their case and the punctuation round
        them, which stays; the synonym is written as in the table.
    probability : float
        Of each word that the table holds to be replaced, by any of its synonyms alike.
    generator : numpy Generator
        Not drawn from with probability 0, which leaves the texts as they are.

    Returns
    -------
    Series of String (n,)
        The words joined by single spaces; nulls and texts without a word as they were.

    Raises
    ------
    ConfigError
        The probability is not one; or an entry of the table could never be found, or has no synonyms.
    """
    choices = _choices(table)
    if _off(probability):
        return texts
    words = _words(texts).with_columns(pl.col("word").str.extract_groups(_PARTS).alias("parts")).unnest("parts")
    found = words.with_columns(pl.col("core").str.to_lowercase()).join(
        choices, on="core", how="left", maintain_order="left"
    )
    replaced = generator.random(len(found)) < probability
    count = found["synonyms"].list.len().fill_null(1).to_numpy()
    chosen = pl.Series(np.floor(generator.random(len(found)) * count).astype(np.int64))
    other = pl.concat_str("before", pl.col("synonyms").list.get(pl.lit(chosen)), "after")
    word = pl.when(pl.lit(pl.Series(replaced)) & pl.col("synonyms").is_not_null()).then(other).otherwise("word")
    return _joined(texts, found.select("owner", word=word))


def variants(texts: pl.Series, k: int, probability: float, generator: np.random.Generator) -> list[pl.Series]:
    """The texts as they are, and k − 1 times with words dropped: to be encoded once and drawn from in training.

    Parameters
    ----------
    texts : Series of String (n,)
    k : int
    probability : float
        Of each word to be left out.
    generator : numpy Generator

    Returns
    -------
    list of Series of String (n,)
        ``k`` of them, the first the texts themselves, which is how the items are served.

    Raises
    ------
    ConfigError
        k is below 1, or the probability is not one.
    """
    if k < 1:
        raise ConfigError(f"the number of variants must be at least 1, not {k}")
    return [texts, *(drop_words(texts, probability, generator) for _ in range(k - 1))]


def _off(probability: float) -> bool:
    if not 0.0 <= probability <= 1.0:
        raise ConfigError(f"a probability must be in [0, 1], not {probability}")
    return probability == 0.0


def _words(texts: pl.Series) -> pl.DataFrame:
    """Every word of every text: owner (its text's index, ascending) and word."""
    split = pl.col("word").cast(pl.String).str.extract_all(r"\S+")
    frame = texts.alias("word").to_frame().with_row_index("owner")
    return frame.with_columns(split).explode("word").drop_nulls("word")


def _joined(texts: pl.Series, words: pl.DataFrame) -> pl.Series:
    """The texts made of these words; where there are none, the text as it was."""
    made = words.group_by("owner", maintain_order=True).agg(pl.col("word").str.join(" "))
    frame = texts.cast(pl.String).alias("text").to_frame().with_row_index("owner")
    joined = frame.join(made, on="owner", how="left", maintain_order="left")
    return joined.select(pl.coalesce("word", "text")).to_series().alias(texts.name)


def _choices(table: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """The synonym table as a frame: core (the word in lower case) and synonyms."""
    seen: set[str] = set()
    for word, others in table.items():
        if not re.fullmatch(r"\w(?:\S*\w)?", word):
            raise ConfigError(f"the synonym table's {word!r} is not one word that begins and ends with a letter or digit")
        if word.lower() in seen:
            raise ConfigError(f"the synonym table holds {word!r} twice; upper and lower case count as one")
        if isinstance(others, str) or not others or not all(other.strip() for other in others):
            raise ConfigError(f"the synonyms of {word!r} must be a list of at least one text, none empty, not {others!r}")
        seen.add(word.lower())
    columns = {"core": [word.lower() for word in table], "synonyms": [list(others) for others in table.values()]}
    return pl.DataFrame(columns, schema={"core": pl.String, "synonyms": pl.List(pl.String)})
