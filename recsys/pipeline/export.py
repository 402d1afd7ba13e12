"""Export a saved bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def export_bundle(folder: str | Path, out: str | Path, *, overwrite: bool = False, text: bool = True) -> dict[str, Any]:
    """Export a bundle into a folder that answers without PyTorch; see :func:`recsys.compression.export.export`.

    Parameters
    ----------
    folder : path
        The bundle; it is not changed.
    out : path
    overwrite : bool
        Whether an older export in ``out`` may be replaced.
    text : bool
        Whether the text encoder is exported.

    Returns
    -------
    dict
        What ``export.json`` holds.

    Raises
    ------
    BundleError
        There is no whole bundle.
    UnsupportedError, DependencyError, DataError
        As :func:`recsys.compression.export.export`.
    """
    from recsys.bundle.io import load  # noqa: PLC0415 - torch
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415
    from recsys.compression.export import export  # noqa: PLC0415

    told = read_manifest(Path(folder))
    return export(load(folder, device="cpu"), Path(out), overwrite=overwrite, text=text, source=told.get("sha256"))
