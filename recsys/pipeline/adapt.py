"""Adapt a text encoder to a catalogue, and to a log, before a model is trained with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.config.adapt import AdaptOptions
from recsys.core.arguments import instance, instance_or_none
from recsys.core.files import atomic_folder, exclusive
from recsys.core.progress import log as say
from recsys.core.progress import say_where
from recsys.core.version import __version__
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.errors import ConfigError, DataError

FILE = "adaptation.json"
"""What an adapted encoder's folder tells of itself."""
_LEAST_TEXTS = 10


@dataclass(frozen=True)
class Adapted:
    """An adapted encoder.

    Attributes
    ----------
    folder : Path
        In sentence-transformers layout; ``encoder=`` and ``--encoder`` take it.
    facts : dict
        What ``adaptation.json`` holds: options, the sha256 of the encoder before, and :class:`Told`'s figures.
    """

    folder: Path
    facts: dict[str, Any]

    def __str__(self) -> str:
        facts = self.facts
        pairs = f" and {facts['pairs']:,} pairs of a history and what came next" if facts["pairs"] else ""
        lines = [f"adapted to {facts['texts']:,} texts{pairs}"]
        if facts["first_loss"] is not None:
            lines.append(f"contrastive loss of texts: {facts['first_loss']:.3f} at first, {facts['last_loss']:.3f} at last")
        if facts["after"] is not None:
            lines.append(
                f"what came next is among the 10 nearest of the {facts['judged']:,} next texts of held-out users: "
                f"{facts['before']:.1%} before, {facts['after']:.1%} now"
            )
        return "\n".join([*lines, f"encoder: {self.folder}"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"folder": str(self.folder), **self.facts}


def adapt(
    catalog: Catalog,
    encoder: str,
    out: str | Path,
    *,
    log: Interactions | None = None,
    options: AdaptOptions | None = None,
    overwrite: bool = False,
) -> Adapted:
    """Train a text encoder on the texts of a catalogue, and on what came next in a log, before a model reads with it.

    First each text must be found again among others when it is read twice under dropout (SimCSE, arXiv 2104.08821), and
    words that are masked must be guessed; then, with a log, the text of what came next must be found by the text of the
    history before (as in Recformer, arXiv 2305.13731).

    Parameters
    ----------
    catalog : Catalog
        With texts.
    encoder : str
        As ``ModelConfig.encoder``: a folder or a name.
    out : path
        Folder of the adapted encoder, which appears whole or not at all.
    log : Interactions, optional
        Events to learn from. Leave out what a model will be evaluated on: pass ``split.train``.
    options : AdaptOptions, optional
    overwrite : bool
        Whether an earlier adapted encoder in ``out`` may be replaced; nothing else ever is.

    Returns
    -------
    Adapted

    Raises
    ------
    EncoderError
        The encoder is not found, cannot be trained, or gives other vectors once it is saved.
    DataError
        There are too few texts or pairs, or something is in the way.
    ConfigError
        Nothing would be trained.

    Examples
    --------
    >>> few = recsys.AdaptOptions(text_steps=2, masked=0.0)
    >>> recsys.adapt(catalog, "./encoder", "adapted", options=few).facts["texts"]
    32
    """
    from recsys.core.device import pick_device  # noqa: PLC0415 - torch
    from recsys.models.encoders.folder import digest_of, encoder_files  # noqa: PLC0415
    from recsys.models.encoders.pretrained import open_encoder  # noqa: PLC0415
    from recsys.training.adaptation.pairs import Pairs  # noqa: PLC0415
    from recsys.training.adaptation.run import check_steps, run  # noqa: PLC0415

    instance(catalog, Catalog, "catalog")
    instance_or_none(log, Interactions, "log")
    instance_or_none(options, AdaptOptions, "options")
    options, out = options or AdaptOptions(), Path(out)
    check_steps(options, has_log=log is not None)
    texts = _texts(catalog)
    pairs = None
    if log is not None:
        check_join(log.items.ids, catalog.items, "the catalogue")
        pairs = Pairs.of(log, catalog, options.seed)
        if options.history_steps and len(pairs.targets) < options.batch:
            raise DataError(
                f"the log has {len(pairs.targets):,} pairs of a history and another text that came next, and a step takes "
                f"{options.batch}; name a longer log, leave it out, or lower the batch (--batch)"
            )
    say_where()
    device, folder = pick_device(options.device), open_encoder(encoder)
    if out.exists() and folder.resolve() == out.resolve():
        raise DataError(f"{out} is the encoder itself; name another folder")
    with exclusive(out) as held:
        _refuse_foreign(held.target, overwrite=overwrite)
        with atomic_folder(held.target, replace=overwrite) as target:
            told = run(folder, target, texts, pairs, options, device)
            facts: dict[str, Any] = {"recsys": __version__, "encoder": encoder, "sha256": digest_of(encoder_files(folder))}
            facts |= {"options": asdict(options), **asdict(told)}
            (target / FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return Adapted(out, facts)


def _texts(catalog: Catalog) -> list[str]:
    """Distinct texts.

    Raises
    ------
    DataError
        There are too few.
    """
    texts = catalog.texts.drop_nulls().unique(maintain_order=True).to_list()
    if len(texts) < _LEAST_TEXTS:
        columns = ", ".join(catalog.text_columns) or "nothing"
        raise DataError(
            f"the catalogue has {len(texts)} distinct texts (from {columns}), and an encoder is adapted to {_LEAST_TEXTS} "
            "or more; name columns that tell items apart (--text)"
        )
    say(f"{len(texts):,} distinct texts of {len(catalog):,} items")
    return texts


def _refuse_foreign(out: Path, *, overwrite: bool) -> None:
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"{out} already holds something; choose another --out, or add --overwrite")
    if not (out / FILE).is_file():
        raise ConfigError(f"{out} is not an adapted encoder; it is not overwritten: choose another --out")
