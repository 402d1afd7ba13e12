"""A text encoder whose weights are kept in 8 bits: coded where it is saved, read back where it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from recsys.core.coded import from_codes, rounded, to_codes
from recsys.errors import EncoderError, UnsupportedError

CODED: Final = "model.coded.safetensors"
_WEIGHTS: Final = "model.safetensors"


def is_coded(names: Iterable[str]) -> bool:
    """Whether an encoder with files of these names keeps weights as codes."""
    return any(Path(name).name == CODED for name in names)


def code_weights(folder: Path) -> None:
    """Round every row of every matrix of an encoder's weights to 8 bits, each by its own step, and keep them so.

    What is no matrix (biases, norms) stays whole. It computes in float32 as before: only the weights are rounded, so that a
    text's vector depends on no other text, which is not so where activations are rounded too.

    Parameters
    ----------
    folder : Path
        Of an encoder, whose weights are replaced.

    Raises
    ------
    UnsupportedError
        It has no ``model.safetensors``, as encoders in several files.
    """
    from safetensors.numpy import save_file  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415 - numpy has no bfloat16

    files = sorted(folder.rglob(_WEIGHTS))
    if not files:
        raise UnsupportedError(f"the weights of the text encoder are not in one {_WEIGHTS}, and stay whole")
    for file in files:
        tensors = dict[str, NDArray[Any]]()
        for name, tensor in load_file(file).items():
            table = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
            matrix = tensor.is_floating_point() and table.ndim == 2
            tensors |= to_codes(name, rounded(table, 8)) if matrix else {name: table}
        save_file(tensors, file.with_name(CODED))
        file.unlink()
        compute_in_float32(file.with_name("config.json"))


def compute_in_float32(file: Path) -> None:
    """Have a transformer's weights made float32 when they are read, whatever they were; ``file`` is a config.json."""
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "model_type" in told:  # other modules of sentence-transformers know no such option
        names = [name for name in ("dtype", "torch_dtype") if name in told] or ["torch_dtype"]
        file.write_text(json.dumps(told | dict.fromkeys(names, "float32"), indent=2) + "\n", encoding="utf-8")


def read_back(folder: Path) -> None:
    """Write the weights of a coded encoder in float32, as every library reads them, in place of the codes.

    Raises
    ------
    EncoderError
        They are damaged.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    for file in sorted(folder.rglob(CODED)):
        try:
            tensors = from_codes(load_file(file))
        except (ValueError, SafetensorError) as error:
            raise EncoderError(f"{file} is damaged or cut short ({error}); copy the encoder again") from error
        save_file(tensors, file.with_name(_WEIGHTS), metadata={"format": "pt"})
        file.unlink()
