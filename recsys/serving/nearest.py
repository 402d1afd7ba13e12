"""The items nearest to items, to a text or to a picture, and the users nearest to users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.core.arguments import choice, listed
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Int32, Ragged
from recsys.core.ranking import Ranked, ranked_pairs
from recsys.core.schema import ITEM, QUERY, SIMILAR, SIMILAR_USER, USER
from recsys.errors import ConfigError, UnsupportedError
from recsys.index.item_index import ItemIndex
from recsys.models.towers import numpy_of
from recsys.serving.frames import frame_of
from recsys.serving.people import LeftOut, known_users
from recsys.serving.request_arguments import RawIds, Similarity, Unknown, known_rows, search_texts

SearchedBy: TypeAlias = Literal["texts", "pictures"]
"""What of the items a text is compared with."""
Files: TypeAlias = str | PurePath | Sequence[str | PurePath]


def nearest_items(
    bundle: Bundle, items: RawIds, k: int, where: str | pl.Expr | None, unknown: Unknown, by: Similarity | None
) -> pl.DataFrame:
    """The items that are nearest, each item itself left out; see :meth:`Retriever.similar_items`."""
    corpus = bundle.corpus
    if by is None:
        by = "transitions" if corpus.towers.fast else "vectors"
    choice(by, "by", get_args(Similarity))
    rows, missed = known_rows(items, corpus.items, "items", unknown)
    if len(rows) + missed == 0:
        raise ConfigError("there is nothing to compare with: items is empty")
    if missed:
        warn(LeftOut(unknown_items=missed).sentence(len(rows)))
    eligible = None if where is None else corpus.matching(where)
    if by == "transitions":
        ranked = _following(corpus, rows, k, eligible)
    else:
        corpus.towers.check_vectors("by='vectors' (--by)")
        itself = Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), rows)
        ranked = corpus.index.search(corpus.towers.vectors[rows], k, itself, eligible=eligible)
    return frame_of(ranked, corpus.items.to_ids(rows).alias(ITEM), corpus.items, SIMILAR)


def _following(corpus: Corpus, rows: Int32, k: int, eligible: Bool | None) -> Ranked:
    """The items with the largest entries in the rows of the transition memory, int32 (n,)."""
    if corpus.transitions is None:
        raise UnsupportedError("this model has no transition memory; leave out by='transitions' (--by)")
    found = corpus.transitions.scores(Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), rows))
    owners, following = found.lists.list_index(), found.lists.rows
    kept = (following != rows[owners]) & corpus.index.alive[following]
    if eligible is not None:
        kept &= eligible[following]
    return ranked_pairs(owners[kept], following[kept].astype(np.int64), found.scores[kept], len(rows), k)


def searched(
    bundle: Bundle,
    texts: str | Sequence[str] | None,
    pictures: Files | None,
    k: int,
    where: str | pl.Expr | None,
    by: SearchedBy,
) -> pl.DataFrame:
    """The items that texts or pictures are nearest to; see :meth:`Retriever.search`."""
    choice(by, "by", get_args(SearchedBy))
    if (texts is None) is (pictures is None):
        raise ConfigError("search needs texts or pictures=, and not both")
    corpus, towers = bundle.corpus, bundle.towers
    if pictures is not None or by == "pictures":
        read = towers.readable_pictures()
        queries = search_texts(texts) if pictures is None else _file_names(pictures)
        vectors = (read.of_texts if pictures is None else read.of_files)(queries, towers.device)
        index, known = corpus.picture_index, corpus.pictured
    else:
        queries = search_texts(texts)
        vectors, index, known = towers.query_vectors(queries), corpus.text_index, corpus.searchable
    ranked = index.search(vectors, k, eligible=known if where is None else known & corpus.matching(where))
    return frame_of(ranked, pl.Series(QUERY, queries), corpus.items, ITEM)


def _file_names(files: Files) -> list[str]:
    found = [files] if isinstance(files, str | PurePath) else listed(files, "pictures", "files")
    if not found or not all(isinstance(one, str | PurePath) for one in found):
        raise ConfigError("pictures must be the name of a file, or a list of names")
    return [str(one) for one in found]


def nearest_users(
    bundle: Bundle, users: RawIds, k: int, index: Callable[[], tuple[ItemIndex, Int32]], unknown: Unknown
) -> pl.DataFrame:
    """The users whose vectors are nearest; ``index`` gives what :func:`users_index` made."""
    bundle.towers.check_vectors("a list of similar users")
    people = known_users(bundle, users, unknown=unknown)
    if passed_over := people.left_out.sentence(len(people.users)):
        warn(passed_over)
    rows = people.users[people.histories.lengths > 0]
    vectors, owners = index()
    at = np.searchsorted(owners, rows)
    itself = Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), at.astype(np.int32))
    found = vectors.search(vectors.vectors()[at], k, itself)
    ranked = Ranked(Ragged(found.lists.offsets, owners[found.lists.rows]), found.scores)
    return frame_of(ranked, bundle.users.to_ids(rows).alias(USER), bundle.users, SIMILAR_USER)


def users_index(bundle: Bundle) -> tuple[ItemIndex, Int32]:
    """The vectors of all users with a history, by cosine, and the rows of these users: int32 (m,)."""
    rows = np.flatnonzero(bundle.histories.lengths).astype(np.int32)
    vectors = numpy_of(bundle.towers.user_vectors(bundle.histories.take(rows), rows))
    return ItemIndex.build(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), rows
