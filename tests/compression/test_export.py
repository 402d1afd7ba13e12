"""An export answers what its bundle answers, and what is wrong with it is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from recsys.bundle.contents import Bundle
from recsys.compression import onnx_files
from recsys.compression.export import export
from recsys.compression.networks import rebuilt
from recsys.compression.parity import proven
from recsys.core.sealed import sealed
from recsys.errors import BundleError, ConfigError, DataError, UnknownIdError, UnsupportedError
from recsys.index.spec import IndexSpec
from recsys.serving.retriever import Retriever
from recsys.serving.runtime import Runtime, load
from recsys.serving.runtime.folder import FILE
from tests.exports import builder, make_bundle

BLOCKED = (
    "torch", "transformers", "lightning", "sklearn", "sentence_transformers", "scipy", "pandas", "pyarrow", "tqdm",
    "filelock", "safetensors", "optuna", "plotly", "faiss", "recsys",
)  # fmt: skip
HISTORIES: dict[str, Any] = {
    "histories": [["i3"], ["i4", "i29", "i7", "i4"], ["i1"] * 11],
    "times": [[1000], [5, 6, 7, 90_000], list(range(11))],
    "events": [["buy"], ["view", "view", "buy", "view"], ["buy"] * 11],
    "request_time": 100_000,
}


@pytest.fixture(scope="module")
def retriever(full_bundle: Bundle) -> Retriever:
    return Retriever(full_bundle)


@pytest.fixture(scope="module")
def runtime(exported: Path) -> Runtime:
    return load(exported)


ASKED: dict[str, Callable[[Any], pl.DataFrame]] = {
    "users": lambda r: r.recommend(r.users.ids, k=12, request_time=10**7),
    "an event type": lambda r: r.recommend(["u3", "u9"], target_event="buy", request_time=10**7),
    "with seen items": lambda r: r.recommend("u3", k=40, filter_seen=False, request_time=10**7),
    "filters": lambda r: r.recommend("u3", exclude=["i1", "i2"], where="price < 30", request_time=10**7),
    "eligible": lambda r: r.recommend("u3", eligible=["i20", "i21", "new0"], request_time=10**7),
    "nothing left": lambda r: r.recommend(["u3", "u4"], eligible=["i5"], request_time=10**7),
    "unknown": lambda r: r.recommend(["u3", "nobody"], unknown="skip", request_time=10**7),
    "histories": lambda r: r.recommend(**HISTORIES),
    "similar": lambda r: r.similar_items(["i1", "new1"], k=5),
    "what came next": lambda r: r.similar_items(["i1", "i4"], k=5, by="transitions"),
    "search": lambda r: r.search(["a red car", "plane", " green   boat . "], k=6),
    "a filtered search": lambda r: r.search("a red car", where="price > 20"),
    "explain": lambda r: r.explain("u3", "i7"),
    "explain a history": lambda r: r.explain(
        None, "i7", history=["i4", "i29"], times=[5, 90_000], events=["view", "buy"], request_time=100_000
    ),
    "history": lambda r: r.history("u7"),
}


@pytest.mark.parametrize("what", ASKED)
def test_it_answers_what_the_bundle_answers(retriever: Retriever, runtime: Runtime, what: str) -> None:
    assert_frame_equal(ASKED[what](runtime), ASKED[what](retriever), abs_tol=2e-3 if "search" in what else 1e-5)


WRONG: dict[str, tuple[Callable[[Any], object], type[Exception]]] = {
    "nobody": (lambda r: r.recommend([]), ConfigError),
    "an unknown user": (lambda r: r.recommend("nobody"), UnknownIdError),
    "an unknown item": (lambda r: r.similar_items("nothing"), UnknownIdError),
    "no such event": (lambda r: r.recommend("u3", target_event="steal"), ConfigError),
    "no times": (lambda r: r.recommend(histories=[["i1"]]), ConfigError),
    "k of 0": (lambda r: r.recommend("u3", k=0), ConfigError),
    "a blank text": (lambda r: r.search(" "), DataError),
    "a strange column": (lambda r: r.recommend("u3", where="pricee < 3"), ConfigError),
    "an empty history": (lambda r: r.explain(None, "i1", history=[], times=[], events=[]), DataError),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_refuses_what_the_bundle_refuses(retriever: Retriever, runtime: Runtime, what: str) -> None:
    ask, kind = WRONG[what]
    with pytest.raises(kind) as ours:
        ask(runtime)
    with pytest.raises(kind) as theirs:
        ask(retriever)
    assert str(ours.value) == str(theirs.value)


def test_the_export_tells_how_near_it_is(exported: Path) -> None:
    told = json.loads((exported / FILE).read_text())
    parity = told["parity"]
    assert (told["opset"], parity["users"], parity["overlap"]) == (onnx_files.OPSET, 40, 1.0)
    assert all(parity[name] < onnx_files.TOLERANCE for name in ("user_tower", "user_step", "item_tower", "text_encoder"))
    assert set(told["files"]) == {file.name for file in exported.iterdir()} - {FILE}


def test_vectors_are_exported_whole_whatever_the_index_rounds_them_to(full_bundle: Bundle, exported: Path) -> None:
    told = proven(full_bundle.with_index(rebuilt(full_bundle, full_bundle.index, "int8")), exported)
    assert told["overlap"] == 1.0


def test_the_item_graph_encodes_a_text_as_the_towers_do(full_bundle: Bundle, runtime: Runtime, exported: Path) -> None:
    """From tokens to what is compared: an item that nobody met is its text and words alone."""
    from recsys.core.opened import Source
    from recsys.serving.runtime.graphs import Graph

    row = int(full_bundle.items.to_rows(["new0"])[0])
    bags = full_bundle.towers.net.items.bags
    assert bags is not None
    words = slice(int(bags.offsets[row]), int(bags.offsets[row + 1]))
    text = runtime._texts.vectors([full_bundle.catalog.texts[row]], "document_prompt")[0]
    given = {
        "known": np.array([False]), "ids": np.zeros((1, 32), np.float32), "text": text,
        "tokens": bags.tokens[words].numpy(), "owners": np.zeros(words.stop - words.start, np.int64),
        "weights": bags.weights[words].numpy(),
    }  # fmt: skip
    made = Graph(Source.of(exported), "item_tower.onnx", onnx_files.OPSET, 1)(given)[0][0]
    np.testing.assert_allclose(made, full_bundle.vectors[row], atol=5e-3)  # the bundle's text went through bfloat16


def test_it_runs_as_a_package_of_its_own_without_torch(exported: Path, retriever: Retriever, tmp_path: Path) -> None:
    builder().make(tmp_path)
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); import json, recsys_runtime as r; "
        "runtime = r.load(sys.argv[1]); "
        "found = runtime.recommend(['u3'], request_time=10**7)['item_id'].to_list(); "
        "runtime.search('a red car'), runtime.explain('u3', 'i7'), runtime.similar_items('i1'); print(json.dumps(found))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(exported)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == retriever.recommend(["u3"], request_time=10**7)["item_id"].to_list()


def changed(exported: Path, folder: Path, **told: Any) -> Path:
    shutil.copytree(exported, folder)
    content = json.loads((folder / FILE).read_text()) | told
    (folder / FILE).write_text(json.dumps(sealed(content)))
    return folder


def test_a_newer_export_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = changed(exported, tmp_path / "newer", format_version=2, recsys="9.1")
    with pytest.raises(BundleError, match=r"newer recsys \(9.1, format 2; this runtime reads 1\): upgrade"):
        load(folder)


@pytest.mark.parametrize("name", ["item_vectors.npy", "users.parquet", "user_tower.onnx", FILE])
def test_a_damaged_file_is_told_by_name(exported: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(exported, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(Exception, match=f"{name}.* is damaged") as error:
        load(folder).recommend("u3")
    assert type(error.value).__name__ in ("BundleError", "DamagedError")


def test_a_missing_file_is_told_by_name(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "short")
    (tmp_path / "short" / "item_table.npy").unlink()
    with pytest.raises(BundleError, match=r"incomplete: item_table.npy is missing"):
        load(tmp_path / "short")


def test_an_opset_that_onnxruntime_lacks_is_told(exported: Path, tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "opset"
    shutil.copytree(exported, folder)
    model = onnx.load(folder / "user_tower.onnx")
    model.opset_import[0].version = 999
    onnx.save(model, folder / "user_tower.onnx")
    from recsys.core.opened import Source
    from recsys.serving.runtime.graphs import Graph

    with pytest.raises(BundleError, match=r"user_tower.onnx cannot be run by onnxruntime .* \(opset 999\).*upgrade"):
        Graph(Source.of(folder), "user_tower.onnx", 999, 1)


def test_a_bundle_is_no_export(full_bundle: Bundle, tmp_path: Path) -> None:
    Retriever(full_bundle).save(tmp_path / "run")
    with pytest.raises(BundleError, match="is a bundle, which needs PyTorch; export it"):
        load(tmp_path / "run")
    with pytest.raises(BundleError, match="there is no such folder"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="not an export; it is not overwritten"):
        export(full_bundle, tmp_path / "run", overwrite=True)
    with pytest.raises(DataError, match="lies in the bundle"):
        export(full_bundle, tmp_path / "run" / "onnx")


def test_an_encoder_that_cannot_be_exported_leaves_nothing(
    full_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.compression.graphs import TextGraph

    def forward(self: TextGraph, *given: torch.Tensor) -> torch.Tensor:
        return torch.tensor(np.asarray(given[0].numpy(), dtype=np.float32) * np.random.default_rng().random())

    monkeypatch.setattr(TextGraph, "forward", forward)
    monkeypatch.setattr(onnx_files, "_newer", onnx_files._older)
    with pytest.raises(UnsupportedError, match=r"the text encoder cannot be exported to ONNX: .*--no-text"):
        export(full_bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert Retriever(full_bundle).recommend("u3").height == 10


def test_an_approximate_index_finds_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from recsys.index.item_index import ItemIndex
    from recsys.serving.runtime import vectors

    monkeypatch.setattr(vectors, "_EXACT_BELOW", 0)
    monkeypatch.setattr(vectors, "_EXACT_SHARE", 0.0)
    bundle = make_bundle(None, dim=8, blocks=1, heads=1, max_length=6)
    index = ItemIndex.build(bundle.vectors, IndexSpec("ivf", lists=2, nprobe=2))
    bundle = bundle.with_index(index.removed(bundle.items.to_rows(["i5"])))
    export(bundle, tmp_path / "ivf")
    runtime = load(tmp_path / "ivf")
    assert runtime.vectors.finder is not None
    asked: dict[str, Any] = {"k": 12, "request_time": 10**7, "where": "price < 40"}
    people = bundle.users.ids
    assert_frame_equal(runtime.recommend(people, **asked), Retriever(bundle).recommend(people, **asked), abs_tol=1e-5)
    with pytest.raises(UnsupportedError, match="no text encoder"):
        runtime.search("a red car")


def test_a_fast_model_has_no_graphs(tmp_path: Path) -> None:
    bundle = make_bundle(None, fast=True)
    told = export(bundle, tmp_path / "fast")
    assert not [name for name in told["files"] if name.endswith(".onnx")]
    runtime, retriever = load(tmp_path / "fast"), Retriever(bundle)
    assert_frame_equal(runtime.recommend(["u3", "u4"]), retriever.recommend(["u3", "u4"]), abs_tol=1e-5)
    assert_frame_equal(runtime.similar_items("i4"), retriever.similar_items("i4"), abs_tol=1e-5)
    with pytest.raises(UnsupportedError, match="fast model"):
        runtime.similar_items("i4", by="vectors")
