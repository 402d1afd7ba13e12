"""A retriever in other processes: forked ones are told, and it pickles and copies with what it answers from alone."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.serving.retriever import Retriever
from tests.conftest import make_items
from tests.serving.ring_batches import ROOT, fitted

FORK = """
import os, sys
import recsys
retriever = recsys.load(sys.argv[1])
retriever.recommend("u1", k=3)
calls = {
    "recommend": lambda: retriever.recommend("u1", k=3), "load": lambda: recsys.load(sys.argv[1]),
    "score": lambda: retriever.score("u1", "i1"), "similar_items": lambda: retriever.similar_items("i1"),
    "similar_users": lambda: retriever.similar_users("u1"), "search": lambda: retriever.search("a"),
    "explain": lambda: retriever.explain("u1", "i1"), "save": lambda: retriever.save("never"),
    "remove_items": lambda: retriever.remove_items("i1"), "compact": retriever.compact,
    "history": lambda: retriever.history("u1"),
    "fit": lambda: recsys.TwoTower(encoder=None).fit(retriever.bundle.trained_on),
    "read": lambda: recsys.read_interactions(sys.argv[1] + "/histories.parquet"),
    "pool": None,
}
if sys.argv[2] == "pool":
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            pool.apply_async(retriever.recommend, ("u1",)).get(60)
        except recsys.errors.ForkError as error:
            print(error)
            sys.exit(0)
    sys.exit(1)
for call in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            calls[call]()
        except recsys.errors.ForkError as error:
            print(error, flush=True)
            os._exit(0)
        os._exit(1)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{call} ended with {code}")
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("calls", [["recommend", "load", "remove_items", "save", "fit", "read"], ["pool"]])
def test_a_forked_process_is_told_instead_of_hanging(bundle: Path, calls: list[str]) -> None:
    done = run(FORK, bundle, *calls)
    assert done.returncode == 0, done.stderr
    told = done.stdout.strip().splitlines()
    assert len(told) == len(calls)
    assert all("multiprocessing.get_context('spawn')" in line for line in told)


def test_a_process_forked_before_anything_began_loads_and_answers(bundle: Path) -> None:
    code = (
        "import os, sys, recsys\nchild = os.fork()\nif child == 0:\n"
        "    print(recsys.load(sys.argv[1]).recommend('u1', k=3).height, flush=True)\n    os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = run(code, bundle)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_retriever_pickles_with_what_it_answers_from_and_no_more(retriever: Retriever) -> None:
    first = pickle.dumps(retriever)
    answers = [retriever.recommend("u1", k=5), retriever.similar_users("u1", k=5), retriever.similar_items("i1", k=5)]
    assert len(pickle.dumps(retriever)) < 1.05 * len(first)
    again = pickle.loads(first)
    for one, other in zip(
        answers, [again.recommend("u1", k=5), again.similar_users("u1", k=5), again.similar_items("i1", k=5)], strict=True
    ):
        assert one.equals(other)
    again.remove_items("i1")
    assert "i1" in retriever.recommend("u1", k=30, filter_seen=False)["item_id"].to_list()


def test_an_unpickled_retriever_answers_in_a_fresh_process(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "retriever.pickle").write_bytes(pickle.dumps(retriever))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).recommend('u1', k=3)['item_id'].to_list())"
    done = run(code, tmp_path / "retriever.pickle")
    assert done.stdout.strip() == str(retriever.recommend("u1", k=3)["item_id"].to_list()), done.stderr


@pytest.mark.parametrize("kind", ["copy", "deepcopy"])
def test_a_copy_changes_apart(retriever: Retriever, kind: str) -> None:
    twin = getattr(copy, kind)(retriever)
    twin.remove_items("i2")
    assert "i2" not in twin.recommend("u1", k=30, filter_seen=False)["item_id"].to_list()
    assert "i2" in retriever.recommend("u1", k=30, filter_seen=False)["item_id"].to_list()


def test_a_pickled_retriever_takes_new_items(ring_catalog: object) -> None:
    again = pickle.loads(pickle.dumps(fitted()))
    with pytest.raises(Exception, match="by their ids alone"):
        again.add_items(make_items(1).tail(1))
