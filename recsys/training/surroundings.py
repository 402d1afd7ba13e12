"""What surrounds a training: deterministic kernels, quiet libraries, a progress bar, loggers that are closed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.loggers.logger import Logger

from recsys.core.progress import bar, on_terminal


@contextmanager
def closed(loggers: list[Logger]) -> Iterator[None]:
    """Finalise the loggers after the block, with its outcome."""
    ended = "failed"
    try:
        yield
        ended = "success"
    finally:
        for logger in loggers:
            logger.finalize(ended)


@contextmanager
def progress_bar(steps: int) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call after each step, with the step's place in the epoch and the number of the epoch."""
    if not on_terminal():
        yield lambda place, epoch: None
        return
    with bar(total=steps, unit="step", leave=False) as shown:

        def tick(place: int, epoch: int) -> None:
            if place == 1:
                shown.reset(total=steps)
            shown.set_description(f"epoch {epoch}", refresh=False)
            shown.update(place - shown.n)

        yield tick


@contextmanager
def own_determinism(device: str) -> Iterator[None]:
    """Use deterministic kernels in the block, and restore the caller's choice after it."""
    enabled, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=torch.device(device).type == "cuda")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice about workers and devices in the block."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before: list[Any] = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            yield
        finally:
            for one, level in zip(loggers, before, strict=True):
                one.setLevel(level)
