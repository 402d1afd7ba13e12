"""Train an encoder on item texts, then on histories and the text that came next."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config.adapt import AdaptOptions
from recsys.core.progress import counting, log, warn
from recsys.core.ragged import Int64
from recsys.errors import ConfigError, EncoderError
from recsys.models.encoders.frozen_layers import divide
from recsys.models.encoders.load import first_line, load_encoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import same_vectors
from recsys.training.adaptation.losses import MaskedHead, contrastive_loss, mask_tokens
from recsys.training.adaptation.pairs import Pairs
from recsys.training.optimizer import warmup_cosine

_WARMUP, _DECAY, _MOST_GRADIENT = 0.1, 0.01, 1.0
_DEPTH = 10
"""What came next counts as found among so many nearest texts."""
_AT_ONCE = 64
_SAMPLE, _TOLERANCE = 16, 0.1
"""Texts by which a saved encoder is compared, and the largest difference of a vector, as a share of its length."""


@dataclass(frozen=True)
class Told:
    """What an adaptation came to.

    Attributes
    ----------
    texts : int
        Distinct texts of items.
    pairs : int
        Pairs of a history and the text that came next.
    judged : int
        Users who were in no step, and whose last next text was looked for among all of theirs.
    before, after : float or None
        How many of them found it among the 10 nearest, as a share; None without any.
    first_loss, last_loss : float or None
        Contrastive loss of texts in the first and the last tenth of the steps.
    """

    texts: int
    pairs: int
    judged: int
    before: float | None
    after: float | None
    first_loss: float | None
    last_loss: float | None


class Adapter:
    """An encoder that is being trained.

    Parameters
    ----------
    folder : Path
        In Hugging Face or sentence-transformers layout.
    options : AdaptOptions
    device : str

    Raises
    ------
    EncoderError
        It cannot be loaded, is not a transformer, or has no mask although words are to be masked.
    ConfigError
        More layers are asked for than there are.
    """

    def __init__(self, folder: Path, options: AdaptOptions, device: str) -> None:
        self.model: Any = load_encoder(folder, device).float()
        self.options, self.device = options, device
        backbone = getattr(self.model[0], "auto_model", None)
        if not isinstance(backbone, nn.Module):
            raise EncoderError(f"the encoder in {folder} is not a transformer; it cannot be adapted, and serves as it is")
        self.prompt: str = self.model.prompts["document"] or ""
        self.limit = self.model.max_seq_length
        self.head = self._masked_head(backbone, folder) if options.masked and options.text_steps else None
        self.model.requires_grad_(not options.layers)
        if options.layers:
            try:
                stack, below = divide(backbone, options.layers)
            except ConfigError as error:
                raise ConfigError(str(error).replace("trainable_layers", "layers (--layers)")) from error
            stack[below:].requires_grad_(True)
        for name, p in backbone.named_parameters():
            if name.startswith("pooler."):  # BERT's, which no pooling of sentence-transformers reads
                p.requires_grad_(False)

    def _masked_head(self, backbone: Any, folder: Path) -> MaskedHead:
        words, tokenizer = backbone.get_input_embeddings(), self.model.tokenizer
        if getattr(tokenizer, "mask_token_id", None) is None or not isinstance(words, nn.Embedding):
            raise EncoderError(
                f"the encoder in {folder} has no token that masks words; leave masked language modelling out (--masked 0)"
            )
        self.special = torch.tensor(tokenizer.all_special_ids, device=self.device)
        return MaskedHead(words, int(self.model[0].get_embedding_dimension())).to(self.device)

    def read(self, texts: list[str]) -> dict[str, Any]:
        """Tokens of texts, cut where the adaptation cuts them."""
        most = self.options.max_tokens
        self.model.max_seq_length = most if self.limit is None else min(most, self.limit)
        try:
            found = self.model.preprocess(texts, prompt=self.prompt)
        except (TypeError, ValueError) as error:
            raise EncoderError(f"the encoder fails over texts: {first_line(error)}") from error
        finally:
            self.model.max_seq_length = self.limit
        return {name: one.to(self.device) if isinstance(one, Tensor) else one for name, one in found.items()}

    def vectors(self, texts: list[str]) -> Tensor:
        """float32 (n, E)."""
        out: Tensor = self.model(self.read(texts))["sentence_embedding"]
        return out

    def masked_loss(self, texts: list[str]) -> Tensor:
        """Of guessing words that are masked."""
        assert self.head is not None  # noqa: S101 - asked by the caller
        features = self.read(texts)
        ids, labels = mask_tokens(
            features["input_ids"], self.special, self.model.tokenizer.mask_token_id, self.head.bias.shape[0]
        )
        hidden = self.model[0](features | {"input_ids": ids})["token_embeddings"]
        return self.head(hidden, labels)  # type: ignore[no-any-return]

    def text_loss(self, texts: list[str]) -> tuple[Tensor, float]:
        """The loss of a batch of distinct texts, and its contrastive part as a number."""
        both = self.vectors([*texts, *texts])  # each under a dropout of its own
        apart = torch.zeros(len(texts), len(texts), dtype=torch.bool, device=both.device)
        loss = contrastive_loss(both[: len(texts)], both[len(texts) :], apart, self.options.scale)
        said = float(loss.detach())
        if self.head is not None:
            loss = loss + self.options.masked * self.masked_loss(texts)
        return loss, said

    def pair_loss(self, pairs: Pairs, targets: Int64) -> tuple[Tensor, float]:
        """The same of pairs."""
        queries = self.vectors(pairs.history_texts(targets, self.options.history))
        alike = torch.from_numpy(pairs.alike(targets)).to(queries.device)
        loss = contrastive_loss(queries, self.vectors(pairs.next_texts(targets)), alike, self.options.scale)
        return loss, float(loss.detach())

    @torch.no_grad()
    def found(self, pairs: Pairs) -> float | None:
        """How many held-out users find what came next among the ten nearest of their next texts, as a share."""
        targets = pairs.held_out
        if len(targets) < 2 * _DEPTH:
            return None
        self.model.eval()
        both = [pairs.history_texts(targets, self.options.history), pairs.next_texts(targets)]
        queries, documents = (F.normalize(torch.cat([self.vectors(some) for some in _some(one)]), dim=1) for one in both)
        scores = queries @ documents.T
        alike = torch.from_numpy(pairs.alike(targets)).to(scores.device)
        own = scores.diagonal()[:, None]
        nearer = ((scores >= own) & ~alike).sum(dim=1)
        return float((nearer < _DEPTH).float().mean())

    def train(self, steps: int, loss_of: Callable[[int], tuple[Tensor, float]], what: str) -> list[float]:
        """Take steps of AdamW; gives what ``loss_of`` tells at each.

        Raises
        ------
        EncoderError
            A loss is not finite.
        """
        heads = [] if self.head is None else list(self.head.parameters())
        weights = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": weights, "peak": self.options.rate}, {"params": heads, "peak": 10 * self.options.rate}]
        made = torch.optim.AdamW([one for one in groups if one["params"]], lr=self.options.rate, weight_decay=_DECAY)
        factor, told = warmup_cosine(steps, _WARMUP), list[float]()
        self.model.train()
        with counting(steps, what=what, unit="step") as advance:
            for step in range(steps):
                for group in made.param_groups:
                    group["lr"] = group["peak"] * factor(step)
                loss, said = loss_of(step)
                if not bool(torch.isfinite(loss)):
                    raise EncoderError(f"{what}: the loss of step {step + 1:,} is not finite; lower the rate (--rate)")
                made.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_([*weights, *heads], _MOST_GRADIENT)
                made.step()
                told.append(said)
                advance(1)
        self.model.eval()
        return told

    def save(self, folder: Path, sample: list[str]) -> None:
        """Write the encoder, and prove that it gives the same vectors when it is loaded again, and several.

        Raises
        ------
        EncoderError
            It does not.
        """
        now = np.asarray(self.model.encode(sample, prompt=self.prompt, show_progress_bar=False), dtype=np.float32)
        self.model.save(str(folder), create_model_card=False)
        if not np.isfinite(now).all() or float(np.ptp(now, axis=0).max()) == 0.0:
            raise EncoderError("the adapted encoder gives all texts one vector, or none that is finite; lower the rate")
        if not same_vectors(TextEncoder(folder, self.device).encode(sample), now, _TOLERANCE).all():
            raise EncoderError(
                "the adapted encoder gives other vectors once it is saved and loaded again; use it unadapted"
            )

    def tell_dropout(self) -> None:
        """Say so where an encoder has none: its two readings of a text are then the same."""
        if not any(isinstance(one, nn.Dropout) and one.p > 0 for one in self.model.modules()):
            warn("the encoder has no dropout, so that texts are only driven apart; leave texts out (--text-steps 0)")


def run(folder: Path, target: Path, texts: list[str], pairs: Pairs | None, options: AdaptOptions, device: str) -> Told:
    """Adapt the encoder of one folder and save it in another.

    Parameters
    ----------
    folder, target : Path
    texts : list of str
        Distinct.
    pairs : Pairs, optional
    options : AdaptOptions
    device : str

    Raises
    ------
    EncoderError, ConfigError
        As :class:`Adapter` and :meth:`Adapter.train`.
    """
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(options.seed)
        adapter = Adapter(folder, options, device)
        before = None if pairs is None else adapter.found(pairs)
        losses = list[float]()
        if options.text_steps:
            adapter.tell_dropout()
            batches = _batches(np.arange(len(texts)), options.batch, options.seed)
            losses = adapter.train(
                options.text_steps, lambda _: adapter.text_loss([texts[at] for at in next(batches)]), "item texts"
            )
        if pairs is not None and options.history_steps:
            adapter.head = None
            drawn = _batches(pairs.targets, options.batch, options.seed)
            adapter.train(options.history_steps, lambda _: adapter.pair_loss(pairs, next(drawn)), "histories")
        after = None if pairs is None else adapter.found(pairs)
        adapter.save(target, texts[:_SAMPLE])
    tenth = max(1, len(losses) // 10)
    ends = (float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))) if losses else (None, None)
    count, judged = (0, 0) if pairs is None else (len(pairs.targets), len(pairs.held_out))
    told = Told(len(texts), count, judged, before, after, *ends)
    if after is not None and before is not None:
        log(f"what came next is among the {_DEPTH} nearest of {judged:,} texts: {before:.1%} before, {after:.1%} now")
    return told


def check_steps(options: AdaptOptions, *, has_log: bool) -> None:
    """Refuse options by which nothing would be trained.

    Raises
    ------
    ConfigError
    """
    if not options.text_steps and not (has_log and options.history_steps):
        more = "" if has_log else ", and there is no log (--log)"
        raise ConfigError(f"nothing is to be trained: text_steps is 0{more or ', and history_steps is too'}")


def _batches(places: Int64, size: int, seed: int) -> Iterator[Int64]:
    """Batches without end: all places in an order drawn at random, then in another."""
    size = min(size, len(places))
    for number in itertools.count():
        order = np.random.default_rng([seed, number]).permutation(len(places))
        for begin in range(0, len(order) - size + 1, size):
            yield places[order[begin : begin + size]]


def _some(texts: list[str]) -> list[list[str]]:
    return [texts[begin : begin + _AT_ONCE] for begin in range(0, len(texts), _AT_ONCE)]
