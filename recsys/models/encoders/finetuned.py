"""A text encoder that is trained along: LoRA or whole, its lowest layers frozen and run once."""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recsys.core.destination import process_number
from recsys.core.device import has_bf16
from recsys.core.progress import log
from recsys.core.ragged import Int64
from recsys.errors import DependencyError, EncoderError
from recsys.models.encoders import frozen_layers
from recsys.models.encoders.frozen_layers import Memory, divide, hidden_of, put_back, replace_lowest
from recsys.models.encoders.load import count_cut, load_encoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import same_vectors
from recsys.models.encoders.whitening import Whitening
from recsys.models.networks.content import LiveText

_QUANTILE = 0.99
"""Texts longer than this share of all texts are cut."""
_CHUNK, _CHUNK_CPU = 8192, 2048
_COMPARED = 8
"""Texts on which the encoder taken apart is compared with itself whole."""
_TOLERANCE = 0.1
"""Largest difference between the two, as a share of the vectors' length; bfloat16 makes about a hundredth."""


class TextTower(LiveText):
    """Whitened text vectors of items, with a gradient to the encoder.

    - At most ``live`` texts are encoded per step, each distinct one once: the others keep the vector that they were last
      given. With learning rates as they are used for encoders, vectors move slowly, so old ones are near (the memory bank
      of arXiv 1805.01978, used here for both towers).
    - Texts run in chunks of similar length, and each chunk's activations are made again in the backward pass, so that
      memory does not grow with the number of texts (gradient caching, arXiv 2101.06983, by activation checkpointing).
    - The layers below the trained ones are run once for all texts; their output is kept in bfloat16.
    - Matrix products are in bfloat16 where the processor has it, as they are for a frozen encoder; weights are float32.

    Parameters
    ----------
    folder : Path
        An encoder in Hugging Face or sentence-transformers layout. Prompt, pooling and normalisation are its own.
    texts : Series of String (n_items,)
        By item row, null where an item has none.
    whitening : Whitening
        Applied to what the encoder gives; stays as it was fitted to the untrained encoder.
    mode : {"lora", "full"}
    layers : int
        How many of the topmost layers are trained; 0: all, and in ``"full"`` the word embeddings with them.
    rank : int
        Of LoRA's updates (arXiv 2106.09685), which are on all linear maps of the trained layers.
    live : int
        Texts encoded per step.
    chunk_tokens : int, optional
        Padded tokens per chunk; by default few on a CPU, whose caches then hold a layer's activations.
    device : str
        Where it is trained.

    Attributes
    ----------
    rows : int64 (n,)
        The item rows that have a text, ascending.
    longest : int
        Tokens at which texts are cut; the saved encoder too, where some are.
    cut : int
        How many distinct texts are longer.

    Raises
    ------
    EncoderError
        The encoder cannot be loaded, is not a transformer, or cannot be taken apart.
    ConfigError
        More layers are asked for than there are.
    DependencyError
        LoRA without the package peft.
    """

    mean: Tensor
    matrix: Tensor
    rows: Tensor
    place: Tensor
    ids: Tensor
    starts: Tensor

    def __init__(
        self,
        folder: Path,
        texts: pl.Series,
        whitening: Whitening,
        *,
        mode: Literal["lora", "full"],
        layers: int = 0,
        rank: int = 16,
        live: int = 512,
        chunk_tokens: int | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.model: Any = load_encoder(folder, device).float()
        self.mode, self.live = mode, live
        self.chunk_tokens = chunk_tokens or (_CHUNK_CPU if device == "cpu" else _CHUNK)
        self._memory: Memory | None = None
        self._hold("mean", torch.from_numpy(whitening.mean))
        self._hold("matrix", torch.from_numpy(whitening.matrix))
        if not isinstance(getattr(self.model[0], "auto_model", None), nn.Module):
            raise EncoderError(f"the encoder in {folder} is not a transformer; use it with encoder_mode='frozen'")
        distinct = self._read(texts)
        self.to(device)
        some = self._uncut()
        sample = distinct.gather(some.cpu().numpy()).to_list()
        whole = self.model.encode(
            sample, prompt=self.prompt, task="document", convert_to_tensor=True, show_progress_bar=False
        )
        self._choose_weights(layers, rank)
        self._compare(folder, some, whole.clone())
        self._prove_saving(folder, sample, some)
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        log(f"text encoder: {mode}, {trained:,} parameters trained")
        if self.cut:
            log(
                f"text encoder: {self.cut:,} of {len(distinct):,} texts are longer than {self.longest} tokens, and are cut "
                "there, in training and from then on"
            )

    def _hold(self, name: str, value: Tensor) -> None:
        """Keep a tensor that moves with the tower and is not part of its state."""
        self.register_buffer(name, value, persistent=False)

    def _read(self, texts: pl.Series) -> pl.Series:
        """Token ids of all distinct texts, flat, and cut where 99 of 100 have ended; gives the distinct texts."""
        distinct = texts.drop_nulls().unique(maintain_order=True)
        number = distinct.alias("text").to_frame().with_row_index("number")
        place = texts.alias("text").to_frame().join(number, on="text", how="left", maintain_order="left")["number"]
        self._hold("place", torch.from_numpy(place.cast(pl.Int64).fill_null(-1).to_numpy().copy()))
        self._hold("rows", torch.nonzero(self.place >= 0).flatten())
        self.prompt: str = self.model.prompts["document"] or ""
        self.prompt_tokens = (
            self.model.preprocess([distinct[0]], prompt=self.prompt).get("prompt_length") if len(distinct) else None
        )
        read = [self.prompt + text for text in distinct]
        most = int(min(self.model.max_seq_length or 10**6, 10**6))
        tokens = self._tokens(read, most)
        self.longest = truncation_length(tokens.list.len().cast(pl.Int64).to_numpy(), most)
        self.cut = count_cut(self.model, read, self.longest)
        tokens = self._tokens(read, self.longest)
        self._hold("ids", torch.from_numpy(tokens.explode(empty_as_null=False).to_numpy().copy()))
        lengths = tokens.list.len().cast(pl.Int64).to_numpy()
        self._hold("starts", torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])))
        return distinct

    def _tokens(self, texts: list[str], most: int) -> pl.Series:
        found = self.model.tokenizer(texts, truncation=True, max_length=most)["input_ids"]
        return pl.Series(found, dtype=pl.List(pl.Int64))

    def _choose_weights(self, layers: int, rank: int) -> None:
        """Freeze what is not trained, and give LoRA its adapters."""
        backbone = self.model[0].auto_model
        self.model.requires_grad_(self.mode == "full" and not layers)
        if layers:
            stack, below = divide(backbone, layers)
            stack[below:].requires_grad_(self.mode == "full")
            if below:
                self._memory = self._remembered(stack[below - 1])
                replace_lowest(stack, below, self._memory)
        if self.mode == "lora":
            _add_adapters(backbone, rank)
        for name, p in backbone.named_parameters():
            if name.startswith("pooler."):  # BERT's, which no pooling of sentence-transformers reads
                p.requires_grad_(False)

    @torch.no_grad()
    def _remembered(self, layer: nn.Module) -> Memory:
        """Run all texts and keep what a layer gives."""
        given: list[Any] = []
        memory: Memory | None = None
        handle = layer.register_forward_hook(lambda _module, _inputs, out: given.append(out))
        for places in self._chunks(torch.arange(len(self.starts) - 1, device=self.ids.device)):
            with self._autocast():
                self._encode(places)
            out, (_, mask, spots) = given.pop(), self._padded(places)
            hidden = hidden_of(out)
            if memory is None:
                values = torch.empty(len(self.ids), hidden.shape[-1], dtype=frozen_layers.STORED, device=hidden.device)
                memory = Memory(values, spots, as_tuple=isinstance(out, tuple))
            memory.values[spots[mask.bool()]] = hidden[mask.bool()].to(frozen_layers.STORED)
        handle.remove()
        assert memory is not None  # noqa: S101 - there is at least one text
        return memory

    def _compare(self, folder: Path, some: Tensor, whole: Tensor) -> None:
        """Refuse an encoder that gives something else than by itself, now that it is read and divided by us."""
        remedy = "use trainable_layers=0, all of them, or encoder_mode='frozen'"
        try:
            with torch.no_grad(), self._autocast():
                apart = self._encode(some).float()
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise EncoderError(f"the layers of the encoder in {folder} cannot be parted ({error}); {remedy}") from error
        near = apart.shape == whole.shape and (apart - whole).norm(dim=1) <= _TOLERANCE * whole.norm(dim=1) + 1e-6
        if not bool(torch.as_tensor(near).all()):
            raise EncoderError(f"the encoder in {folder} does more than read tokens layer by layer; {remedy}")

    def _prove_saving(self, folder: Path, sample: list[str], places: Tensor) -> None:
        """Refuse, before training, an encoder that gives other vectors once it is saved and loaded again.

        The first of several processes proves it for all: in the others ``save_pretrained`` writes no weights.
        """
        if process_number():
            return
        with torch.no_grad(), self._autocast():
            now = self._encode(places).float().cpu().numpy()
        with tempfile.TemporaryDirectory(prefix="recsys-encoder-") as temporary:
            self.save(Path(temporary) / "encoder")
            again = TextEncoder(Path(temporary) / "encoder").encode(sample)
        if not same_vectors(again, now, _TOLERANCE).all():
            raise EncoderError(
                f"the encoder in {folder} gives other vectors once it is saved and loaded again; use encoder_mode='frozen'"
            )

    def _uncut(self) -> Tensor:
        """Some texts that are not cut, by place."""
        lengths = self.starts.diff()
        return torch.argsort(lengths, stable=True)[: max(1, int((lengths < self.longest).sum()))][-_COMPARED:]

    def _autocast(self) -> torch.autocast:
        device = self.mean.device
        return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(str(device)))

    def _padded(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, attention mask and spots in the flat tokens of texts by place; each int64 (n, T)."""
        starts, ends = self.starts[places], self.starts[places + 1]
        width = max(1, int((ends - starts).max()))
        spots = starts[:, None] + torch.arange(width, device=starts.device)
        mask = spots < ends[:, None]
        spots = torch.where(mask, spots, 0)
        return torch.where(mask, self.ids[spots], self.model.tokenizer.pad_token_id or 0), mask.long(), spots

    def _chunks(self, places: Tensor) -> Iterator[Tensor]:
        """Texts by length, the longest first, as many at once as fit into the token budget."""
        lengths, order = (self.starts[places + 1] - self.starts[places]).sort(descending=True, stable=True)
        widths, begin = lengths.tolist(), 0
        while begin < len(widths):
            end = begin + max(1, self.chunk_tokens // max(1, widths[begin]))
            yield places[order[begin:end]]
            begin = end

    def _encode(self, places: Tensor) -> Tensor:
        """Sentence vectors, float (n, E), of texts by place."""
        ids, mask, spots = self._padded(places)
        if self._memory is not None:
            self._memory.spots = spots
        features = {"input_ids": ids, "attention_mask": mask}
        if self.prompt_tokens is not None:  # some poolings leave the prompt out
            features["prompt_length"] = self.prompt_tokens
        out: Tensor = self.model(features)["sentence_embedding"]
        return out

    def _vectors(self, places: Tensor) -> Tensor:
        with self._autocast():
            vectors = self._encode(places)
        with torch.autocast(self.mean.device.type, enabled=False):  # whitening magnifies small differences
            return (vectors.float() - self.mean) @ self.matrix

    def choose(self, rows: Tensor | None) -> Tensor:
        """Which of the item rows (None: of all) are encoded in this step: at most ``live``, drawn at random.

        Parameters
        ----------
        rows : int64 (M,) or None

        Returns
        -------
        int64 (at most live,)
            Indices into ``rows``; all of them have a text.
        """
        known = torch.nonzero((self.place if rows is None else self.place[rows]) >= 0).flatten()
        if len(known) > self.live:
            known = known[torch.randperm(len(known))[: self.live].to(known.device)]
        return known

    def forward(self, rows: Tensor) -> Tensor:
        """Whitened vectors, with a gradient.

        Parameters
        ----------
        rows : int64 (M,)
            Item rows with a text.

        Returns
        -------
        float32 (M, T)
        """
        texts, inverse = torch.unique(self.place[rows], return_inverse=True)
        if len(texts) == 0:
            return self.matrix.new_empty(0, self.matrix.shape[1])
        order, parts = [], []
        for places in self._chunks(texts):
            order.append(places)
            parts.append(checkpoint(self._vectors, places, use_reentrant=False))
        vectors = torch.cat(parts)[torch.argsort(torch.cat(order))]  # the texts are ascending
        return vectors[inverse]

    @torch.no_grad()
    def all_vectors(self) -> Tensor:
        """float32 (n, T): whitened vectors of all items with a text, in the order of ``rows``."""
        training = self.model.training
        self.model.eval()
        texts = torch.arange(len(self.starts) - 1, device=self.mean.device)
        out = torch.empty(len(texts), self.matrix.shape[1], device=self.mean.device)
        for places in self._chunks(texts):
            out[places] = self._vectors(places)
        self.model.train(training)
        return out[self.place[self.rows]]

    def save(self, folder: Path) -> None:
        """Write the encoder as it now is, whole and without adapters, in sentence-transformers layout."""
        model = copy.deepcopy(self.model)
        backbone = model[0].auto_model
        if self.mode == "lora":
            _merge_adapters(backbone)
        put_back(backbone)
        if self.cut:
            model.max_seq_length = self.longest  # a text gives the vector that it had in training
        model.save(str(folder), create_model_card=False)


def truncation_length(lengths: Int64, most: int) -> int:
    """Tokens at which texts are cut: what 99 of 100 do not exceed, rounded up to a multiple of 8, at most ``most``."""
    if len(lengths) == 0:
        return most
    return min(most, -(-int(np.quantile(lengths, _QUANTILE, method="inverted_cdf")) // 8) * 8)


def _add_adapters(backbone: nn.Module, rank: int) -> None:
    if importlib.util.find_spec("peft") is None:
        raise DependencyError("encoder_mode='lora' needs the package peft: pip install peft")
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"), backbone)


@torch.no_grad()
def _merge_adapters(backbone: nn.Module) -> None:
    """Fold LoRA's updates into the layers that they belong to."""
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415

    for owner in list(backbone.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(owner, name, child.get_base_layer())
