"""How words, categories and numbers of items become what a trained item tower reads, also when the catalogue changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from recsys.config.model import ModelConfig
from recsys.core.opened import Source
from recsys.data.catalog import Catalog
from recsys.errors import BundleError
from recsys.models.features import Standardiser, TokenVocabulary

TOKENS, SCALES = "tokens.parquet", "scales.parquet"


def reads_words(config: ModelConfig, *, has_tokens: bool) -> bool:
    """Whether a fitted model reads words.

    Parameters
    ----------
    config : ModelConfig
    has_tokens : bool
        Whether it learned words or categories at all.
    """
    return has_tokens and config.wants_words


@dataclass(frozen=True, eq=False)
class FeatureEncoder:
    """Reads what the item tower reads of items, by the numbers and scales of the catalogue that it was trained on.

    Attributes
    ----------
    tokens : TokenVocabulary or None
    scales : Standardiser or None
    """

    tokens: TokenVocabulary | None
    scales: Standardiser | None

    @classmethod
    def of(
        cls,
        trained: Catalog,
        categories: Sequence[str],
        numbers: Sequence[str],
        *,
        words: bool,
        paths: str | None = None,
    ) -> FeatureEncoder:
        """From the catalogue of training, in its row order."""
        tokens = TokenVocabulary.of(trained, categories, words=words, paths=paths) if categories or words else None
        return cls(tokens, Standardiser.of(trained, numbers) if numbers else None)

    def extended(self, catalog: Catalog) -> FeatureEncoder:
        """With more words and categories, of a catalogue that grew; numbers and scales stay as they are."""
        return self if self.tokens is None else replace(self, tokens=self.tokens.extended(catalog))

    def write(self, folder: Path) -> None:
        """Write ``tokens.parquet`` and ``scales.parquet``, where there is something to tell."""
        if self.tokens is not None:
            self.tokens.table.write_parquet(folder / TOKENS)
        if self.scales is not None:
            scales = self.scales
            pl.concat([scales.means, scales.deviations]).write_parquet(folder / SCALES)

    @classmethod
    def read(
        cls,
        source: Source,
        categories: Sequence[str],
        numbers: Sequence[str],
        *,
        words: bool,
        paths: str | None = None,
    ) -> FeatureEncoder | None:
        """What :meth:`write` wrote; None where a bundle of an older version has neither file, though the model reads some.

        Raises
        ------
        BundleError
            A file is not what :meth:`write` writes.
        """
        tokens = scales = None
        if not (categories or numbers or words):
            return cls(None, None)
        if TOKENS in source:
            table = pl.read_parquet(source.read(TOKENS))
            if table.columns != ["token", "number", "weight"] or set(table["number"]) != set(range(table.height)):
                raise BundleError(f"{source.folder / TOKENS} is not the table of the words that the model reads")
            tokens = TokenVocabulary(table, tuple(categories), words, paths)
        if SCALES in source:
            rows = pl.read_parquet(source.read(SCALES))
            if rows.height != 2 or not all(kind.is_numeric() for kind in rows.dtypes):
                raise BundleError(f"{source.folder / SCALES} is not the table of means and deviations that the model reads")
            scales = Standardiser(tuple(rows.columns), rows[:1], rows[1:])
        return None if tokens is None and scales is None else cls(tokens, scales)
