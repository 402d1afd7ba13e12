"""Floors of exposure as they are written: ``COLUMN:GROUP=SHARE``."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.errors import ConfigError


def read_floors(written: Sequence[str], k: int) -> tuple[str, dict[str, float]]:
    """The column, and the floor of each group.

    Parameters
    ----------
    written : sequence of str
        Such as ``"genres:Documentary=0.05"``; the column ends at the first ``:``, the group at the last ``=``.
    k : int
        Length of the lists.

    Raises
    ------
    ConfigError
        One is written otherwise, names another column than the first or a group twice, or its share is not in (0, 1).

    Examples
    --------
    >>> read_floors(["genres:Documentary=0.05", "genres:Film-Noir=0.02"], 10)
    ('genres', {'Documentary': 0.05, 'Film-Noir': 0.02})
    """
    if k < 1:
        raise ConfigError(f"exposure_k (--exposure-k) must be at least 1, not {k}")
    columns, floors = list[str](), dict[str, float]()
    for one in written:
        column, colon, rest = one.partition(":")
        group, equals, share = rest.rpartition("=")
        column, group = column.strip(), group.strip()
        try:
            floor = float(share)
        except ValueError:
            floor = float("nan")
        if not (colon and equals and column and group) or not 0.0 < floor < 1.0:
            raise ConfigError(
                f"exposure_floors (--exposure-floors) takes COLUMN:GROUP=SHARE with a share between 0 and 1, such as "
                f"genres:Documentary=0.05, not {one!r}"
            )
        if columns and column != columns[0]:
            raise ConfigError(
                f"exposure_floors (--exposure-floors) names the columns {columns[0]!r} and {column!r}; floors hold for the "
                "groups of one column"
            )
        if group in floors:
            raise ConfigError(f"exposure_floors (--exposure-floors) names the group {group!r} twice; give it one floor")
        columns.append(column)
        floors[group] = floor
    return (columns[0] if columns else ""), floors
