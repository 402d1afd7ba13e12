"""Checkpoints: a killed run continues from one as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from recsys.core.destination import CHECKPOINT
from recsys.core.files import digested_file, exclusive, read_digested
from recsys.errors import CheckpointError, DamagedError
from recsys.training.fsdp import like, whole

FILE = CHECKPOINT
FREE_TO_CHANGE = ("training.patience", "training.checkpoint_steps", "training.logger")
"""Options that change neither the weights nor how they are judged."""


@dataclass
class Snapshot:
    """Everything that the rest of a run depends on.

    Attributes
    ----------
    tensors : dict of Tensor
        Weights, optimiser state, averages, best weights and random states, by dotted name.
    place : dict
        Epoch and batch to continue with, step, sums of the running epoch, the training log; JSON values.
    identity : dict
        What the run was started with: fingerprints of the data, every option.
    """

    tensors: dict[str, Tensor]
    place: dict[str, Any]
    identity: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``name`` and a dot, without it."""
        found = {key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")}
        return dict(sorted(found.items()))  # processes restore split tensors together, so all in one order


@contextmanager
def claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Keep other runs out of a checkpoint's folder until the block ends.

    Parameters
    ----------
    folder : Path
    resume : bool
        Whether to continue from the checkpoint there.
    overwrite : bool
        Whether a new run may replace the checkpoint there.

    Raises
    ------
    CheckpointError
        There is no checkpoint to resume from, or there is one and neither option is set.
    DataError
        Another run is using the folder.
    """
    require(folder) if resume else _refuse_older(folder, overwrite)
    with exclusive(folder):
        require(folder) if resume else _refuse_older(folder, overwrite)  # once more: another run may just have ended
        yield


def require(folder: Path) -> None:
    """Refuse to resume where there is no checkpoint.

    Raises
    ------
    CheckpointError
    """
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"there is no checkpoint in {folder} to resume from; start again without resume=True (--resume)"
        )


def _refuse_older(folder: Path, overwrite: bool) -> None:
    if (folder / FILE).exists() and not overwrite:
        raise CheckpointError(
            f"{folder} holds the checkpoint of an earlier run; continue it with resume=True (--resume), or replace "
            "it with overwrite=True (--overwrite)"
        )


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Replace a checkpoint: one file, renamed into place, so that a kill at any moment leaves one intact.

    It contains its own digest, so that a damaged one is never resumed from.

    Raises
    ------
    CheckpointError
        It cannot be written, for instance because the disk is full; the older one stays.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}
    state = {name: json.dumps(getattr(snapshot, name)) for name in ("place", "identity")}
    staging = folder / f".{FILE}"  # safetensors leaves files of its own beside its target when it is killed
    try:
        for rest in folder.glob(f"{FILE}.writing-*"):
            rest.unlink()
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        save_file(tensors, staging / FILE, state)
        with digested_file(folder / FILE) as file:
            (staging / FILE).replace(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be written ({error}); free some space or remove what is in the way, "
            "then continue from the previous checkpoint with resume=True (--resume)"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_snapshot(folder: Path) -> Snapshot:
    """Read a checkpoint of any run.

    Raises
    ------
    CheckpointError
        There is none, or it is damaged or cannot be read.
    """
    require(folder)
    try:
        payload = read_digested(folder / FILE)
        length = int.from_bytes(payload[:8], "little")
        state = {name: json.loads(text) for name, text in json.loads(payload[8 : 8 + length])["__metadata__"].items()}
        return Snapshot(load(payload), state["place"], state["identity"])
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} is damaged: {error}; start again without resume=True (--resume)"
        ) from error
    except OSError as error:
        raise CheckpointError(f"the checkpoint {folder / FILE} cannot be read: {error.strerror or error}") from error


def load_snapshot(folder: Path, identity: dict[str, Any]) -> Snapshot:
    """Read a checkpoint, and refuse it if it comes from another run.

    Parameters
    ----------
    folder : Path
    identity : dict
        That of the current run.

    Raises
    ------
    CheckpointError
        There is none, it is damaged, or something that changes the weights differs; each difference is named.
    """
    snapshot = read_snapshot(folder)
    then, now = _flat(snapshot.identity), _flat(json.loads(json.dumps(identity)))  # tuples become lists
    differences = [
        f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name not in FREE_TO_CHANGE
    ]
    if differences:
        raise CheckpointError(
            f"the checkpoint in {folder} comes from another run ({'; '.join(differences)}); use the data and options that "
            "it was started with, or start again without resume=True (--resume)"
        )
    return snapshot


def check_shapes(folder: Path, saved: dict[str, Tensor], here: dict[str, Tensor]) -> None:
    """Refuse weights that do not fit the model.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown or of another shape; the first one is named.
    """
    for name in sorted(saved.keys() | here.keys()):
        if name not in saved or name not in here:
            where = "the checkpoint" if name in saved else "the model"
            raise CheckpointError(f"{folder}: only {where} has {name}; it comes from another model")
        if saved[name].shape != here[name].shape:
            raise CheckpointError(
                f"{folder}: {name} is {tuple(saved[name].shape)} in the checkpoint and {tuple(here[name].shape)} here; "
                "it comes from another model"
            )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts, whole, named by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": whole(value) for number, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo :func:`optimizer_tensors`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        kept = value if key == "step" else like(value, parameters[int(number)])
        state["state"].setdefault(int(number), {})[key] = kept
    optimizer.load_state_dict(state)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
