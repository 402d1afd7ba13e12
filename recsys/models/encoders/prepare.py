"""A text encoder in a form that libraries read: no pickles, no codes, and the prompts that are wanted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from recsys.core.progress import log
from recsys.errors import EncoderError
from recsys.models.encoders.coded import is_coded, read_back
from recsys.models.encoders.folder import digest_of, encoder_files, look_through, pickled_weights, read_json

PROMPTS = "config_sentence_transformers.json"
_OF_DOCUMENTS = ("document", "passage", "corpus", "search_document", "retrieval.passage")
_OF_QUERIES = ("query", "search_query", "retrieval.query")


class OwnFolder:
    """A temporary folder that is there as long as this object is.

    Attributes
    ----------
    path : Path
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="recsys-encoder-"))
        weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process has the object too, and its end is not the owner's
        shutil.rmtree(folder, ignore_errors=True)


_PREPARED: dict[str, OwnFolder] = {}
"""Folders that were made of others in this process, by what they were made of."""


def prepared(folder: Path, query_prompt: str | None = None, document_prompt: str | None = None) -> Path:
    """A folder with the same encoder that holds no pickle, and the prompts that were asked for.

    Parameters
    ----------
    folder : Path
    query_prompt, document_prompt : str, optional
        In place of the encoder's own.

    Returns
    -------
    Path
        ``folder`` itself where nothing is to be changed; otherwise a temporary one that lasts as long as this process.

    Raises
    ------
    EncoderError
        As :func:`look_through`; or a pickle holds more than weights.
    """
    look_through(folder)
    pickles, own = pickled_weights(folder), prompts_of(folder)
    wanted = (own[0] if query_prompt is None else query_prompt, own[1] if document_prompt is None else document_prompt)
    files = encoder_files(folder)
    if not pickles and wanted == own and not is_coded(files):
        return folder
    read = {file.relative_to(folder).as_posix(): file for some in pickles.values() for file in some}
    key = hashlib.sha256(f"{digest_of(files | read)}{wanted!r}".encode()).hexdigest()
    if key in _PREPARED and _PREPARED[key].path.is_dir():
        return _PREPARED[key].path / folder.name
    made = OwnFolder()
    target = made.path / folder.name
    for name, file in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)
    read_back(target)
    for place, some in pickles.items():
        _convert(some, target / place.relative_to(folder) / "model.safetensors")
    if wanted != own:
        table = read_json(folder / PROMPTS) if (folder / PROMPTS).is_file() else {}
        table = table | {"prompts": {"query": wanted[0], "document": wanted[1]}, "default_prompt_name": None}
        (target / PROMPTS).write_text(json.dumps(table, indent=2), encoding="utf-8")
    _PREPARED[key] = made
    return target


def _convert(pickles: list[Path], target: Path) -> None:
    """Write the weights of pickles as safetensors, none of their code being run."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    weights: dict[str, Any] = {}
    for file in pickles:
        try:
            weights |= torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise EncoderError(
                f"{file} is damaged, or a pickle of more than weights, which recsys does not read "
                f"({str(error).splitlines()[0][:200]}); where you trust it, convert it to model.safetensors: "
                f"transformers.AutoModel.from_pretrained({str(file.parent)!r}).save_pretrained({str(file.parent)!r})"
            ) from error
    strange = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if strange or not weights:
        what = f"{strange[0]!r} is not a tensor" if strange else "it is empty"
        raise EncoderError(
            f"{pickles[0]} is not a table of weights ({what}); save the model's state_dict as model.safetensors"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in weights.items()}, target, metadata={"format": "pt"})
    log(f"text encoder: {pickles[0]} is a pickle; its weights are read without running code, and kept as model.safetensors")


def prompts_of(folder: Path) -> tuple[str, str]:
    """What an encoder wants before a query and before a document; empty where it wants nothing.

    The prompt named ``query`` is for queries; ``document``, ``passage`` or ``corpus`` for documents. Where one of the two
    has no prompt of its own, the default prompt stands in, unless that is the other's.

    Raises
    ------
    EncoderError
        The file is damaged, or names a default prompt that it does not have.
    """
    file = folder / PROMPTS
    if not file.is_file():
        return "", ""
    table = read_json(file)
    prompts, default = (table.get("prompts") or {}, table.get("default_prompt_name")) if isinstance(table, dict) else (0, 0)
    if not isinstance(prompts, dict) or not all(isinstance(one, str | None) for one in prompts.values()):
        raise EncoderError(f"{file}: prompts must be a table of texts, not {prompts!r}")
    if default is not None and default not in prompts:
        raise EncoderError(f"{file} names the default prompt {default!r}, and has only {', '.join(prompts) or 'none'}")

    def prompt(names: tuple[str, ...], others: tuple[str, ...]) -> str:
        for name in names:
            if prompts.get(name):  # an empty one is what sentence-transformers writes where there is none
                return str(prompts[name])
        return "" if default is None or default in others else str(prompts[default] or "")

    return prompt(_OF_QUERIES, _OF_DOCUMENTS), prompt(_OF_DOCUMENTS, _OF_QUERIES)
