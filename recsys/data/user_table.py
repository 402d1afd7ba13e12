"""Features of users besides their histories, as small codes that a model looks up in tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.ragged import Int32
from recsys.core.schema import USER
from recsys.data.formats.frames import Frame, frame_of
from recsys.data.parse import parse_number, unique_ids
from recsys.errors import ConfigError, DataError

_SOURCE = "the table of users"
"""What messages call a table that does not come from a file."""

UNKNOWN = 0
"""The code of a missing value, and of a category that the table was not made from."""


@dataclass(frozen=True)
class UserFeature:
    """How one column becomes codes; code 0 means unknown.

    Attributes
    ----------
    name : str
        The column.
    categories : tuple of str, or None
        The categories in sorted order, if the column is categorical: the code of ``categories[c]`` is ``1 + c``.
    edges : tuple of float, or None
        Ascending edges, if the column is numeric: code ``1 + b`` stands for ``edges[b - 1] <= x < edges[b]``.
    """

    name: str
    categories: tuple[str, ...] | None = None
    edges: tuple[float, ...] | None = None

    @property
    def cardinality(self) -> int:
        """The number of codes, including 0 (unknown)."""
        if self.categories is not None:
            return 1 + len(self.categories)
        return 2 + len(self.edges or ())

    @classmethod
    def of_categories(cls, column: pl.Series, name: str, source: str = _SOURCE) -> UserFeature:
        """Make a feature of the categories in a column of text, whole numbers or truth values; errors name ``source``."""
        return cls(name, categories=tuple(_text(column, _where(name, source)).drop_nulls().unique().sort().to_list()))

    @classmethod
    def of_numbers(cls, column: pl.Series, name: str, buckets: int, source: str = _SOURCE) -> UserFeature:
        """Cut numbers into at most so many buckets of about equally many users; equal numbers share a bucket.

        If nearly all users have the least number (most people spent nothing), those with more get a bucket of their own.
        Errors name ``source``.
        """
        known = parse_number(column, _where(name, source)).drop_nulls().to_numpy()
        if len(known) == 0:
            return cls(name, edges=())
        above = known[known > known.min()]  # no number lies below the least one, so it is not an edge
        edges = np.unique(np.quantile(known, np.linspace(0, 1, buckets + 1)[1:-1], method="higher"))
        edges = edges[edges > known.min()]
        return cls(name, edges=tuple((edges if len(edges) else np.unique(above)[:1]).tolist()))

    def extended(self, categories: Sequence[str]) -> UserFeature:
        """With the categories that are new, behind the others, whose codes stay; numbers keep their buckets."""
        if self.categories is None:
            return self
        return replace(self, categories=(*self.categories, *sorted(set(categories) - set(self.categories))))

    def codes(self, column: pl.Series) -> Int32:
        """int32 (n,): the code of each value; 0 if it is missing, blank, or an unknown category.

        Raises
        ------
        DataError
            A value is of another kind than the feature's column.
        """
        if self.categories is None:
            number = parse_number(column, _where(self.name))
            bucket = np.searchsorted(np.array(self.edges, dtype=np.float64), number.fill_null(0).to_numpy(), side="right")
            return np.where(number.is_null().to_numpy(), UNKNOWN, bucket + 1).astype(np.int32)
        kinds = pl.Enum(self.categories)
        return (
            (_text(column, _where(self.name)).cast(kinds, strict=False).to_physical().cast(pl.Int32) + 1)
            .fill_null(0)
            .to_numpy()
        )


@dataclass(frozen=True, eq=False)
class UserTable:
    """Users and the codes of their features.

    Attributes
    ----------
    users : IdMap
        The users with features.
    features : tuple of UserFeature (F)
    codes : int32 (n_users, F)
        ``0 <= codes[u, f] < features[f].cardinality``; 0 means unknown.

    Raises
    ------
    DataError
        The codes do not have one row per user and one column per feature, or lie outside a feature's range.
    """

    users: IdMap
    features: tuple[UserFeature, ...]
    codes: Int32

    def __post_init__(self) -> None:
        wanted = (len(self.users), len(self.features))
        if self.codes.shape != wanted:
            raise DataError(f"the codes of users have the shape {self.codes.shape}, expected {wanted}: users by features")
        strange = (self.codes < 0) | (self.codes >= np.array(self.cardinalities, dtype=np.int64))
        if strange.any():
            user, feature = np.argwhere(strange)[0]
            raise DataError(
                f"user {self.users.ids[int(user)]!r} has the code {self.codes[user, feature]} of {self.names[feature]!r}, "
                f"which has {self.cardinalities[feature]}; the codes belong to other features"
            )

    @classmethod
    def from_frame(
        cls, frame: Frame, *, categorical: Sequence[str] = (), numeric: Sequence[str] = (), buckets: int = 10
    ) -> UserTable:
        """Build from a frame with a ``user_id`` column, one row per user.

        Parameters
        ----------
        frame : frame
            Of polars (lazy too) or pandas, an Arrow table or data set, or anything that has ``__arrow_c_stream__``.
        categorical, numeric : sequence of str
            Columns of categories, and of numbers to cut into buckets. Nulls and blanks mean unknown.
        buckets : int
            Most buckets per numeric column.

        Raises
        ------
        DataError
            A column is missing, a value cannot be used, or a user occurs twice.
        ConfigError
            No column is named, one is named twice, or ``buckets`` is below 2.
        """
        check_choice(categorical, numeric, buckets)
        frame = frame_of(frame, _SOURCE)
        check_columns(frame, [USER, *categorical, *numeric])
        users = unique_ids(frame[USER], _where(USER), "user")
        return cls.of_users(users, frame, categorical=categorical, numeric=numeric, buckets=buckets)

    @classmethod
    def of_users(
        cls,
        users: IdMap,
        frame: pl.DataFrame,
        *,
        categorical: Sequence[str],
        numeric: Sequence[str],
        buckets: int,
        source: str = _SOURCE,
        like: Sequence[UserFeature] = (),
    ) -> UserTable:
        """Build from a frame as for :meth:`from_frame`, whose ids are checked already: ``users``, in its order.

        ``source`` is what messages call the table, such as its file; ``like`` are features of an earlier table, whose
        codes and buckets stay.
        """
        known = {feature.name: feature for feature in like}
        features: tuple[UserFeature, ...] = (
            *(UserFeature.of_categories(frame[name], name, source) for name in categorical),
            *(UserFeature.of_numbers(frame[name], name, buckets, source) for name in numeric),
        )
        features = tuple(known[one.name].extended(one.categories or ()) if one.name in known else one for one in features)
        return cls(users, features, encoded(frame, features))

    def recoded(self, features: Sequence[UserFeature]) -> UserTable:
        """The same users with the codes of an earlier table of the same columns; categories that it lacks come behind.

        Raises
        ------
        DataError
            The columns or the buckets of a column of numbers are others.
        """
        if self.names != (wanted := tuple(feature.name for feature in features)):
            raise DataError(
                f"the table of users has the features {', '.join(self.names)}, and the model reads {', '.join(wanted)}, in "
                "this order; name the same columns"
            )
        grown, codes = [], []
        for place, (mine, theirs) in enumerate(zip(self.features, features, strict=True)):
            if (mine.categories is None) != (theirs.categories is None) or mine.edges != theirs.edges:
                raise DataError(
                    f"the column {mine.name!r} of the table of users is cut into other buckets than in the first training; "
                    "read it with the features of the bundle: read_user_table(..., like=bundle.towers.user_features)"
                )
            grown.append(theirs.extended(mine.categories or ()))
            own, whole = mine.categories or (), {name: 1 + code for code, name in enumerate(grown[-1].categories or ())}
            table = np.array([UNKNOWN, *(whole[name] for name in own)], dtype=np.int32)
            codes.append(self.codes[:, place] if mine.categories is None else table[self.codes[:, place]])
        return UserTable(self.users, tuple(grown), np.stack(codes, axis=1).astype(np.int32))

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        return tuple(feature.name for feature in self.features)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of codes of each feature, including 0 (unknown): the height of its embedding table."""
        return tuple(feature.cardinality for feature in self.features)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        columns = ", ".join(f"{name} ({size})" for name, size in zip(self.names, self.cardinalities, strict=True))
        return f"UserTable({len(self):,} users, {columns})"

    def codes_for(self, users: IdMap) -> Int32:
        """int32 (len(users), F): the codes in the row order of another map; 0 for users without features."""
        place = self.users.find_rows(users.ids)
        codes = np.full((len(users), len(self.features)), UNKNOWN, dtype=np.int32)
        codes[place >= 0] = self.codes[place[place >= 0]]
        return codes

    def frame(self) -> pl.DataFrame:
        """``user_id`` and one column of codes (int32) per feature, for Parquet."""
        ids = self.users.ids.alias(USER).to_frame()
        return ids.hstack([pl.Series(name, self.codes[:, place]) for place, name in enumerate(self.names)])

    def to_dict(self) -> dict[str, Any]:
        """The features without the users, for JSON."""
        return {"features": features_to_list(self.features)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], frame: pl.DataFrame) -> UserTable:
        """Rebuild a table from :meth:`to_dict` and :meth:`frame`.

        Raises
        ------
        DataError
            The two do not belong together.
        """
        features = features_from_list(data["features"])
        names = [feature.name for feature in features]
        check_columns(frame, [USER, *names])
        return cls(IdMap(frame[USER], "user"), features, frame.select(names).to_numpy().astype(np.int32))


def features_to_list(features: Sequence[UserFeature]) -> list[dict[str, Any]]:
    """Features as plain values, for JSON."""
    return [asdict(feature) for feature in features]


def features_from_list(data: Sequence[dict[str, Any]]) -> tuple[UserFeature, ...]:
    """Undo :func:`features_to_list`."""
    return tuple(
        UserFeature(
            one["name"],
            None if one["categories"] is None else tuple(one["categories"]),
            None if one["edges"] is None else tuple(one["edges"]),
        )
        for one in data
    )


def encoded(frame: pl.DataFrame, features: Sequence[UserFeature]) -> Int32:
    """int32 (frame.height, F): the codes of any users' features, such as those of a new user.

    Raises
    ------
    DataError
        A column is missing, or a value is not of the feature's kind.
    """
    check_columns(frame, [feature.name for feature in features])
    return np.stack([feature.codes(frame[feature.name]) for feature in features], axis=1)


def check_choice(categorical: Sequence[str], numeric: Sequence[str], buckets: int) -> None:
    """Refuse a table without a column, with one named twice, and numbers in one bucket.

    Raises
    ------
    ConfigError
        The choice makes no sense.
    """
    names = [*categorical, *numeric]
    if not names:
        raise ConfigError("a table of users needs at least one column: name it in categorical= or numeric=")
    if len(set(names)) != len(names):
        raise ConfigError(f"a column of the table of users is named twice among {', '.join(names)}; name each once")
    if buckets < 2:
        raise ConfigError(f"buckets must be at least 2, not {buckets}")


def check_columns(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse a frame of users without one of the columns.

    Raises
    ------
    DataError
        A column is missing; the message names the first one.
    """
    for name in names:
        if name not in frame.columns:
            raise DataError(f"the table of users has no column {name!r}; its columns are {', '.join(frame.columns)}")


def _where(name: str, source: str = _SOURCE) -> str:
    return f"{source}, column {name!r}"


def _text(column: pl.Series, where: str) -> pl.Series:
    """A categorical column as String; blanks are null."""
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)):
        raise DataError(f"{where}: is of type {column.dtype}, expected categories: text or whole numbers")
    text = column.cast(pl.String)
    return text.set((text.str.strip_chars() == "").fill_null(False), None)
