"""The examples in the docstrings run as they are printed.

They may use ``recsys``, ``np``, ``pl`` and ``torch``; a small ``log`` with its ``catalog``, its ``split`` and a
``retriever``; and write files, since each runs in an empty folder, beside a text encoder named ``encoder``.
"""

from __future__ import annotations

import doctest
import importlib
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.serving.retriever import Retriever
from tests.test_architecture import modules

MODULES = [name for name, file in modules().items() if ">>> " in file.read_text(encoding="utf-8")]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@cache
def little_trained(split: Split, catalog: Catalog) -> Retriever:
    """A retriever for examples that do not depend on what was learned."""
    options = recsys.Training(epochs=1, device="cpu")
    model = recsys.TwoTower(encoder=None, word_features="off", dim=16, max_length=8)
    return model.fit(split.train, catalog, training=options).retriever(index="exact")


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_they_are_printed(
    name: str,
    ring: Interactions,
    ring_split: Split,
    ring_catalog: Catalog,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoder").symlink_to(tiny_encoder, target_is_directory=True)
    given = {"recsys": recsys, "np": np, "pl": pl, "torch": torch}
    given |= {"log": ring, "split": ring_split, "catalog": ring_catalog}
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=vars(module) | given)
    for test in tests:
        if any("retriever" in example.source for example in test.examples):
            test.globs["retriever"] = little_trained(ring_split, ring_catalog)
        runner.run(test)
    out = capsys.readouterr().out
    assert runner.failures == 0, out
    assert runner.tries > 0


@pytest.mark.parametrize("name", recsys.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(recsys, name).__doc__ or "")
