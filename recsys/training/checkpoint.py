"""Checkpoints from which a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys.errors import CheckpointError
from recsys.files import atomic_folder

FREE_TO_CHANGE = ("training.patience", "training.checkpoint_steps", "training.logger", "training.validate_users")
"""Options that do not bear on the weights."""


@dataclass
class Snapshot:
    """Everything that the rest of a run depends on.

    Attributes
    ----------
    tensors : dict of Tensor
        Weights, optimiser state, averages, best weights and random states, by dotted name.
    place : dict
        Epoch and batch to go on with, step, sums of the running epoch, the training log; JSON values.
    identity : dict
        What the run was started with: data fingerprint, item count, every option.
    """

    tensors: dict[str, Tensor]
    place: dict[str, Any]
    identity: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``name`` and a dot, without it."""
        return {key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")}


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Write a checkpoint over an older one: after a kill at any moment one of the two is there, whole."""
    with atomic_folder(folder, replace=True) as target:
        tensors = {name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}
        save_file(tensors, target / "state.safetensors")
        (target / "state.json").write_text(json.dumps({"place": snapshot.place, "identity": snapshot.identity}))


def load_snapshot(folder: Path, identity: dict[str, Any]) -> Snapshot:
    """Read a checkpoint, and refuse it if it is of another run.

    Parameters
    ----------
    folder : Path
    identity : dict
        As the run at hand has it.

    Raises
    ------
    CheckpointError
        There is none, it is damaged, or something that bears on the weights differs; each difference is named.
    """
    file = folder / "state.json"
    if not file.is_file():
        raise CheckpointError(f"there is no checkpoint in {folder} to resume from; leave out --resume to begin anew")
    try:
        found = json.loads(file.read_text())
        snapshot = Snapshot(load_file(folder / "state.safetensors"), found["place"], found["identity"])
    except (ValueError, KeyError, OSError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint in {folder} is damaged: {error}") from error
    then, now = _flat(snapshot.identity), _flat(identity)
    differences = [
        f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name not in FREE_TO_CHANGE
    ]
    if differences:
        raise CheckpointError(
            f"the checkpoint in {folder} is of another run ({'; '.join(differences)}); "
            "restore what it was started with, or begin anew without --resume"
        )
    return snapshot


def check_shapes(folder: Path, saved: dict[str, Tensor], here: dict[str, Tensor]) -> None:
    """Refuse weights that do not fit the model.

    Raises
    ------
    CheckpointError
        Names the first tensor that is missing, strange or of another shape.
    """
    for name in sorted(saved.keys() | here.keys()):
        if name not in saved or name not in here:
            where = "the checkpoint" if name in saved else "the model"
            raise CheckpointError(f"{folder}: only {where} has {name}; it was made by another model")
        if saved[name].shape != here[name].shape:
            raise CheckpointError(
                f"{folder}: {name} is {tuple(saved[name].shape)} in the checkpoint and {tuple(here[name].shape)} here"
            )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts, named by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": value for number, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo :func:`optimizer_tensors`."""
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(state)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return out
