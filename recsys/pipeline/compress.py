"""Make a saved bundle smaller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.core.files import atomic_file, exclusive
from recsys.errors import DataError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle
    from recsys.compression.compress import Compressed

EVIDENCE = "compression.json"
"""What was measured, in the bundle that came of it."""


def compress_bundle(
    folder: str | Path,
    out: str | Path,
    *,
    loss: float = 0.01,
    size: int | None = None,
    latency: float | None = None,
    text_loss: float = 0.05,
    users: int = 2000,
    distil: int = 0,
    overwrite: bool = False,
    page: Path | None = None,
) -> tuple[Compressed, int]:
    """Measure what of a bundle can be made smaller, and save the smallest combination that holds the targets.

    Parameters
    ----------
    folder : path
        The bundle; it is not changed.
    out : path
        Where the smaller one goes, with what was measured as ``compression.json``.
    loss, size, latency, text_loss : float, int, float, float
        As :class:`recsys.compression.compress.Targets`.
    users : int
        Most held-out users to judge by.
    distil : int
        As :func:`recsys.compression.compress.compress`.
    overwrite : bool
        Whether an older bundle in ``out`` may be replaced.
    page : Path, optional
        Where to draw the trade-off.

    Returns
    -------
    Compressed
    int
        Bytes of the new bundle's files.

    Raises
    ------
    UnsupportedError
        Nothing holds the targets; nothing is written then.
    BundleError, ConfigError, DataError
        There is no whole bundle, a target cannot be, or something is in the way.
    """
    from recsys.bundle.io import load, save  # noqa: PLC0415 - torch
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415
    from recsys.compression.compress import Targets, compress  # noqa: PLC0415
    from recsys.compression.steps import bytes_of_parts  # noqa: PLC0415
    from recsys.index.io import FAISS_FILE  # noqa: PLC0415
    from recsys.report.compression_page import compression_page  # noqa: PLC0415

    folder, out, targets = Path(folder), Path(out), Targets(loss, size, latency, text_loss)
    told = read_manifest(folder)
    if out.exists() and folder.resolve() == out.resolve():
        raise DataError(f"{out} is the bundle itself; name another folder, so that both can be compared")
    with exclusive(out) as held:
        if out.is_dir() and any(out.iterdir()) and not overwrite:
            raise DataError(f"{out} already holds something; name a new folder, or overwrite it (--overwrite)")
        bundle = load(folder, device="cpu")
        rest = _bytes(told) - bytes_of_parts(bundle)
        if bundle.index.finder is None and FAISS_FILE in told["files"]:  # older versions kept the vectors twice
            rest -= int(told["files"][FAISS_FILE]["bytes"])

        def size_of(one: Bundle) -> int:
            return _bytes(told) if one is bundle else rest + bytes_of_parts(one)

        found = compress(bundle, targets, size_of, users=users, distil=distil)
        evidence = found.to_dict() | {"source": told.get("sha256")}
        save(
            found.bundle, out, overwrite=overwrite, held=held,
            extras={EVIDENCE: json.dumps(evidence, indent=2) + "\n"},
        )  # fmt: skip
    if page is not None:
        with atomic_file(page) as file:
            file.write_text(compression_page(folder.absolute().name, evidence), encoding="utf-8")
    return found, _bytes(read_manifest(out))


def _bytes(told: dict[str, Any]) -> int:
    return sum(int(file["bytes"]) for file in told["files"].values())
