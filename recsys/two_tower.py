"""TwoTower: the model as its users meet it, a plain configuration with ``fit``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.row_lists import Float32, Int32, RowLists
from recsys.data.split import Holdout
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError, DataError, NotFittedError
from recsys.progress import log
from recsys.recommender import Ranked
from recsys.training.config import Training

if TYPE_CHECKING:
    from recsys.models.towers import Towers
    from recsys.serving.retriever import Retriever
    from recsys.training.fit import TrainingLog


@dataclass(kw_only=True, eq=False)
class TwoTower:
    """A transformer two-tower recommender.

    Attributes
    ----------
    encoder : str or None
        Text encoder: a folder or a Hugging Face name; None: ids alone.
    dim : int
        Width of user and item vectors.
    blocks, heads : int
        Depth of the user tower and attention heads per block.
    max_length : int
        Longest history that is read, in items.
    dropout : float
        In the user tower.
    id_dropout : float
        Probability that an item's id is dropped in a training step, so that text learns to stand alone.
    use_ids : bool
        False: items are known by text alone.
    text_dim : int
        Directions kept when text vectors are whitened.
    score : str
        ``"cosine"`` over a learned temperature, or ``"dot"``.
    temperature : float
        Where the learned temperature starts (cosine only).
    """

    encoder: str | None = "all-MiniLM-L6-v2"
    dim: int = 128
    blocks: int = 2
    heads: int = 2
    max_length: int = 100
    dropout: float = 0.2
    id_dropout: float = 0.1
    use_ids: bool = True
    text_dim: int = 256
    score: Literal["cosine", "dot"] = "cosine"
    temperature: float = 0.07

    name = "two towers"

    def __post_init__(self) -> None:
        for field in ("dim", "blocks", "heads", "max_length", "text_dim"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, not {getattr(self, field)}")
        for field in ("dropout", "id_dropout"):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise ConfigError(f"{field} is a probability in [0, 1), not {getattr(self, field)}")
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} is not divisible by heads {self.heads}")
        if self.score not in ("cosine", "dot"):
            raise ConfigError(f"score must be cosine or dot, not {self.score!r}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature}")
        if self.encoder is None and not self.use_ids:
            raise ConfigError("encoder=None with use_ids=False leaves nothing to tell items apart by")
        self._towers: Towers | None = None
        self._train: Interactions | None = None
        self._catalog: Catalog | None = None
        self._training = Training()
        self.log: TrainingLog | None = None

    def options(self) -> dict[str, Any]:
        """The configuration as a dict that :class:`TwoTower` accepts again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def towers(self) -> Towers:
        """The fitted towers.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        """
        if self._towers is None:
            raise NotFittedError("the two towers are not fitted; call fit(train, catalog) first")
        return self._towers

    @property
    def users(self) -> Vocabulary:
        return self.towers.users

    @property
    def items(self) -> Vocabulary:
        return self.towers.items

    @property
    def trained_on(self) -> Interactions | None:
        return self._train

    @property
    def vectors(self) -> Float32:
        """float32 (n_items, D): item vectors as they are compared and indexed."""
        return self.towers.vectors

    def fit(
        self,
        train: Interactions,
        catalog: Catalog | None = None,
        *,
        validation: Holdout | None = None,
        training: Training | None = None,
        log_folder: str | Path | None = None,
    ) -> Self:
        """Train both towers.

        Parameters
        ----------
        train : Interactions
            What may be learned from, such as ``split.train``.
        catalog : Catalog, optional
            Item texts; items of the catalogue without interactions become candidates too. Needed unless ``encoder=None``.
        validation : Holdout, optional
            Picks the best epoch and stops early.
        training : Training, optional
            How to train; its defaults are meant to do well without tuning.
        log_folder : path, optional
            Where TensorBoard events go.

        Returns
        -------
        TwoTower
            Itself.

        Raises
        ------
        DataError, ConfigError, EncoderError
            What is missing or contradictory.
        """
        from recsys.training.fit import train as run  # noqa: PLC0415

        training = training or Training()
        if catalog is not None:
            train = train.with_items(catalog.items.ids)
            catalog = catalog.aligned(train.items)
        else:
            catalog = Catalog.without_text(train.items)
        towers = self._fresh_towers(train, catalog, training)
        log(
            f"training on {len(train):,} interactions, {len(train.users):,} users, {len(train.items):,} items; "
            f"{sum(p.numel() for p in towers.net.parameters()):,} parameters"
        )
        self.log = run(towers, train, validation, training, Path(log_folder) if log_folder else None)
        self._towers, self._train, self._catalog, self._training = towers, train, catalog, training
        return self

    def _fresh_towers(self, train: Interactions, catalog: Catalog, training: Training) -> Towers:
        """Untrained towers for this data, initialised from the seed."""
        import torch  # noqa: PLC0415

        from recsys.models.device import pick_device  # noqa: PLC0415
        from recsys.models.encoder import TextEncoder, resolve_encoder  # noqa: PLC0415
        from recsys.models.towers import Towers  # noqa: PLC0415
        from recsys.models.whiten import Whitening  # noqa: PLC0415

        text, whitening, folder = None, None, None
        device = pick_device(training.device)
        if self.encoder is not None:
            known = catalog.texts.is_not_null()
            if not known.any():
                raise DataError(
                    "no item has a text to encode: pass a catalogue with text columns (--catalog, --text), "
                    "or train on ids alone with encoder=None (--encoder none)"
                )
            folder = resolve_encoder(self.encoder)
            encoder = TextEncoder(folder, device)
            texts = catalog.texts.filter(known)
            vectors = encoder.encode_cached(texts)
            distinct = texts.to_frame("text").with_row_index().unique("text", keep="first", maintain_order=True)["index"]
            whitening = Whitening.fit(vectors[distinct.to_numpy()], self.text_dim)
            text = torch.from_numpy(whitening.table(vectors, known.to_numpy()))
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            net = self.network(len(train.items), text, torch.from_numpy(train.item_counts > 0))
        return Towers(net, train.users, train.items, whitening, folder, device)

    def network(self, n_items: int, text: Any, has_id: Any) -> Any:
        """The untrained network for so many items; see :class:`recsys.models.network.TwoTowerNet`."""
        from recsys.models.item_tower import ItemTower  # noqa: PLC0415
        from recsys.models.network import TwoTowerNet  # noqa: PLC0415
        from recsys.models.user_tower import UserTower  # noqa: PLC0415

        items = ItemTower(n_items, self.dim, text, has_id, use_id=self.use_ids, id_dropout=self.id_dropout)
        users = UserTower(self.dim, self.blocks, self.heads, self.max_length, self.dropout)
        return TwoTowerNet(items, users, cosine=self.score == "cosine", temperature=self.temperature)

    def recommend_rows(
        self,
        histories: RowLists,
        k: int,
        *,
        exclude: RowLists | None = None,
        users: Int32 | None = None,
        candidates: Int32 | None = None,
    ) -> Ranked:
        """Rank all items for each history; see :class:`recsys.recommender.Ranker`."""
        return self.towers.recommend_rows(histories, k, exclude=exclude, users=users, candidates=candidates)

    def retriever(
        self,
        *,
        index: Literal["auto", "exact"] = "auto",
        log: Interactions | None = None,
        holdout: Holdout | None = None,
    ) -> Retriever:
        """Index the item vectors and return what answers requests.

        Parameters
        ----------
        index : str
            ``"exact"``; ``"auto"`` is exact too for now.
        log : Interactions, optional
            The histories to serve known users from, such as the whole log after training on a part; by default what was
            trained on.
        holdout : Holdout, optional
            Saved beside the model, so that ``recsys evaluate`` can judge the bundle on users it was not trained on.

        Returns
        -------
        Retriever
        """
        from recsys.serving.retriever import Retriever  # noqa: PLC0415

        if index not in ("auto", "exact"):
            raise ConfigError(f"index must be auto or exact, not {index!r}")
        towers = self.towers
        assert self._train is not None and self._catalog is not None  # noqa: S101, PT018 - set with the towers
        happened = asdict(self.log) if self.log else {}
        return Retriever.build(
            towers,
            self._catalog,
            log or self._train,
            options=self.options(),
            record=happened | {"options": asdict(self._training)},
            holdout=holdout,
            train=self._train,
        )
