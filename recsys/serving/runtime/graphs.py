"""ONNX graphs, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.core.opened import Source
from recsys.errors import BundleError, DependencyError


class Graph:
    """One graph of an export.

    Parameters
    ----------
    source : Source
    name : str
        The file.
    opset : int
        What it was written in, for messages.
    threads : int
        That compute one answer.

    Raises
    ------
    DependencyError
        The package onnxruntime is missing.
    BundleError
        The file cannot be run: it is damaged, or onnxruntime is too old for it.
    """

    def __init__(self, source: Source, name: str, opset: int, threads: int) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - some exports have no graph
        except ImportError as error:
            raise DependencyError("answers need the package onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what fails is told below
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = source.read(name)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class but this
            raise BundleError(
                f"{source.folder / name} cannot be run by onnxruntime {onnxruntime.__version__} (opset {opset}): "
                f"{first_line(error)}; upgrade onnxruntime, or export the bundle again"
            ) from error
        self.inputs = [one.name for one in self._session.get_inputs()]

    def __call__(self, given: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs, for inputs by name; more may be given than the graph reads."""
        found: list[NDArray[Any]] = self._session.run(
            None, {name: np.ascontiguousarray(given[name]) for name in self.inputs}
        )
        return found


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, cut where it is long."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
