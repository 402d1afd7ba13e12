"""A factor for the scores of each declared group of items, by which a group reaches a floor of exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.core.ragged import Bool, Float32
from recsys.data.catalog import Catalog
from recsys.models.networks.two_tower import TwoTowerNetwork


@dataclass(frozen=True)
class GroupFactors:
    """By what the towers' scores of the items of each group are multiplied.

    Attributes
    ----------
    column : str
        Of the catalogue; an item with several values is in several groups.
    factors : tuple of (str, float)
        1 or more each. An item has the largest one of its groups, and 1 if it is in none of these.
    """

    column: str
    factors: tuple[tuple[str, float], ...]

    def of(self, catalog: Catalog) -> Float32:
        """float32 (n_items,): the factor of each item of a catalogue; 1 where it does not know the column."""
        found = np.ones(len(catalog), dtype=np.float32)
        if self.column not in catalog.columns.columns:
            return found
        members = members_of(catalog, self.column, [name for name, _ in self.factors])
        for one, (_, factor) in zip(members, self.factors, strict=True):
            found[one] = np.maximum(found[one], np.float32(factor))
        return found

    def set_on(self, net: TwoTowerNetwork, catalog: Catalog) -> None:
        """Multiply the scores of a network by the factors of the items of a catalogue, which is in its rows."""
        net.group_scale = torch.from_numpy(self.of(catalog)).to(net.cold_scale.device)

    def extended(self, scale: Tensor, rows: Tensor, few: Catalog) -> Tensor:
        """The factors of all items, with those of a small catalogue at its rows, old or at the end."""
        longer = torch.ones(max(len(scale), int(rows.max()) + 1), device=scale.device)
        longer[: len(scale)] = scale
        longer[rows] = torch.from_numpy(self.of(few)).to(scale.device)
        return longer

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"column": self.column, "factors": dict(self.factors)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> GroupFactors | None:
        """From what a training log tells of exposure; None: there were no floors."""
        told = record.get("exposure")
        if not told:
            return None
        return cls(told["column"], tuple((one["group"], float(one["factor"])) for one in told["groups"]))


def members_of(catalog: Catalog, column: str, groups: list[str]) -> list[Bool]:
    """bool (n_items,) for each group: the items in it; of a group that the catalogue does not know, none.

    Raises
    ------
    ConfigError, DataError
        As for :meth:`recsys.data.catalog.Catalog.memberships`.
    """
    matrix, names = catalog.memberships(column)
    columns = matrix.tocsc()
    place = {name: at for at, name in enumerate(names)}
    found = []
    for group in groups:
        inside = np.zeros(len(catalog), dtype=np.bool_)
        if group in place:
            at = place[group]
            inside[columns.indices[columns.indptr[at] : columns.indptr[at + 1]]] = True
        found.append(inside)
    return found
