"""Modules of PyTorch as ONNX files, each run again and compared before it counts as written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from recsys.core.opened import Source
from recsys.errors import DependencyError, UnsupportedError
from recsys.serving.runtime.graphs import Graph, first_line

OPSET: Final = 17
TOLERANCE: Final = 1e-4
"""Largest difference between what a graph and its module give, as a share of the largest number that the module gives."""
_LARGEST = 1_900_000_000
"""Bytes of weights that one ONNX file holds."""


def require_onnx() -> None:
    """Refuse to export where a package for it is missing.

    Raises
    ------
    DependencyError
    """
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxruntime  # noqa: F401, PLC0415
    except ImportError as error:
        raise DependencyError(f"an export needs the package {error.name}: pip install 'recsys[export]'") from error


def write(
    module: nn.Module,
    file: Path,
    outputs: Sequence[str],
    examples: Sequence[tuple[Tensor, ...]],
    sizes: dict[str, dict[int, str]],
    what: str,
) -> float:
    """Write a module, and prove that the file gives what it gives.

    PyTorch's older exporter is tried first: it takes a tenth of the time. Where its graph differs on an example of other
    sizes than the first, or it fails, the newer one is (which needs the package onnxscript).

    Parameters
    ----------
    module : Module
        With ``inputs``, in evaluation mode, on the host.
    file : Path
    outputs : sequence of str
        Their names.
    examples : sequence of tuple of Tensor
        The first is what is written along; all are compared.
    sizes : dict
        Name of an input or output → its dimensions that may vary, by number, with a name for each.
    what : str
        The module, for messages.

    Returns
    -------
    float
        The largest difference, as a share of the largest number.

    Raises
    ------
    UnsupportedError
        It cannot be written, or no graph gives what the module gives.
    """
    weights = sum(one.numel() * one.element_size() for one in (*module.parameters(), *module.buffers()))
    if weights > _LARGEST:
        raise UnsupportedError(f"{what} has {weights / 1e9:.1f} GB of weights, and an ONNX file holds 2")
    reasons = list[str]()
    for make in (_older, _newer):
        try:
            with _quiet():
                make(module, file, list(outputs), examples[0], sizes)
            difference = compared(module, file, examples)
        except Exception as error:  # exporters raise anything
            reasons.append(first_line(error))
            continue
        if difference <= TOLERANCE:
            return difference
        reasons.append(f"its graph gives other numbers, by {difference:.1e} of the largest")
    raise UnsupportedError(f"{what} cannot be exported to ONNX: {'; '.join(reasons)}")


def compared(module: nn.Module, file: Path, examples: Sequence[tuple[Tensor, ...]]) -> float:
    """How far a graph is from its module, as a share of the largest number; infinite for other shapes."""
    graph, most = Graph(Source.of(file.parent), file.name, OPSET, 1), 0.0
    for example in examples:
        with torch.inference_mode():
            made = module(*example)
        names: list[str] = module.inputs  # type: ignore[assignment]
        found = graph({name: one.numpy() for name, one in zip(names, example, strict=True)})
        for wanted, given in zip(made if isinstance(made, tuple) else (made,), found, strict=True):
            right = wanted.numpy()
            if right.shape != given.shape or not np.isfinite(given).all():
                return float("inf")
            if right.size:
                most = max(most, float(np.abs(right - given).max() / max(np.abs(right).max(), 1e-30)))
    return most


def _older(
    module: nn.Module, file: Path, outputs: list[str], example: tuple[Tensor, ...], sizes: dict[str, dict[int, str]]
) -> None:
    names: list[str] = module.inputs  # type: ignore[assignment]
    torch.onnx.export(
        module,
        example,
        file,
        dynamo=False,
        opset_version=OPSET,
        input_names=names,
        output_names=outputs,
        dynamic_axes={name: sizes[name] for name in (*names, *outputs) if name in sizes},
    )


def _newer(
    module: nn.Module, file: Path, outputs: list[str], example: tuple[Tensor, ...], sizes: dict[str, dict[int, str]]
) -> None:
    names: list[str] = module.inputs  # type: ignore[assignment]
    free: Callable[[str], dict[int, Any]] = lambda name: dict.fromkeys(sizes.get(name, {}), torch.export.Dim.DYNAMIC)  # noqa: E731
    torch.onnx.export(
        module,
        example,
        file,
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        verbose=False,
        input_names=names,
        output_names=outputs,
        dynamic_shapes=tuple(free(name) for name in names),
    )


@contextmanager
def _quiet() -> Any:
    """Exporters talk; what matters is proven afterwards."""
    before = logging.root.manager.disable
    silence = getattr(torch._C, "_jit_set_onnx_log_enabled", None)  # else the older one prints whole graphs
    if silence is not None:
        silence(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
