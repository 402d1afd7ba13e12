"""TwoTower: the model as its users meet it, a plain configuration with ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from recsys.config.augment import Augment
from recsys.config.fast import refuse_idle
from recsys.config.model import ModelConfig
from recsys.config.options import build_over, read_recipe, unknown_table
from recsys.config.privacy import PrivacyOptions
from recsys.config.recipe import TABLES
from recsys.config.training import Objective, Training
from recsys.core.arguments import flag, function_or_none, instance, number, place
from recsys.core.id_map import IdMap
from recsys.core.processes import begin_threads
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.shown import card
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, NotFittedError
from recsys.evaluation.protocol import Traits
from recsys.training.plan.options import Options

if TYPE_CHECKING:
    from recsys.index.spec import IndexSpec
    from recsys.models.towers import TwoTowerModel
    from recsys.serving.retriever import Retriever
    from recsys.training.logs import TrainingLog
    from recsys.transitions.memory import TransitionMemory

_UNFITTED = "the two towers are not fitted; call fit(train, catalog) first"


class TwoTower:
    """A transformer two-tower recommender: options, and what :meth:`fit` makes of a log.

    Parameters
    ----------
    config : ModelConfig, optional
        The options; never changed by a fit.
    **options
        Instead of ``config``: single options, as :class:`recsys.ModelConfig` takes them.

    Raises
    ------
    ConfigError
        An option is unknown or has a value that is not allowed, or both ``config`` and options are given.

    Examples
    --------
    >>> import recsys
    >>> recsys.TwoTower(encoder=None, dim=64).config.dim
    64
    """

    name = "two towers"
    """What reports call the model."""

    def __init__(self, config: ModelConfig | None = None, **options: Any) -> None:
        if config is not None and options:
            raise ConfigError(f"give a ModelConfig or single options, not both ({', '.join(sorted(options))})")
        self.config = ModelConfig(**options) if config is None else instance(config, ModelConfig, "config")
        self.name = "fast model" if self.config.fast else "two towers"
        self._towers: TwoTowerModel | None = None
        self._train: Interactions | None = None
        self._catalog: Catalog | None = None
        self._user_table: UserTable | None = None
        self._relations: ItemRelations | None = None
        self._training, self._objective, self._augment = Training(), Objective(), Augment()
        self._fitted_config: ModelConfig | None = None
        self.log: TrainingLog | None = None
        self.transitions: TransitionMemory | None = None
        """The transition memory beside the towers; None: none was learned, or the towers alone were as good."""

    def __repr__(self) -> str:
        return f"TwoTower({self.config.changed()})"

    def _repr_html_(self) -> str:
        return card(repr(self), {} if self._fitted_config is None else self._fitted_config.to_dict())

    @property
    def fitted_config(self) -> ModelConfig:
        """The options of the fitted towers: :attr:`config` with what was decided from the log.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        """
        if self._fitted_config is None:
            raise NotFittedError(_UNFITTED)
        return self._fitted_config

    @property
    def reads_words(self) -> bool:
        """Whether words are learned: as asked and, with ``word_features="auto"``, as the texts decided in :meth:`fit`."""
        return self.config.wants_words and (self._towers is None or self._towers.net.items.bags is not None)

    @property
    def towers(self) -> TwoTowerModel:
        """The fitted towers.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        """
        if self._towers is None:
            raise NotFittedError(_UNFITTED)
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
            vectors=None if self.config.fast else self.vectors,
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
        privacy: PrivacyOptions | None = None,
        users: UserTable | None = None,
        relations: ItemRelations | None = None,
        log_folder: str | Path | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> Self:
        """Train both towers, and learn the transition memory; with ``fast=True`` the memory alone.

        Parameters
        ----------
        train : Interactions
            What may be learned from, such as ``split.train``.
        catalog : Catalog, optional
            Item texts and other columns; items of the catalogue without interactions become candidates too. Needed unless
            ids are all that is read.
        validation : Holdout, optional
            Picks the best epoch and stops early; the transition memory is chosen and weighed on it, and there is none
            without it (a fast model then has one of a usual form).
        training : Training, optional
            How to train. If neither it nor the model nor the objective sets any option that a plan decides (dim, dropout,
            loss, epochs and so on), these are decided from the log within ``minutes``; see ``adapt``.
        objective, augment : Objective, Augment, optional
            What to learn, and how to vary the windows of the log.
        privacy : PrivacyOptions, optional
            With an epsilon, the weights keep it for every user; validation is then left out, and so is the memory.
        users, relations : UserTable, ItemRelations, optional
            Features of users; related items, such as complements, each relation weighed on validation beside the memory.
        log_folder : path, optional
            Where the training curves go.
        checkpoint : path, optional
            Folder in which the run's state is kept, so that a killed run can go on.
        resume, overwrite : bool
            Go on from the checkpoint there, exactly; begin anew where that of an earlier run lies, refused otherwise.
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
        from recsys.training.checks import check_data, check_options  # noqa: PLC0415
        from recsys.training.fast import check_fast  # noqa: PLC0415
        from recsys.training.fit import fitted  # noqa: PLC0415
        from recsys.training.trainer import RunOptions  # noqa: PLC0415

        begin_threads()
        check_data(train, catalog, validation, users, relations)
        check_options(training, objective, augment, privacy)
        function_or_none(on_epoch, "on_epoch")
        resume, overwrite = flag(resume, "resume"), flag(overwrite, "overwrite")
        run = RunOptions(
            log_folder=None if log_folder is None else place(log_folder, "log_folder"),
            checkpoint=None if checkpoint is None else place(checkpoint, "checkpoint"),
            resume=resume,
            on_epoch=on_epoch,
        )
        if self.config.fast:
            check_fast(resume, on_epoch, users, training=training, objective=objective, augment=augment, privacy=privacy)
        asked = Options(self.config, objective or Objective(), training or Training())
        extras: dict[str, Any] = {"validation": validation, "augment": augment, "users": users, "privacy": privacy}
        found = fitted(asked, train, catalog, relations=relations, run=run, overwrite=overwrite, **extras)
        inputs, options = found.made.inputs, found.made.options
        self._train, self._catalog = inputs.log, inputs.catalog
        self._user_table, self._relations = users, relations
        self._towers, self._fitted_config = found.towers, options.model
        self._training, self._objective, self._augment = options.training, options.objective, augment or Augment()
        self.log, self.transitions = found.made.record, found.memory
        return self

    def refit(self, log: Interactions) -> Self:
        """Train again on more events, such as all of them before serving, for as long as validation found best.

        Nothing of this is validated: figures on events that ``log`` holds, of the earlier fit or of this one, do not count.

        Parameters
        ----------
        log : Interactions
            For figures on a test set: what the first fit had and the validation events, such as
            ``refit_log(log, "last", "validation")`` of :mod:`recsys.data.split_choice`.

        Returns
        -------
        TwoTower
            Itself.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ConfigError
            The fit had no validation, so nothing tells for how long to train, or the model was distilled.
        DataError
            As for :meth:`fit`.
        """
        from recsys.training.refit import refitted  # noqa: PLC0415

        config = self.fitted_config
        instance(log, Interactions, "log")
        assert self.log is not None  # noqa: S101 - set with the towers
        if self.log.privacy is not None:
            raise ConfigError("a second training spends a budget again; fit once, on all events (split none, --split none)")
        if self.log.distilled_from:
            raise ConfigError("refit trains as fit did, and this member was distilled; refit the ensemble, then distil it")
        if not config.fast and not any("val_" in name for row in self.log.epochs for name in row):
            raise ConfigError("refit trains for as long as validation found best, and the fit had none; fit on all events")
        begin_threads()
        options = Options(config, self._objective, self._training)
        extras: dict[str, Any] = {"augment": self._augment, "users": self._user_table}
        made, self.log, self.transitions = refitted(
            options, self.log, log, self._catalog, memory=self.transitions, items=self.items, **extras
        )
        made.towers.settle_encoder()
        made.towers.net.cold_scale.copy_(self.towers.net.cold_scale)
        towers = replace(made.towers, group_factors=self.towers.group_factors)
        if towers.group_factors is not None:
            towers.group_factors.set_on(towers.net, made.catalog)
        self._towers, self._train, self._catalog = towers, made.log, made.catalog
        return self

    def distil(self, validation: Holdout, *, share: float = 0.5, training: Training | None = None) -> TwoTower:
        """Train one member further on what all members together say, for their ranking at its width and time.

        Parameters
        ----------
        validation : Holdout
            That of the fit; picks the member to begin with, the best epoch and the transition memory.
        share : float
            How much of each label is the ensemble's, in (0, 1]; the next item has the rest.
        training : Training, optional
            By default a third of the epochs of the fit, at half its learning rate.

        Returns
        -------
        TwoTower
            A model of its own, of one member; this one stays as it is.

        Raises
        ------
        NotFittedError, ConfigError
            Not fitted; one member only, a share outside of these bounds, or an objective that is no plain softmax.
        """
        from recsys.training.distil import distilled  # noqa: PLC0415

        options, share = Options(self.fitted_config, self._objective, self._training), number(share, "share")
        assert self._train is not None and self._catalog is not None and self.log is not None  # noqa: S101, PT018
        if self.log.privacy is not None:
            raise ConfigError("distilling trains on the log again, without noise; keep the private ensemble")
        begin_threads()
        data = (self._train, self._catalog, instance(validation, Holdout, "validation"))
        made = distilled(
            self.towers, options, *data, share=share, record=self.log, training=training, relations=self._relations
        )
        student = copy(self)
        student.config, student._fitted_config = replace(self.config, ensemble_size=1), made.model
        student._towers, student.log, student.transitions = made.towers, made.record, made.memory
        return student

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
            histories,
            k,
            exclude=exclude,
            users=users,
            eligible=eligible,
            request_times=request_times,
            added=None if self.transitions is None else self.transitions.scores(histories),
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
        from recsys.serving.retriever import Retriever  # noqa: PLC0415

        if isinstance(index, str) and index not in ("auto", "exact"):
            raise ConfigError(f"index must be auto, exact or an IndexSpec, not {index!r}")
        towers = self.towers
        assert self._train is not None and self._catalog is not None  # noqa: S101, PT018 - set with the towers
        log = self._train if log is None else log
        if self._user_table is not None:  # it may know people whom the training log does not
            towers = replace(towers, users=log.users, user_codes=self._user_table.codes_for(log.users))
        bundle = build(
            towers,
            self._catalog,
            log,
            config=self.fitted_config,
            objective=self._objective,
            augment=self._augment,
            training=self._training,
            record=asdict(self.log) if self.log else {},
            holdout=holdout,
            train=self._train,
            transitions=self.transitions,
            index=None if isinstance(index, str) else index,
        )
        found = Retriever(bundle)
        if index == "auto" and not bundle.record.get("privacy"):  # it would be chosen by what private users ask for
            found.choose_index(recall_target=recall_target, memory_budget=memory_budget)
        return found


@dataclass(frozen=True)
class Recipe:
    """Every option of a training.

    Attributes
    ----------
    model : ModelConfig
    objective : Objective
    augment : Augment
    training : Training
    privacy : PrivacyOptions

    Raises
    ------
    ConfigError
        A part is of another type.

    Examples
    --------
    >>> import recsys
    >>> recsys.Recipe.read(model={"dim": 64}).model.dim
    64
    """

    model: ModelConfig
    objective: Objective
    augment: Augment
    training: Training
    privacy: PrivacyOptions = PrivacyOptions()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        for name, kind in TABLES.items():
            instance(getattr(self, name), kind, name)

    @classmethod
    def read(cls, file: str | Path | None = None, **tables: dict[str, Any]) -> Recipe:
        """Read a recipe.

        Parameters
        ----------
        file : path, optional
            A TOML file with any of the tables [model], [objective], [augment], [training] and [privacy].
        **tables : dict
            Options by table name; these win over the file.

        Raises
        ------
        ConfigError
            The file cannot be read, or a table or option is unknown or has a value that is not allowed; the message names
            the file and the table that hold it.
        """
        for name, table in tables.items():
            if name not in TABLES:
                raise ConfigError(unknown_table(name, TABLES))
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{name} must be a dict of options, such as those of {TABLES[name].__name__}, not {table!r}"
                )
        found = {} if file is None else read_recipe(place(file, "file"), TABLES)
        made = {
            name: build_over(kind, found.get(name, {}), tables.get(name, {}), f"{file}: [{name}]")
            for name, kind in TABLES.items()
        }
        if made["model"].fast:
            for name in TABLES:
                given = found.get(name, {}) | tables.get(name, {})
                refuse_idle(name, [option for option, value in given.items() if value is not None])
        return cls(**made)

    def fit(
        self,
        train: Interactions,
        catalog: Catalog | None = None,
        *,
        validation: Holdout | None = None,
        users: UserTable | None = None,
        **places: Any,
    ) -> TwoTower:
        """Train a model with these options; takes and raises what :meth:`TwoTower.fit` does."""
        return TwoTower(self.model).fit(
            train,
            catalog,
            validation=validation,
            users=users,
            training=self.training,
            objective=self.objective,
            augment=self.augment,
            privacy=self.privacy,
            **places,
        )
