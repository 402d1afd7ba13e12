"""TwoTower: the model as its users meet it, a plain configuration with ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from recsys.config.options import checked_options, settle
from recsys.config.training import Objective, Training
from recsys.core.arguments import flag, function_or_none, instance, instance_or_none, place
from recsys.core.id_map import IdMap
from recsys.core.processes import begin_threads
from recsys.core.progress import log, say_where
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, NotFittedError
from recsys.evaluation.protocol import Traits
from recsys.training.augment import Augment

if TYPE_CHECKING:
    from recsys.index.spec import IndexSpec
    from recsys.models.towers import TwoTowerModel
    from recsys.serving.retriever import Retriever
    from recsys.training.logs import TrainingLog
    from recsys.training.trainer import Extras


@checked_options
@dataclass(kw_only=True, eq=False)
class TwoTower:
    """A transformer two-tower recommender.

    Attributes
    ----------
    encoder : str or None
        Text encoder: a folder or a Hugging Face name; None: no text vectors.
    encoder_mode : str
        ``"frozen"``: texts are encoded once; ``"lora"`` or ``"full"``: the encoder is trained along.
    query_prompt, document_prompt : str or None
        What a text encoder reads before a search, and before an item's text; None: what it asks for itself.
    trainable_layers : int
        How many of the encoder's topmost layers are trained; 0: all. Those below run once.
    texts_per_step : int
        Texts that a trained encoder reads per step; the others keep the vector that they were last given.
    text_dim : int
        Directions kept when text (or image) vectors are whitened.
    words : bool or None
        Learn a vector for each word, and pair of neighbouring words, of the texts, beside the encoder's. None: where an
        encoder reads texts in which words recur.
    word_dropout : float
        Probability that a word or category is left out in a training step.
    categories, numbers : tuple of str
        Columns of the catalogue that are read as categories (one or several, by "|") and as numbers.
    images, image_encoder : str or None
        Column with image files, and the sentence-transformers model that reads them.
    use_ids : bool
        False: items are known by their content alone.
    id_dropout : float
        Probability that an item's id is dropped in a training step, so that content learns to stand alone.
    dim : int
        Width of user and item vectors; of each member's, where there are several.
    ensemble_size : int
        Towers that are trained side by side, apart but for their batches, and whose scores are averaged: more of them
        rank better, for as many times the training time and width of the vectors.
    blocks, heads : int
        Depth of the user tower and attention heads per block.
    max_length : int
        Longest history that is read, in items.
    dropout, attention_dropout : float
        In the user tower: on inputs and branches, on attention weights.
    stochastic_depth : float
        Stochastic depth: how often the last block's branches are left out.
    positions : str
        How the user tower tells order: ``"learned"``, ``"rotary"``, ``"relative"`` or ``"none"``; ``"auto"``: learned, or
        none where the log has no order.
    time_bias : str
        Attention by elapsed time: ``"none"``, between past events (``"history"``), or to the clock of the request
        (``"request"``).
    event_heads : bool
        Learn the next event of each type apart (needs a log with event types), so that one of them can be asked for:
        ``retriever.recommend(..., target_event="buy")``.
    score : str
        ``"cosine"`` over a temperature, or ``"dot"``.
    temperature : float
        Where the temperature starts (cosine only).
    learn_temperature : bool
        False: it stays there.
    """

    encoder: str | None = "all-MiniLM-L6-v2"
    encoder_mode: Literal["frozen", "lora", "full"] = "frozen"
    query_prompt: str | None = None
    document_prompt: str | None = None
    trainable_layers: int = 0
    texts_per_step: int = 512
    text_dim: int = 256
    words: bool | None = None
    word_dropout: float = 0.0
    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    images: str | None = None
    image_encoder: str | None = None
    use_ids: bool = True
    id_dropout: float = 0.1
    dim: int = 128
    ensemble_size: int = 1
    blocks: int = 2
    heads: int = 2
    max_length: int = 100
    dropout: float = 0.2
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.0
    positions: Literal["learned", "rotary", "relative", "none", "auto"] = "auto"
    time_bias: Literal["none", "history", "request"] = "none"
    event_heads: bool = False
    score: Literal["cosine", "dot"] = "cosine"
    temperature: float = 0.07
    learn_temperature: bool = True

    name = "two towers"

    def __post_init__(self) -> None:
        self.check()
        self._towers: TwoTowerModel | None = None
        self._train: Interactions | None = None
        self._catalog: Catalog | None = None
        self._user_table: UserTable | None = None
        self._training, self._objective, self._augment = Training(), Objective(), Augment()
        self.log: TrainingLog | None = None

    def check(self) -> None:
        """Settle the types of all options, and refuse values and combinations that are not allowed.

        Raises
        ------
        ConfigError
        """
        for field in ("categories", "numbers"):
            if isinstance(getattr(self, field), str):
                raise ConfigError(f"{field} is a list of columns; write [{getattr(self, field)!r}]")
        settle(self)
        for field in ("dim", "ensemble_size", "blocks", "heads", "max_length", "text_dim", "texts_per_step"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, not {getattr(self, field)}")
        for field in ("dropout", "attention_dropout", "stochastic_depth", "id_dropout", "word_dropout"):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise ConfigError(f"{field} is a probability in [0, 1), not {getattr(self, field)}")
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} is not divisible by heads {self.heads}")
        if self.trainable_layers < 0:
            raise ConfigError(f"trainable_layers must not be negative, but is {self.trainable_layers}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature}")
        if self.encoder is None and self.encoder_mode != "frozen":
            raise ConfigError(f"encoder_mode={self.encoder_mode!r} needs an encoder to train")
        if (self.images is None) != (self.image_encoder is None):
            raise ConfigError(
                f"images={self.images!r} and image_encoder={self.image_encoder!r} go together: a column with files, and a "
                "sentence-transformers model that reads them, such as clip-ViT-B-32"
            )
        content = self.encoder or self.words or self.categories or self.numbers or self.images
        if not content and not self.use_ids:
            raise ConfigError("use_ids=False without text or other content leaves nothing to tell items apart by")

    @property
    def reads_words(self) -> bool:
        """Whether words are learned: as asked and, where that was left open, as the texts turned out in :meth:`fit`."""
        asked = self.encoder is not None if self.words is None else self.words
        return asked and (self._towers is None or self._towers.net.items.bags is not None)

    def options(self) -> dict[str, Any]:
        """The configuration as a dict that :class:`TwoTower` accepts again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def towers(self) -> TwoTowerModel:
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
    def users(self) -> IdMap:
        return self.towers.users

    @property
    def items(self) -> IdMap:
        return self.towers.items

    @property
    def traits(self) -> Traits:
        """What evaluation should know about the model."""
        return Traits(
            trained_on=self._train,
            vectors=self.vectors,
            reads_request_time=self.reads_request_time,
            event_names=self.towers.event_names,
            keep_seen=self._training.keep_seen,
        )

    @property
    def reads_request_time(self) -> bool:
        """Whether recommendations depend on when they are asked for."""
        return self.towers.reads_request_time

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
        objective: Objective | None = None,
        augment: Augment | None = None,
        users: UserTable | None = None,
        log_folder: str | Path | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> Self:
        """Train both towers.

        Parameters
        ----------
        train : Interactions
            What may be learned from, such as ``split.train``.
        catalog : Catalog, optional
            Item texts and other columns; items of the catalogue without interactions become candidates too. Needed unless
            ids are all that is read.
        validation : Holdout, optional
            Picks the best epoch and stops early.
        training : Training, optional
            How to train; its defaults are meant to do well without tuning.
        objective : Objective, optional
            What to learn.
        augment : Augment, optional
            How to vary the windows of the log.
        users : UserTable, optional
            Features of users.
        log_folder : path, optional
            Where the training curves go.
        checkpoint : path, optional
            Folder in which the run's state is kept, so that a killed run can go on.
        resume : bool
            Go on from the checkpoint there, exactly.
        overwrite : bool
            Begin anew where the checkpoint of an earlier run lies, which is refused otherwise.
        on_epoch : callable, optional
            Gets each epoch's row of the training log (``epoch``, ``loss``, ``val_ndcg@10``, …); what it raises ends the
            training and reaches the caller.

        Returns
        -------
        TwoTower
            Itself.

        Raises
        ------
        DataError, ConfigError, EncoderError, CheckpointError
            What is missing or contradictory.
        """
        from recsys.training.trainer import check_objective, proven_places  # noqa: PLC0415
        from recsys.training.trainer import train as run  # noqa: PLC0415

        begin_threads()
        instance(train, Interactions, "train")
        instance_or_none(catalog, Catalog, "catalog")
        instance_or_none(validation, Holdout, "validation")
        instance_or_none(training, Training, "training")
        instance_or_none(objective, Objective, "objective")
        instance_or_none(augment, Augment, "augment")
        instance_or_none(users, UserTable, "users")
        function_or_none(on_epoch, "on_epoch")
        resume, overwrite = flag(resume, "resume"), flag(overwrite, "overwrite")
        logs = None if log_folder is None else place(log_folder, "log_folder")
        state = None if checkpoint is None else place(checkpoint, "checkpoint")
        check_objective(train, objective or Objective())
        training = training or Training()
        say_where()
        with proven_places(logs, state, resume=resume, overwrite=overwrite):
            towers, train, catalog, extras = self.prepare(train, catalog, training=training, augment=augment, users=users)
            extras = replace(extras, log_folder=logs, checkpoint=state, resume=resume, on_epoch=on_epoch)
            record = run(towers, train, validation, training, objective=objective, augmentation=augment, extras=extras)
        towers.settle_encoder()
        self._towers, self._train, self._catalog, self._user_table = towers, train, catalog, users
        self._training, self._objective, self._augment = training, objective or Objective(), augment or Augment()
        self.log = record
        return self

    def prepare(
        self,
        train: Interactions,
        catalog: Catalog | None = None,
        *,
        training: Training | None = None,
        augment: Augment | None = None,
        users: UserTable | None = None,
    ) -> tuple[TwoTowerModel, Interactions, Catalog, Extras]:
        """Untrained towers and data in their rows, for :func:`recsys.training.trainer.train` and for looking ahead."""
        from recsys.core.device import pick_device  # noqa: PLC0415
        from recsys.data.join import check_join  # noqa: PLC0415
        from recsys.models.build import fresh_towers  # noqa: PLC0415
        from recsys.training.neighbours import nearest_by_text  # noqa: PLC0415
        from recsys.training.trainer import Extras  # noqa: PLC0415

        self.check()  # once more: an option may have been set since
        instance(train, Interactions, "train")
        instance_or_none(catalog, Catalog, "catalog")
        instance_or_none(augment, Augment, "augment")
        instance_or_none(users, UserTable, "users")
        training = instance_or_none(training, Training, "training") or Training()
        if catalog is not None:
            touched = train.items.to_ids(np.flatnonzero(train.item_counts).astype(np.int32))
            check_join(touched, catalog.items, "the catalogue")
            train = train.with_items(catalog.items.ids)
            catalog = catalog.aligned(train.items)
        else:
            catalog = Catalog.without_text(train.items)
        if users is not None:
            check_join(train.users.ids, users.users, "the table of users")
        towers = fresh_towers(self, train, catalog, users, pick_device(training.device), training.seed)
        neighbours = None
        if augment is not None and augment.substitute > 0 and self.encoder is not None:
            text = towers.net.items.text.cpu().numpy()
            neighbours = nearest_by_text(text, np.asarray(text.any(axis=1)), augment.neighbours)
        extras = Extras(
            features=None if towers.user_codes is None else towers.user_codes.astype(np.int64),
            neighbours=neighbours,
            identity={
                "model": self.options(),
                "text_dimensions": towers.net.items.text.shape[1],
                "content": towers.net.items.content_digest(),
            },
        )
        log(
            f"training on {len(train):,} interactions, {len(train.users):,} users, {len(train.items):,} items; "
            f"{sum(p.numel() for p in towers.net.parameters() if p.requires_grad):,} parameters"
        )
        return towers, train, catalog, extras

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
    ) -> Ranked:
        """Rank all items for each history; see :class:`recsys.evaluation.protocol.Ranker`.

        A model with ``time_bias="request"`` reads the time of each request too, ``request_times`` int64 (n,) in seconds.
        """
        return self.towers.recommend_rows(
            histories, k, exclude=exclude, users=users, eligible=eligible, request_times=request_times
        )

    def retriever(
        self,
        *,
        index: Literal["auto", "exact"] | IndexSpec = "auto",
        recall_target: float = 0.99,
        memory_budget: int | None = None,
        log: Interactions | None = None,
        holdout: Holdout | None = None,
    ) -> Retriever:
        """Index the item vectors and return what answers requests.

        Parameters
        ----------
        index : str or IndexSpec
            ``"auto"`` measures on user vectors of the log and takes what answers fastest within these bounds, which is the
            exact index for catalogues of some ten thousand items; see :func:`recsys.index.choose.choose`.
        recall_target : float
            Least share of the exact index's results that an index chosen by ``"auto"`` finds.
        memory_budget : int, optional
            Most bytes of it.
        log : Interactions, optional
            The histories to serve known users from, such as the whole log after training on a part; by default what was
            trained on.
        holdout : Holdout, optional
            Saved beside the model, so that ``recsys evaluate`` can judge the bundle on users it was not trained on.

        Returns
        -------
        Retriever
        """
        from recsys.bundle.build import build  # noqa: PLC0415

        if isinstance(index, str) and index not in ("auto", "exact"):
            raise ConfigError(f"index must be auto, exact or an IndexSpec, not {index!r}")
        towers = self.towers
        assert self._train is not None and self._catalog is not None  # noqa: S101, PT018 - set with the towers
        log = self._train if log is None else log
        if self._user_table is not None:  # it may know people whom the training log does not
            towers = replace(towers, users=log.users, user_codes=self._user_table.codes_for(log.users))
        happened = asdict(self.log) if self.log else {}
        found = build(
            towers,
            self._catalog,
            log,
            options=self.options(),
            record=happened
            | {
                "options": asdict(self._training),
                "objective": asdict(self._objective),
                "augment": asdict(self._augment),
            },
            holdout=holdout,
            train=self._train,
            index=None if isinstance(index, str) else index,
        )
        if index == "auto":
            found.choose_index(recall_target=recall_target, memory_budget=memory_budget)
        return found
