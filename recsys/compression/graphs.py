"""Both towers and the text encoder as modules that can be written as ONNX: plain tensors in, what is compared out."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.encoders.whitening import Whitening
from recsys.models.networks.context import Context, request_times
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import BAG, ID, IMAGE, NUMBERS, TEXT, ItemTower
from recsys.models.networks.positions import TIME_BUCKETS, TimeBuckets
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower


class _Norm(nn.Module):
    """RMS norm in operations that every opset has."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps

    def forward(self, x: Tensor) -> Tensor:  # (..., D)
        normed: Tensor = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight
        return normed


class _Buckets(nn.Module):
    """Time buckets by a logarithm, put right by the edges, where the original searches among them."""

    edges: Tensor

    def __init__(self, buckets: TimeBuckets) -> None:
        super().__init__()
        self.register_buffer("edges", torch.cat([torch.zeros(1, dtype=torch.int64), buckets.edges]))  # lowest of each

    def forward(self, at: Tensor, times: Tensor) -> Tensor:  # (B, Q), (B, T) -> (B, Q, T)
        apart = (at[:, :, None] - times[:, None, :]).abs()
        near = (apart.clamp(min=1).float().log() / 0.301).long().clamp(0, TIME_BUCKETS - 1)
        near = torch.where(apart < self.edges[near], near - 1, near)
        above = (near + 1).clamp(max=TIME_BUCKETS - 1)
        return torch.where(apart >= self.edges[above], above, near)


def portable(users: UserTower | UserEnsemble) -> UserTower | UserEnsemble:
    """A copy of the user tower, on the host, of operations that ONNX has."""
    copied = copy.deepcopy(users).cpu().eval().requires_grad_(False)
    for owner in list(copied.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.RMSNorm):
                setattr(owner, name, _Norm(child))
            elif isinstance(child, TimeBuckets):
                setattr(owner, name, _Buckets(child))
    return copied


def _towers(users: UserTower | UserEnsemble) -> list[Any]:
    return list(users.towers) if isinstance(users, UserEnsemble) else [users]


class _Users(nn.Module):
    """What the two graphs of the user tower share.

    Attributes
    ----------
    inputs : list of str
        Names of the inputs, in the order in which :meth:`forward` takes them.
    """

    def __init__(self, net: TwoTowerNetwork) -> None:
        super().__init__()
        self.users = portable(net.users)  # type: ignore[arg-type]
        self.cosine, self.members = net.cosine, net.users.ensemble_size
        first = _towers(self.users)[0]
        self.reads_times, self.reads_request = first.time_bias != "none", first.time_bias == "request"
        self.reads_events, self.n_features = first.event_types > 0, len(first.side.features)
        self.heads = first.event_heads is not None
        self.inputs: list[str] = []

    def _for_event(self, vectors: Tensor, target: Tensor) -> Tensor:
        """Vectors (B, D) for the event types ``target`` (B,); −1: any."""
        parts = vectors.chunk(self.members, -1)
        made = [tower.for_event(part, target.clamp(min=0)) for tower, part in zip(_towers(self.users), parts, strict=True)]
        return torch.where(target[:, None] >= 0, torch.cat(made, -1), vectors)

    def _compared(self, vectors: Tensor) -> Tensor:
        parts = vectors.chunk(self.members, -1)
        if self.cosine:
            parts = tuple(F.normalize(part, dim=-1) for part in parts)
        compared: Tensor = torch.cat(parts, -1) * self.members**-0.5
        return compared


class UserGraph(_Users):
    """Histories in, the vectors that are compared with item vectors out.

    Inputs, of which only those are there that the model reads: ``table`` float32 (n_items, D), item vectors as the user
    tower reads them; ``rows`` int64 (B, T), padded on the right with anything valid; ``lengths`` int64 (B,); ``times``
    int64 (B, T), seconds; ``request_time`` int64 (B,), seconds; ``events`` int64 (B, T); ``features`` int64 (B, F);
    ``target_event`` int64 (B,), −1 for any. Output: ``vector`` float32 (B, D).
    """

    def __init__(self, net: TwoTowerNetwork) -> None:
        super().__init__(net)
        reads = {
            "times": self.reads_times,
            "request_time": self.reads_request,
            "events": self.reads_events,
            "features": self.n_features > 0,
            "target_event": self.heads,
        }
        self.inputs = ["table", "rows", "lengths", *(name for name, one in reads.items() if one)]

    def forward(self, *given: Tensor) -> Tensor:
        """See the class."""
        one = dict(zip(self.inputs, given, strict=True))
        request = None
        if self.reads_request:
            request = request_times(one["times"], one["lengths"], one["request_time"])
        context = Context(one.get("times"), request, one.get("events"), one.get("features"))
        vectors = self.users.last(F.embedding(one["rows"], one["table"]), one["lengths"], context)
        if self.heads:
            vectors = self._for_event(vectors, one["target_event"])
        return self._compared(vectors)

    def example(self, table: Tensor, lengths: list[int], seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs at random, histories of these lengths."""
        draw = torch.Generator().manual_seed(seed)
        batch, width = len(lengths), max(lengths)
        times = torch.randint(0, 10**8, (batch, width), generator=draw).sort(1)[0]
        first = _towers(self.users)[0]
        made = {
            "table": table,
            "rows": torch.randint(0, len(table), (batch, width), generator=draw),
            "lengths": torch.tensor(lengths),
            "times": times,
            "request_time": times[:, -1] + 12_345,
            "events": torch.randint(0, max(1, first.event_types), (batch, width), generator=draw),
            "features": _codes(first, batch, draw),
            "target_event": torch.arange(batch) % (first.event_types + 1) - 1,
        }
        return tuple(made[name] for name in self.inputs)


class StepGraph(_Users):
    """The newest events in, with the keys and values of those before them; the vector after the last one out.

    Inputs, of which only those are there that the model reads: ``items`` float32 (lead + C, D), vectors of the items before
    the newest events that the filter reads (zeros before the first), then of the C newest; ``past`` float32 (S, H, t, d);
    ``times`` int64 (t + C,) of all events; ``request`` int64 (C,), when each of the newest is asked after; ``events`` int64
    (C,); ``features`` int64 (F,); ``target_event`` int64 (1,), −1 for any. Outputs: ``vector`` float32 (D,), and ``known``
    float32 (S, H, t + C, d).
    """

    def __init__(self, net: TwoTowerNetwork) -> None:
        super().__init__(net)
        reads = {
            "times": self.reads_times,
            "request": self.reads_times,
            "events": self.reads_events,
            "features": self.n_features > 0,
            "target_event": self.heads,
        }
        self.inputs = ["items", "past", *(name for name, one in reads.items() if one)]
        self.lead, first = self.users.lead, _towers(self.users)[0]
        self.past_shape = (2 * len(first.blocks) * self.members, first.blocks[0].heads, first.dim // first.blocks[0].heads)

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        one = dict(zip(self.inputs, given, strict=True))
        each = {name: one[name][None] for name in ("times", "request", "events", "features") if name in one}
        vectors, known = self.users.step(one["items"][None], one["past"][:, None], Context(**each))
        last = vectors[:, -1]
        if self.heads:
            last = self._for_event(last, one["target_event"])
        return self._compared(last)[0], known[:, 0]

    def example(self, dim: int, past: int, new: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs at random, of so many events before and so many new ones."""
        draw = torch.Generator().manual_seed(seed)
        first = _towers(self.users)[0]
        stacked, heads, width = self.past_shape
        times = torch.randint(0, 10**8, (past + new,), generator=draw).sort()[0]
        made = {
            "items": torch.randn(self.lead + new, dim, generator=draw),
            "past": torch.randn(stacked, heads, past, width, generator=draw),
            "times": times,
            "request": times[past:] + 12_345,
            "events": torch.randint(0, max(1, first.event_types), (new,), generator=draw),
            "features": _codes(first, 1, draw)[0],
            "target_event": torch.tensor([first.event_types - 1]),
        }
        return tuple(made[name] for name in self.inputs)


def _codes(tower: UserTower, batch: int, draw: torch.Generator) -> Tensor:
    """Codes of user features at random, int64 (batch, F)."""
    counts = [int(one.num_embeddings) for one in tower.side.features]  # type: ignore[arg-type]
    columns = [torch.randint(0, count, (batch,), generator=draw) for count in counts]
    return torch.stack(columns, 1) if columns else torch.zeros(batch, 0, dtype=torch.int64)


class ItemGraph(nn.Module):
    """What is known of items in, their vectors out, as they are compared and as the user tower reads them.

    Inputs, of which only those are there that the model reads: ``known`` bool (M,), whether an item had events in training;
    ``ids`` float32 (M, D), what was learned of each (zeros: nothing); ``text`` float32 (M, T), as the text encoder's graph
    gives it (zeros: none); ``images`` float32 (M, I) and ``numbers`` float32 (M, F), whitened and standardised; ``tokens``
    and ``owners`` int64 (K,) and ``weights`` float32 (K,), the words and categories of all M items and whose each is;
    ``scale`` float32 (M,), the factor of each item's group where groups have a floor of exposure.
    Outputs: ``compared`` and ``vector``, float32 (M, D), and ``parts`` float32 (M, P, D), the summands of the vector before
    the norm.

    Attributes
    ----------
    parts : list of str
        Names of the summands, in order.
    """

    def __init__(self, net: TwoTowerNetwork) -> None:
        super().__init__()
        tower: ItemTower = net.items
        self.norm = copy.deepcopy(tower.norm).cpu()
        self.members, self.cosine = net.users.ensemble_size, net.cosine
        self.cold_scale = float(net.cold_scale)
        self.width = int(self.norm.normalized_shape[0]) // self.members
        self.projections = nn.ModuleDict()
        for name, one in (("text", tower.project), ("images", tower.project_images), ("numbers", tower.project_numbers)):
            if one is not None:
                self.projections[name] = copy.deepcopy(one).cpu()
        self.bag = None if tower.bags is None else copy.deepcopy(tower.bags.vectors).cpu()
        self.has_ids = tower.id is not None
        self.inputs = ["known", *(["ids"] if self.has_ids else []), *self.projections]
        self.inputs += [] if self.bag is None else ["tokens", "owners", "weights"]
        self.inputs += [] if net.group_scale is None else ["scale"]
        names = {"text": TEXT, "images": IMAGE, "numbers": NUMBERS}
        self.parts = [*([ID] if self.has_ids else []), *(names[name] for name in self.projections)]
        self.parts += [] if self.bag is None else [BAG]
        self.requires_grad_(False)

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        one = dict(zip(self.inputs, given, strict=True))
        known = one["known"]
        parts = [one["ids"] * known[:, None]] if self.has_ids else []
        parts += [projection(one[name]) for name, projection in self.projections.items()]
        if self.bag is not None:
            weighted = F.embedding(one["tokens"], self.bag.weight) * one["weights"][:, None]
            nothing = torch.zeros(known.shape[0], weighted.shape[1])
            parts.append(nothing.scatter_add(0, one["owners"][:, None].expand(weighted.shape), weighted))
        stacked = torch.stack(parts, 1)
        x = stacked.sum(1) if len(parts) > 1 else parts[0]
        shares = [F.layer_norm(share, (self.width,), eps=self.norm.eps) for share in x.chunk(self.members, -1)]
        vectors = torch.cat(shares, -1) * self.norm.weight + self.norm.bias
        shares = list(vectors.chunk(self.members, -1))
        if self.cosine:
            shares = [F.normalize(share, dim=-1) for share in shares]
        factors = torch.where(known, 1.0, self.cold_scale)
        if "scale" in one:
            factors = factors * one["scale"]
        return torch.cat(shares, -1) * self.members**-0.5 * factors[:, None], vectors, stacked


class TextGraph(nn.Module):
    """Tokens in; whitened vectors for the item tower, and vectors for search, out.

    Inputs ``input_ids`` and ``attention_mask`` int64 (B, T). Outputs ``text`` float32 (B, T'), and ``search`` float32
    (B, E), of unit length, in the encoder's own space.
    """

    def __init__(self, encoder: Any, whitening: Whitening) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.from_numpy(whitening.mean))
        self.register_buffer("matrix", torch.from_numpy(whitening.matrix))
        self.register_buffer("back", torch.linalg.pinv(torch.from_numpy(whitening.matrix)))
        self.inputs = ["input_ids", "attention_mask"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        text = (self.encoder(features)["sentence_embedding"] - self.mean) @ self.matrix
        return text, F.normalize(text @ self.back + self.mean, dim=-1)
