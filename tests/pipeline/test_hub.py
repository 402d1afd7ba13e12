"""Bundles on the Hugging Face hub, whose API a local folder stands in for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import CommitOperationAdd, HfApi

import recsys
from recsys.data.interactions import Interactions
from recsys.errors import BundleError, ConfigError


class LocalHub:
    """Repositories as folders, each commit a folder of its own; whole commits or none, as on the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commits, self.private = folder, list[Path](), dict[str, bool]()

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private.setdefault(repo_id, private)

    def list_repo_files(self, repo_id: str, *, revision: str | None = None) -> list[str]:
        last = self.commits[-1] if self.commits else None
        return [] if last is None else [file.relative_to(last).as_posix() for file in last.rglob("*") if file.is_file()]

    def create_commit(
        self, repo_id: str, operations: Sequence[Any], *, commit_message: str, revision: str | None = None
    ) -> None:
        new = self.folder / f"commit{len(self.commits)}"
        new.mkdir() if not self.commits else shutil.copytree(self.commits[-1], new)
        for one in operations:
            file = new / one.path_in_repo
            if isinstance(one, CommitOperationAdd):
                file.parent.mkdir(parents=True, exist_ok=True)
                with one.as_file() as stream:
                    file.write_bytes(stream.read())
            else:
                file.unlink()
        self.commits.append(new)

    def snapshot_download(self, repo_id: str, *, revision: str | None = None) -> str:
        return str(self.commits[int(revision) if revision else -1])


@pytest.fixture
def run(tmp_path: Path, ring: Interactions) -> Path:
    split = recsys.leave_last_out(ring)
    model = recsys.TwoTower(fast=True).fit(split.train, validation=split.validation)
    folder = tmp_path / "run"
    model.retriever(index="exact").save(folder, metrics={"recall@10": 0.5})
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> LocalHub:
    (tmp_path / "hub").mkdir()
    return LocalHub(tmp_path / "hub")


def test_the_stand_in_is_asked_as_the_hub_would_be() -> None:
    """The real API has the same functions, with the same names of arguments."""
    for name in ("create_repo", "list_repo_files", "create_commit", "snapshot_download"):
        assert set(signature(getattr(LocalHub, name)).parameters) <= set(signature(getattr(HfApi, name)).parameters)


def test_a_bundle_goes_there_and_comes_back(run: Path, hub: LocalHub) -> None:
    assert recsys.push_to_hub(run, "me/films", license="cc-by-4.0", hub=hub) == "me/films"
    assert hub.private == {"me/films": True}
    back = recsys.from_hub("me/films", hub=hub)
    asked = {"histories": [["i3", "i4"]], "k": 3}
    assert back.recommend(**asked).equals(recsys.load(run).recommend(**asked))
    front = yaml.safe_load((hub.commits[-1] / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["library_name"] == "recsys"
    assert front["license"] == "cc-by-4.0"
    metric = front["model-index"][0]["results"][0]["metrics"][0]
    assert (metric["type"], metric["value"]) == ("recall_at_10", 0.5)


def test_what_an_older_bundle_had_more_is_gone_in_the_same_commit(run: Path, hub: LocalHub) -> None:
    hub.commits.append(hub.folder / "old")
    (hub.folder / "old").mkdir()
    for name in ("stale.bin", ".gitattributes"):
        (hub.folder / "old" / name).touch()
    recsys.push_to_hub(run, "me/films", hub=hub)
    files = set(hub.list_repo_files("me/films"))
    assert "stale.bin" not in files
    assert {".gitattributes", "README.md", "manifest.json"} <= files


def test_what_is_no_whole_bundle_is_neither_sent_nor_loaded(run: Path, hub: LocalHub) -> None:
    recsys.push_to_hub(run, "me/films", hub=hub)
    (hub.commits[-1] / "users.parquet").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"users.parquet"):
        recsys.from_hub("me/films", hub=hub)
    (run / "users.parquet").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"users.parquet"):
        recsys.push_to_hub(run, "me/films", hub=hub)
    assert len(hub.commits) == 1
    with pytest.raises(ConfigError, match=r'repo= is .films., expected "owner/name"'):
        recsys.push_to_hub(run, "films", hub=hub)
