"""Small worlds that the tests live in."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

settings.register_profile("same every time", derandomize=True, deadline=None, database=None, max_examples=20)
settings.register_profile("long", deadline=None, database=None, max_examples=300)
settings.load_profile("same every time" if os.environ.get("RECSYS_LONG") is None else "long")

LONGEST = (
    "serving/test_batch_ray.py", "training/test_distributed.py", "docs/test_docs.py", "docs/test_examples.py",
    "test_wheel.py", "faults/test_faults.py", "tuning/test_search.py", "models/test_finetuned_encoder.py",
    "config/test_model_options.py", "training/test_fit_faults.py", "bundle/test_damage.py", "cli/test_refusals.py",
    "training/test_plan.py", "models/test_encoder_folder.py", "serving/test_batch_stopped.py", "cli/test_interrupted.py",
    "serving/test_processes.py", "cli/test_terminal.py", "cli/test_cli_options.py", "training/test_resume.py",
    "bundle/test_owned.py", "cli/test_cli.py", "server/test_http.py", "data/streaming/test_streaming.py",
    "training/test_objectives.py", "test_two_tower_contract.py",
)  # fmt: skip
"""The files that take longest: they are begun first, so that no processor waits for the last one."""


SEVERAL_PROCESSES = (
    "training/test_distributed.py", "serving/test_batch_ray.py::test_two_workers_write",
    "serving/test_batch_ray.py::test_the_command_starts", "models/test_encoder_folder.py::test_another_process",
    "serving/test_batch_stopped.py::test_a_run_killed_twice", "serving/test_batch_stopped.py::test_one_file_is_gone_on",
    "pipeline/test_update.py::test_a_killed_update", "faults/test_faults.py::test_loads_beside_saves",
    "bundle/test_owned.py::test_a_load_sees_one_version", "serving/test_batch_ray.py::test_workers_that_die",
    "serving/test_batch_ray.py::test_a_full_disk",
    "faults/test_faults.py::test_a_killed_process", "training/test_fit_faults.py::test_two_changes",
    "tuning/test_search.py::test_a_killed_process", "serving/test_batch_stopped.py::test_where_the_system_itself",
    "serving/test_processes.py::test_a_forked_process_is_told_instead_of_hanging[calls0]",
    "serving/test_batch_ray.py::test_either_engine_goes_on_with_what_the_other_began[there]",
    "serving/test_batch_ray.py::test_the_shard_of_a_dead_worker", "serving/test_batch_ray.py::test_nodes_that_do_not_see",
    "cli/test_cli_options.py::test_a_killed_fit", "training/test_plan.py::test_an_interrupted_run",
    "cli/test_terminal.py::test_a_reader_who_has_gone_is_no_error[words0]",
    "docs/test_notebooks.py::test_a_source_runs_and_its_notebook_is_made_of_it[serving-with-events]",
    "training/test_resume.py::test_a_killed_and_resumed_run_is_bit_by_bit_the_unbroken_one[gbce]",
    "training/test_resume.py::test_a_killed_and_resumed_run_is_bit_by_bit_the_unbroken_one[sampled]",
    "server/test_dashboard.py",
    "data/streaming/test_on_ray.py",
)  # fmt: skip
"""What starts processes that train or save for tens of seconds: run by ``make test-long``, before a release."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("RECSYS_LONG") is None:
        skip = pytest.mark.skip(reason="tens of seconds in several processes: make test-long")
        for item in items:
            if item.nodeid.removeprefix("tests/").startswith(SEVERAL_PROCESSES):
                item.add_marker(skip)
    place = {str(Path(__file__).parent / name): number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(str(item.path), len(place)))


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage: it stays to the end."""
    gc.collect()
    gc.freeze()


NUMBERS = itertools.count()
COLOURS = ("red", "green", "blue", "black", "white", "pink")
THINGS = ("car", "boat", "plane", "train", "bike")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, untrained BERT of one layer in Hugging Face layout that knows the words of the tiny catalogue."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *THINGS, "a", "."]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def full_bundle(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with everything that an export has to carry."""
    from tests.exports import FULL, make_bundle

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return make_bundle(tiny_encoder, **FULL)


@pytest.fixture(scope="session")
def exported(full_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export."""
    from recsys.compression.export import export

    folder = tmp_path_factory.mktemp("export") / "ring [1]"
    export(full_bundle, folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves anything in the user's cache; the folder is made by the few tests that use one."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path_factory.getbasetemp() / f"cache-{next(NUMBERS)}"))


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command run within a test sets up logging for its process; the next test finds it as it was."""
    logger = logging.getLogger("recsys")
    level, handlers, propagate = logger.level, list(logger.handlers), logger.propagate
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
    logger.propagate = propagate


@pytest.fixture(autouse=True, scope="module")
def signals_of_a_file() -> Iterator[None]:
    """Libraries such as Ray handle SIGTERM in their own way; the next file finds it as this one did."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True, scope="module")
def logging_of_a_file() -> Iterator[None]:
    """Fixtures that a file shares may run commands too; the next file finds logging as the first one did."""
    yield
    logger = logging.getLogger("recsys")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.propagate = True


def make_events(users: int = 40, length: int = 8) -> pl.DataFrame:
    """Everybody walks round a ring of 30 items, so that the next item follows from the last one."""
    generator = np.random.default_rng(0)
    starts = generator.integers(0, 30, users)
    steps = np.arange(length)
    items = (starts[:, None] + steps) % 30
    return pl.DataFrame(
        {
            "user_id": np.repeat([f"u{i}" for i in range(users)], length),
            "item_id": [f"i{i}" for i in items.ravel()],
            "timestamp": (steps + 100 * np.arange(users)[:, None]).ravel(),
        }
    )


def make_items(extra: int = 2) -> pl.DataFrame:
    """The 30 items of the ring, each with a text of its own, and some that nobody touched."""
    names = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
    return pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(30)] + [f"new{i}" for i in range(extra)],
            "title": names + [f"a {COLOURS[i]} {THINGS[i]} ." for i in range(extra)],
        }
    )


@pytest.fixture(scope="session")
def ring() -> Interactions:
    return Interactions.from_frame(make_events())


@pytest.fixture(scope="session")
def ring_split(ring: Interactions) -> Split:
    return leave_last_out(ring)


@pytest.fixture(scope="session")
def ring_catalog() -> Catalog:
    return Catalog.from_frame(make_items(), text=["title"])
