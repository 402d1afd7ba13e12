"""The files of a text encoder: which they are, and whether they can be read at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from recsys.core.files import sha256_of
from recsys.errors import EncoderError
from recsys.models.encoders.coded import CODED

_INDEX, _PICKLE_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
_PICKLE = "pytorch_model.bin"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_UNREAD = {".h5", ".msgpack", ".onnx", ".gguf", ".tflite", ".mlmodel", ".md", ".py", ".png", ".jpg", ".log"}
"""Weights of other frameworks, code, which is never run, and what is for people."""
_UNREAD_FOLDERS = ("onnx", "openvino", "coreml", "runs", "logs", "eval", "checkpoint-")
_TOKENIZERS = ("tokenizer", "vocab", "spiece", "sentencepiece", "spm", "merges", "tekken", "whitespacetokenizer", "bpe")
_POINTER = b"version https://git-lfs"


def encoder_files(folder: Path) -> dict[str, Path]:
    """All files that may decide what an encoder gives, by name within its folder, in alphabetical order.

    Pickles are not among them: they are never shipped, and read by :func:`prepared` alone. Neither are hidden files, nor
    what belongs to other frameworks.
    """
    found = {}
    for file in _all_files(folder):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        foreign = any(part.startswith(_UNREAD_FOLDERS) for part in name.parts[:-1])
        pickled = file.suffix in _PICKLES or name.name == _PICKLE_INDEX
        if not (hidden or foreign or pickled or file.suffix in _UNREAD):
            found[name.as_posix()] = file
    return found


def _all_files(folder: Path) -> list[Path]:
    """Links are followed, but none twice: a folder may be linked into itself."""
    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for place, below, names in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(Path(place) / name) for name in below}
        below[:] = [name for name in below if real[name] not in seen]
        seen.update(real.values())
        found += [Path(place) / name for name in names]
    return sorted(found)


def digest_of(files: dict[str, Path]) -> str:
    """sha256 over names and contents."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}:{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    EncoderError
        It is damaged or cannot be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{file} is damaged or cut short ({error}); copy or download the encoder again") from error
    except OSError as error:
        raise EncoderError(f"{file} cannot be read: {error.strerror}") from error


def pickled_weights(folder: Path) -> dict[Path, list[Path]]:
    """Folders within the encoder, and itself, whose only weights are pickles; with these files."""
    found: dict[Path, list[Path]] = {}
    for file in (one for one in _all_files(folder) if one.suffix == ".bin"):
        parts = file.relative_to(folder).parts
        if any(part.startswith((".", *_UNREAD_FOLDERS)) for part in parts) or not file.name.startswith("pytorch_model"):
            continue
        if not any((file.parent / name).is_file() for name in ("model.safetensors", _INDEX)):
            found.setdefault(file.parent, []).append(file)
    for place, files in found.items():
        if (place / _PICKLE_INDEX).is_file():
            shards = _shards(place / _PICKLE_INDEX)
            found[place] = [place / name for name in shards]
        elif place / _PICKLE in files:
            found[place] = [place / _PICKLE]
        else:
            raise EncoderError(f"{files[0]} is one of several parts, and {_PICKLE_INDEX} is missing; copy the whole folder")
    return found


def _shards(index: Path) -> list[str]:
    """Names of the files among which weights are spread."""
    table = read_json(index)
    try:
        return sorted(set(table["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{index} has no weight_map; copy or download the encoder again") from error


def look_through(folder: Path) -> None:
    """Refuse a folder from which no encoder can rise, before anything costly.

    Raises
    ------
    EncoderError
        A file is missing, cut short, a git-LFS pointer or an adapter; the message names it and says what to do.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder with a text encoder")
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        raise EncoderError(f"{folder} holds no encoder: it has neither config.json nor modules.json")
    if (folder / "modules.json").is_file():
        _check_modules(folder)
    files = encoder_files(folder)
    pickles = [file for some in pickled_weights(folder).values() for file in some]
    for file in [*files.values(), *pickles]:
        if not file.is_file():
            raise EncoderError(f"{file} is missing, which {file.parent.name} is spread over; copy the whole folder")
        try:
            with file.open("rb") as stream:
                begin = stream.read(len(_POINTER))
        except OSError as error:
            raise EncoderError(f"{file} cannot be read: {error.strerror}") from error
        if begin == _POINTER:
            raise EncoderError(f"{file} is a git-LFS pointer, not the file itself; run: git lfs pull, in {folder}")
        if file.suffix == ".json":
            read_json(file)
        elif file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="np"):
                    pass
            except (SafetensorError, OSError) as error:
                raise EncoderError(
                    f"{file} is damaged or cut short ({error}); copy or download the encoder again"
                ) from error
    adapter = next((file for name, file in files.items() if name.endswith("adapter_config.json")), None)
    if adapter is not None:
        raise EncoderError(
            f"{adapter.parent} holds an adapter (LoRA) whose base is elsewhere; merge them first: "
            "peft.AutoPeftModel.from_pretrained(...).merge_and_unload().save_pretrained(...)"
        )
    for index in (file for name, file in files.items() if name.endswith(_INDEX)):
        if absent := [name for name in _shards(index) if not (index.parent / name).is_file()]:
            raise EncoderError(f"{index.parent / absent[0]} is missing, which {index.name} names; copy the whole folder")
    if not pickles and not any(name.endswith(".safetensors") for name in files):
        others = [file.name for file in _all_files(folder) if file.suffix in (_UNREAD | _PICKLES) - {".md", ".py"}]
        found = f"it has only {', '.join(others[:3])}" if others else "expected model.safetensors"
        raise EncoderError(f"{folder} holds no weights: {found}; copy or download model.safetensors into it")


def _check_modules(folder: Path) -> None:
    """Refuse a sentence-transformers layout that lacks what belongs to one of its modules."""
    modules = read_json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else []:
        name, kind = str(module.get("path", "")), str(module.get("type", "")).rpartition(".")[2]
        place = folder / name
        needs = {"Pooling": ("config.json",), "Dense": ("config.json", "model.safetensors")}.get(kind, ())
        for needed in needs:
            found = (place / needed, place / _PICKLE, place / CODED) if needed.startswith("model.") else (place / needed,)
            if not any(file.is_file() for file in found):
                raise EncoderError(f"{place / needed} is missing, which modules.json names; copy the whole folder")


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder without any file of a tokenizer.

    Raises
    ------
    EncoderError
    """
    if not any(Path(name).name.startswith(_TOKENIZERS) for name in encoder_files(folder)):
        raise EncoderError(
            f"{folder} holds no tokenizer: none of tokenizer.json, vocab.txt, spiece.model and their like; "
            "copy them from where the encoder came from"
        )
