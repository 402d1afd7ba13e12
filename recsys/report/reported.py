"""What a report reads of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Float32
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout

if TYPE_CHECKING:
    from recsys.models.towers import TwoTowerModel


class Reported(Protocol):
    """A model with everything that is saved beside it; all in the model's item rows."""

    @property
    def holdout(self) -> Holdout | None:
        """Users and targets kept from training."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The model's options."""
        ...

    @property
    def objective(self) -> Objective | None:
        """What was learned; None if it is not known."""
        ...

    @property
    def augment(self) -> Augment | None:
        """How windows were varied; None if it is not known."""
        ...

    @property
    def training(self) -> Training | None:
        """Options of the training; None if they are not known."""
        ...

    @property
    def reading(self) -> dict[str, Any] | None:
        """How ``recsys fit`` read and split the log; None if it was read in Python."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """What happened in training."""
        ...

    @property
    def data(self) -> dict[str, Any]:
        """Facts about the log."""
        ...

    @property
    def items(self) -> IdMap:
        """All items in row order."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What is known about the items, in row order."""
        ...

    @property
    def towers(self) -> TwoTowerModel:
        """The fitted towers."""
        ...

    @property
    def vectors(self) -> Float32:
        """float32 (n_items, D): item vectors as they are compared."""
        ...

    @property
    def trained_on(self) -> Interactions | None:
        """The log that the model was trained on; None if it is not known."""
        ...

    @property
    def ordered(self) -> bool:
        """Whether the log has an order."""
        ...

    @property
    def keep_seen(self) -> bool:
        """Whether the model was validated with items of the history left in the ranking."""
        ...
