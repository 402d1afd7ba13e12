"""A text encoder that is trained along: LoRA or whole, its lowest layers frozen and run once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recsys.data.row_lists import Int64
from recsys.errors import ConfigError, EncoderError
from recsys.models.device import has_bf16
from recsys.models.whiten import Whitening
from recsys.progress import log

Mode = Literal["frozen", "lora", "full"]

_QUANTILE = 0.99
"""Texts longer than this share of all texts are cut."""


class TextTower(nn.Module):
    """Whitened text vectors of items, with a gradient to the encoder.

    - Each distinct text of a step is encoded once, at most ``live`` of them per step: the others keep the vector that they
      were last given. With learning rates as they are used for encoders, vectors move slowly, so old ones are near
      (the memory bank of arXiv 1805.01978, used here for both towers).
    - Texts run in chunks of similar length, and each chunk's activations are made again in the backward pass, so that
      memory does not grow with the number of texts (gradient caching, arXiv 2101.06983, by activation checkpointing).
    - The layers below the trained ones are run once for all texts; their output is kept in bfloat16.

    Parameters
    ----------
    folder : Path
        An encoder in Hugging Face or sentence-transformers layout. Prompt, pooling and normalisation are its own.
    texts : list of (str or None)
        One per item row.
    whitening : Whitening
        Applied to what the encoder gives; stays as it was fitted to the untrained encoder.
    mode : {"lora", "full"}
    layers : int
        How many of the topmost layers are trained; 0: all, and the word embeddings with them.
    rank : int
        Of LoRA's updates.
    live : int
        Texts encoded per step.
    chunk_tokens : int
        Padded tokens per chunk.

    Raises
    ------
    EncoderError
        The encoder cannot be loaded, or has no stack of layers to divide.
    ConfigError
        More layers are asked for than there are.
    """

    mean: Tensor
    matrix: Tensor
    rows: Tensor
    ids: Tensor
    starts: Tensor
    place: Tensor

    def __init__(
        self,
        folder: Path,
        texts: list[str | None],
        whitening: Whitening,
        *,
        mode: Literal["lora", "full"],
        layers: int = 0,
        rank: int = 16,
        live: int = 512,
        chunk_tokens: int = 8192,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        try:
            self.model: Any = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError) as error:
            raise EncoderError(f"the encoder in {folder} cannot be loaded: {error}") from error
        self.mode, self.live, self.chunk_tokens = mode, live, chunk_tokens
        self.register_buffer("mean", torch.from_numpy(whitening.mean))
        self.register_buffer("matrix", torch.from_numpy(whitening.matrix))
        self._tokenise(texts)
        self._lower: list[nn.Module] = []  # a plain list: frozen layers are no part of the state
        self._kept: Tensor | None = None
        for p in self.model.parameters():
            p.requires_grad_(mode == "full")
        if layers:
            self._freeze_below(layers, device)
        if mode == "lora":
            from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415

            config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
            inject_adapter_in_model(config, self._backbone())
        _drop_poolers(self._backbone())
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        log(f"text encoder: {mode}, {trained:,} parameters trained, texts cut at {self.longest} tokens")

    def _backbone(self) -> nn.Module:
        backbone: nn.Module = self.model[0].model
        return backbone

    def _tokenise(self, texts: list[str | None]) -> None:
        """Token ids of all texts, flat; cut at the length that 99 of 100 texts stay below."""
        known = np.flatnonzero([text is not None for text in texts])
        tokenizer = self.model[0].tokenizer
        prompt = self.model.prompts.get(self.model.default_prompt_name) or ""
        most = int(self.model.max_seq_length or tokenizer.model_max_length)
        read = [prompt + text for text in texts if text is not None]
        found = tokenizer(read, truncation=True, max_length=most)["input_ids"]
        lengths = np.array([len(ids) for ids in found])
        self.longest = truncation_length(lengths, most)
        if (lengths > self.longest).any():
            found = tokenizer(read, truncation=True, max_length=self.longest)["input_ids"]
            lengths = np.array([len(ids) for ids in found])
        self.register_buffer("rows", torch.from_numpy(known), persistent=False)
        self.register_buffer("ids", torch.tensor([one for ids in found for one in ids]), persistent=False)
        self.register_buffer("starts", torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])), persistent=False)
        place = np.full(len(texts), -1, dtype=np.int64)
        place[known] = np.arange(len(known))
        self.register_buffer("place", torch.from_numpy(place), persistent=False)

    def _freeze_below(self, layers: int, device: str) -> None:
        owner, name = find_layers(self._backbone())
        stack = getattr(owner, name)
        if layers > len(stack):
            raise ConfigError(f"trained_layers is {layers}, but the encoder has {len(stack)} layers")
        for p in self.model.parameters():
            p.requires_grad_(False)
        for layer in stack[len(stack) - layers :]:
            layer.requires_grad_(self.mode == "full")
        frozen = len(stack) - layers
        if frozen == 0:
            return
        self._lower = list(stack[:frozen])
        kept: list[Tensor] = []
        handle = stack[frozen - 1].register_forward_hook(lambda _m, _i, out: kept.append(_hidden(out)))
        flat: Tensor | None = None
        self.model.eval()
        with torch.no_grad(), self._autocast():
            for chosen in self._chunks(torch.arange(len(self.rows))):
                kept.clear()
                self._encode(chosen)
                _, mask, spots = self._padded(chosen)
                values = kept[0][mask.bool()].to(torch.bfloat16)
                if flat is None:
                    flat = torch.empty(len(self.ids), values.shape[1], dtype=torch.bfloat16, device=values.device)
                flat[spots[mask.bool()]] = values
        handle.remove()
        self._kept = flat
        setattr(owner, name, nn.ModuleList([_Remembered(self), *stack[frozen:]]))

    def _autocast(self) -> torch.autocast:
        kind = self.mean.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=has_bf16(str(self.mean.device)))

    def _padded(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, attention mask and places in the flat tokens; each int64 (n, T)."""
        starts, ends = self.starts[chosen], self.starts[chosen + 1]
        width = int((ends - starts).max())
        spots = starts[:, None] + torch.arange(width, device=starts.device)
        mask = (spots < ends[:, None]).long()
        spots = torch.where(mask.bool(), spots, starts[:, None])
        return self.ids[spots] * mask, mask, spots

    def _chunks(self, places: Tensor) -> Iterator[Tensor]:
        """Texts by length, as many at once as fit into the token budget."""
        lengths = (self.starts[places + 1] - self.starts[places]).cpu()
        order = torch.argsort(lengths, descending=True, stable=True)
        begin = 0
        while begin < len(order):
            count = max(1, self.chunk_tokens // int(lengths[order[begin]]))
            yield places[order[begin : begin + count].to(places.device)]
            begin += count

    def _encode(self, chosen: Tensor) -> Tensor:
        """Sentence vectors float (n, E) of texts by place."""
        ids, mask, self._spots = self._padded(chosen)
        features = {"input_ids": ids, "attention_mask": mask}
        out: Tensor = self.model(features)["sentence_embedding"]
        return out

    def _vectors(self, chosen: Tensor) -> Tensor:
        with self._autocast():
            vectors = self._encode(chosen)
        return (vectors.float() - self.mean) @ self.matrix

    def readable(self) -> Tensor:
        """int64 (n,): the item rows that have a text."""
        return self.rows

    def choose(self, rows: Tensor | None) -> Tensor:
        """Places among item rows (None: all) of at most ``live`` texts to be encoded in this step, drawn at random."""
        places = self.place if rows is None else self.place[rows]
        known = torch.nonzero(places >= 0).flatten()
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
        places = self.place[rows]
        out = torch.zeros(len(rows), self.matrix.shape[1], device=rows.device)
        back = torch.full((len(self.rows),), -1, dtype=torch.int64, device=rows.device)
        back[places] = torch.arange(len(rows), device=rows.device)
        for chosen in self._chunks(places):
            out = out.index_put((back[chosen],), checkpoint(self._vectors, chosen, use_reentrant=False))
        return out

    @torch.no_grad()
    def all_vectors(self) -> Tensor:
        """float32 (n, T): whitened vectors of all texts, in the order of :meth:`readable`."""
        training = self.model.training
        self.model.eval()
        out = torch.empty(len(self.rows), self.matrix.shape[1], device=self.mean.device)
        for chosen in self._chunks(torch.arange(len(self.rows), device=self.mean.device)):
            out[chosen] = self._vectors(chosen)
        self.model.train(training)
        return out

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """Write the encoder as it now is, whole and without adapters, in sentence-transformers layout."""
        model = copy.deepcopy(self.model)
        backbone = model[0].model
        if self.mode == "lora":
            _merge_adapters(backbone)
        if self._lower:
            owner, name = find_layers(backbone)
            setattr(owner, name, nn.ModuleList([*copy.deepcopy(self._lower), *getattr(owner, name)[1:]]))
        model.save(str(folder), create_model_card=False)


class _Remembered(nn.Module):
    """Stands for the frozen layers: gives what they gave for the texts that are being encoded."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self._tower = [tower]  # in a list, lest the tower become its own child

    def __deepcopy__(self, memo: dict[int, Any]) -> _Remembered:
        return self

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        tower = self._tower[0]
        assert tower._kept is not None  # noqa: S101 - made when the layers were cut
        return tower._kept[tower._spots].to(hidden.dtype)


def truncation_length(lengths: Int64, most: int) -> int:
    """Tokens at which texts are cut: what 99 of 100 stay below, rounded up to a multiple of 8, at most ``most``."""
    if len(lengths) == 0:
        return most
    return min(most, -(-int(np.quantile(lengths, _QUANTILE, method="higher")) // 8) * 8)


def find_layers(backbone: nn.Module) -> tuple[nn.Module, str]:
    """The module that owns the stack of transformer layers, and the stack's name in it.

    Raises
    ------
    EncoderError
        There is none.
    """
    best: tuple[int, nn.Module, str] | None = None
    for owner in backbone.modules():
        for name, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and name in ("layer", "layers", "block", "blocks", "h"):
                size = sum(p.numel() for p in child.parameters())
                if best is None or size > best[0]:
                    best = (size, owner, name)
    if best is None:
        raise EncoderError(f"{type(backbone).__name__} has no stack of layers; train it whole with trained_layers=0")
    return best[1], best[2]


def _hidden(out: Any) -> Tensor:
    hidden: Tensor = out[0] if isinstance(out, tuple) else out
    return hidden


def _drop_poolers(backbone: nn.Module) -> None:
    """BERT's pooler takes no part in mean pooling: without a gradient it would trip an optimiser's checks."""
    for name, p in backbone.named_parameters():
        if name.startswith("pooler."):
            p.requires_grad_(False)


def _merge_adapters(backbone: nn.Module) -> None:
    """Fold LoRA's updates into the layers that they belong to."""
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415

    for owner in list(backbone.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(owner, name, child.get_base_layer())
