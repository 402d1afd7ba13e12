"""Bundles on the Hugging Face hub: pushed in one commit with a card in the hub's form, and loaded from there, verified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from recsys.bundle.describe import describe
from recsys.bundle.manifest import FILE, verify
from recsys.core.arguments import flag, place, text, text_or_none
from recsys.errors import ConfigError, DependencyError
from recsys.serving.load import load
from recsys.serving.retriever import Retriever

_TAGS: Final = ("recommender-system", "sequential-recommendation", "two-tower", "retrieval")
_CARD: Final = "MODEL_CARD.md"
_USE: Final = """## Use it

```python
import recsys

retriever = recsys.from_hub("{repo}")
retriever.recommend(histories=[[...]], k=10)  # ids of items, oldest first
```

A bundle holds no pickle, and every file is verified against its hash when it is loaded."""


class Hub(Protocol):
    """What is asked of ``huggingface_hub.HfApi``."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository, if it is not there."""

    def list_repo_files(self, repo_id: str, *, revision: str | None) -> list[str]:
        """Paths of its files."""

    def create_commit(self, repo_id: str, operations: Sequence[Any], *, commit_message: str, revision: str | None) -> Any:
        """Change files in one commit."""

    def snapshot_download(self, repo_id: str, *, revision: str | None) -> str:
        """Fetch a repository; returns its folder."""


def push_to_hub(
    run: str | Path,
    repo: str,
    *,
    private: bool = True,
    license: str | None = None,
    message: str | None = None,
    revision: str | None = None,
    hub: Hub | None = None,
) -> str:
    """Push a bundle to the Hugging Face hub, in one commit: at every moment the repository holds one whole bundle.

    A bundle holds the ids and histories of its users: keep the repository private unless these may be public.

    Parameters
    ----------
    run : path
        Folder of a bundle; verified first.
    repo : str
        ``"owner/name"``; made if it is not there.
    private : bool
        Whether a repository that is made is private; one that is there stays as it is.
    license : str, optional
        Licence of the model and its data, as the hub writes it, such as ``"cc-by-4.0"``.
    message : str, optional
        Of the commit.
    revision : str, optional
        Branch to push to; by default the main one.
    hub : HfApi, optional
        Whom to ask, by default ``huggingface_hub.HfApi()`` with the token of ``hf auth login``.

    Returns
    -------
    str
        The repository.

    Raises
    ------
    BundleError
        There is no whole bundle at ``run``; nothing was sent.

    Examples
    --------
    >>> recsys.push_to_hub("runs/ml", "me/films")  # doctest: +SKIP
    """
    folder, repo, private = place(run, "run"), _repo(repo), flag(private, "private")
    license, message = text_or_none(license, "license"), text_or_none(message, "message")
    manifest = verify(folder)
    card = hub_card(folder, repo, license).encode()
    library = _library()
    add, delete = library.CommitOperationAdd, library.CommitOperationDelete
    names = [FILE, *manifest["files"]]
    asked: Hub = library.HfApi(library_name="recsys") if hub is None else hub
    asked.create_repo(repo, private=private, exist_ok=True)
    old = set(asked.list_repo_files(repo, revision=revision)) - {"README.md", ".gitattributes", *names}
    changes = [
        *(add(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names),
        add(path_in_repo="README.md", path_or_fileobj=card),
        *(delete(path_in_repo=name) for name in sorted(old)),
    ]
    asked.create_commit(repo, changes, commit_message=message or "A bundle of recsys", revision=revision)
    return repo


def from_hub(repo: str, *, revision: str | None = None, device: str = "auto", hub: Hub | None = None) -> Retriever:
    """Load a bundle from the Hugging Face hub; every file is verified.

    Parameters
    ----------
    repo : str
        ``"owner/name"``.
    revision : str, optional
        Branch, tag or commit; a commit always gives the same bundle.
    device : str
        As for :func:`recsys.load`.
    hub : HfApi, optional
        Whom to ask, by default ``huggingface_hub.HfApi()``.

    Raises
    ------
    BundleError
        The repository holds no whole bundle.

    Examples
    --------
    >>> retriever = recsys.from_hub("me/films")  # doctest: +SKIP
    """
    asked: Hub = _library().HfApi(library_name="recsys") if hub is None else hub
    return load(asked.snapshot_download(_repo(repo), revision=revision), device=device)


def hub_card(folder: Path, repo: str, license: str | None = None) -> str:
    """The bundle's model card in the form of the hub: facts as YAML in front, and how to use it.

    Parameters
    ----------
    folder : Path
        Of a bundle.
    repo : str
        ``"owner/name"``, for the example.
    license : str, optional

    Examples
    --------
    >>> retriever.save("saved")
    >>> hub_card(Path("saved"), "me/films").splitlines()[:2]
    ['---', 'library_name: recsys']
    """
    library, facts = _library(), describe(folder)
    encoder = facts["model"].get("encoder")
    size = {name: facts["data"][name] for name in ("interactions", "users", "items") if name in facts["data"]}
    log = "a log of " + ", ".join(f"{count:,} {name}" for name, count in size.items()) if size else "a log"
    results = [
        library.EvalResult(
            task_type="recommendation", task_name="Next-item recommendation", dataset_type="log", dataset_name=log,
            metric_type=name.replace("@", "_at_"), metric_name=name, metric_value=float(value),
        )
        for name, value in facts["test"].items()
        if _is_number(value)
    ]  # fmt: skip
    data = library.ModelCardData(
        library_name="recsys",
        license=license,
        tags=list(_TAGS),
        base_model=encoder if encoder and encoder.count("/") == 1 and not Path(encoder).exists() else None,
        model_name=repo.partition("/")[2],
        eval_results=results or None,
    )
    card = folder / _CARD
    body = card.read_text(encoding="utf-8") if card.is_file() else f"# {repo}\n\nA recommender made with recsys.\n"
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n{_USE.format(repo=repo)}\n"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _repo(repo: str) -> str:
    name = text(repo, "repo")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise ConfigError(f'repo= is {name!r}, expected "owner/name" of letters, digits and - _ .')
    return name


def _library() -> Any:
    """``huggingface_hub``, which transformers brings."""
    try:
        import huggingface_hub  # noqa: PLC0415 - loads much
    except ImportError as error:
        raise DependencyError("huggingface_hub is not installed: pip install huggingface_hub") from error
    return huggingface_hub
