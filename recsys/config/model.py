"""The options of a two-tower model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from recsys.config.fast import changed, refuse_idle
from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What both towers are made of.

    Checked when it is made, and never changed: what the data decide (``"auto"``) is asked of the fitted model.

    Raises
    ------
    ConfigError
        A value or a combination of values is not allowed.

    Examples
    --------
    >>> config = recsys.ModelConfig(encoder=None, dim=64)
    >>> config.dim, config.max_length
    (64, 100)
    """

    fast: bool = False
    """Fit the transition memory alone, without towers or text: seconds for a million events."""
    encoder: str | None = "all-MiniLM-L6-v2"
    """Text encoder: a folder or a Hugging Face name; none: no text vectors."""
    encoder_mode: Literal["frozen", "lora", "full"] = "frozen"
    """How the encoder is used: frozen encodes each text once; lora and full fine-tune it, at many times the cost."""
    query_prompt: str | None = None
    """What the encoder reads before the text of a search (default: the encoder's own prompt)."""
    document_prompt: str | None = None
    """What the encoder reads before an item's text (default: the encoder's own prompt)."""
    trainable_layers: int = 0
    """Number of the encoder's topmost layers to fine-tune, 0 for all; the layers below run once."""
    texts_per_step: int = 512
    """Texts that a fine-tuned encoder reads in each step; the others keep their last vector."""
    text_dim: int = 256
    """Dimensions that whitening keeps of text or image vectors."""
    word_features: Literal["auto", "on", "off"] = "auto"
    """Learn a vector for each word and pair of neighbouring words; auto: on if an encoder is used and words repeat."""
    word_dropout: float = 0.0
    """Probability of leaving out a word or category in a training step."""
    categories: tuple[str, ...] = ()
    """Catalogue columns to read as categories, one or several values separated by |."""
    category_paths: str | None = None
    """Separator of categories that are paths, such as >; each beginning of a path is then a category of its own too."""
    numbers: tuple[str, ...] = ()
    """Catalogue columns to read as numbers."""
    images: str | None = None
    """Catalogue column that names image files."""
    image_encoder: str | None = None
    """The sentence-transformers model that reads the images, such as clip-ViT-B-32."""
    use_ids: bool = True
    """Use a learned embedding per item id in addition to content features."""
    id_dropout: float = 0.1
    """Probability of dropping an item's id in a training step, so that content learns to stand alone."""
    dim: int = 128
    """Width of user and item vectors, of each member in an ensemble."""
    ensemble_size: int = 1
    """Number of ensemble members; they see the same batches and their scores are averaged; cost and width grow with it."""
    blocks: int = 2
    """Number of transformer blocks in the user tower."""
    heads: int = 2
    """Attention heads per block; they divide dim."""
    max_length: int = 100
    """Longest history that the user tower reads, in items; time per epoch grows with it."""
    dropout: float = 0.2
    """Dropout on the inputs and branches of the user tower."""
    attention_dropout: float = 0.0
    """Dropout on the attention weights of the user tower."""
    stochastic_depth: float = 0.0
    """Probability of skipping the last block's branches in a training step; earlier blocks are skipped less often."""
    positions: Literal["learned", "rotary", "relative", "none", "auto"] = "auto"
    """How the user tower encodes order; auto: learned, or none if the log has no order."""
    filter_length: int = 0
    """Blend each event with those before it by a learned filter over this many events, 16 for instance; 0: no filter."""
    time_bias: Literal["none", "history", "request"] = "none"
    """Attend by elapsed time: between past events (history), or up to the time of the request (request)."""
    event_heads: bool = False
    """Learn the next event of each type separately, so that recommendations can ask for one type (needs event types)."""
    score: Literal["cosine", "dot"] = "cosine"
    """How vectors are compared: cosine over a temperature, or inner product."""
    temperature: float = 0.07
    """Initial temperature of the softmax (cosine only)."""
    learn_temperature: bool = True
    """Learn the softmax temperature; with --no-learn-temperature it stays fixed."""
    transitions: Literal["auto", "ridge", "counts", "none"] = "auto"
    """Add a transition memory, learned in closed form, to the score; auto: ridge or counts, as validation decides."""
    transition_entries: int = 200
    """Most next items that the transition memory keeps for each item."""

    def __post_init__(self) -> None:
        for field in ("categories", "numbers"):
            if isinstance(getattr(self, field), str):
                raise ConfigError(f"{field} is a list of columns; write [{getattr(self, field)!r}]")
        settle(self)
        if self.fast:
            refuse_idle("model", changed(self))
            if self.transitions == "none":
                raise ConfigError(
                    "a fast model is the transition memory alone; leave out transitions='none' (--transitions)"
                )
            object.__setattr__(self, "encoder", None)
        for field in (
            "dim",
            "ensemble_size",
            "blocks",
            "heads",
            "max_length",
            "text_dim",
            "texts_per_step",
            "transition_entries",
        ):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, not {getattr(self, field)}")
        for field in ("dropout", "attention_dropout", "stochastic_depth", "id_dropout", "word_dropout"):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise ConfigError(f"{field} is a probability in [0, 1), not {getattr(self, field)}")
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} is not divisible by heads {self.heads}")
        for field in ("trainable_layers", "filter_length"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{field} must not be negative, but is {getattr(self, field)}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature}")
        if self.encoder is None and self.encoder_mode != "frozen":
            raise ConfigError(f"encoder_mode={self.encoder_mode!r} needs an encoder to train")
        if self.category_paths is not None and (not self.categories or not self.category_paths.strip()):
            raise ConfigError(
                f"category_paths={self.category_paths!r} is a separator such as '>' within categories; name their columns "
                "in categories (--categories), or leave it out"
            )
        if (self.images is None) != (self.image_encoder is None):
            raise ConfigError(
                f"images={self.images!r} and image_encoder={self.image_encoder!r} go together: a column with files, and a "
                "sentence-transformers model that reads them, such as clip-ViT-B-32"
            )
        content = self.encoder or self.word_features == "on" or self.categories or self.numbers or self.images
        if not content and not self.use_ids:
            raise ConfigError("use_ids=False without text or other content leaves nothing to distinguish items by")

    @property
    def wants_words(self) -> bool:
        """Whether word features are asked for; with ``"auto"`` the texts still decide."""
        return self.word_features == "on" or (self.word_features == "auto" and self.encoder is not None)

    def changed(self) -> str:
        """The options that are not the default, as they are written in Python."""
        plain = ModelConfig()
        return ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value != getattr(plain, name))

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values for JSON and TOML; ``ModelConfig(**options)`` makes the same again."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
