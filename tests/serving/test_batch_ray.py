"""The batch job by workers of Ray: what it writes is what one process writes, whoever dies on the way."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.core import cluster as clusters
from recsys.errors import DataError, DependencyError, RecsysError
from recsys.serving.batch import ray_workers as batch_ray
from recsys.serving.batch.ray_workers import Worker
from recsys.serving.batch.run import BatchResult, recommend_to_parquet
from recsys.serving.retriever import Retriever
from tests.serving.ray_workers import Alone, Doomed, Elsewhere, Full, Misled, Mortal
from tests.serving.ring_batches import content, in_subprocess


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processors, that the batch finds this process connected to."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def on_ray(retriever: Retriever, bundle: Path, out: Path, **options: Any) -> BatchResult:
    asked: dict[str, Any] = {"k": 5, "shard_users": 4, "engine": "ray", "workers": 2, "bundle": bundle}
    return recommend_to_parquet(retriever, out, **asked | options)


def locally(retriever: Retriever, bundle: Path, out: Path) -> BatchResult:
    return recommend_to_parquet(retriever, out, k=5, shard_users=4, bundle=bundle)


def alone_on_ray(retriever: Retriever, bundle: Path, out: Path) -> BatchResult:
    return on_ray(retriever, bundle, out, workers=1)


@pytest.mark.usefixtures("cluster")
def test_two_workers_write_what_one_process_writes_byte_by_byte(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_ray, "Worker", Alone)
    here = locally(retriever, bundle, tmp_path / "here")
    assert here == on_ray(retriever, bundle, tmp_path / "there")
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert (tmp_path / "there" / "_SUCCESS").exists()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("begin", "end"), [(locally, alone_on_ray), (alone_on_ray, locally)], ids=["here", "there"])
def test_either_engine_goes_on_with_what_the_other_began(
    begin: Callable[..., BatchResult],
    end: Callable[..., BatchResult],
    retriever: Retriever,
    bundle: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    locally(retriever, bundle, tmp_path / "whole")
    begin(retriever, bundle, out)
    for shard in (0, 3, 4):
        (out / f"part-{shard:05d}.parquet").unlink()
    assert end(retriever, bundle, out).resumed_shards == 7
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("cluster")
def test_the_shard_of_a_dead_worker_is_made_by_another(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    locally(retriever, bundle, tmp_path / "whole")
    monkeypatch.setattr(batch_ray, "Worker", Mortal)
    caplog.set_level("INFO", logger="recsys")
    on_ray(retriever, bundle, tmp_path / "out")
    assert (tmp_path / "died").exists()
    assert sum("a worker of Ray died at shard" in message for message in caplog.messages) == 1
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.usefixtures("cluster")
def test_workers_that_die_again_and_again_end_the_run_and_what_is_finished_stays(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locally(retriever, bundle, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(batch_ray, "Worker", Doomed)
        patch.setattr(batch_ray, "_DEATHS_IN_A_ROW", 2)
        with pytest.raises(RecsysError, match="workers of Ray die, 2 of them one after the other"):
            alone_on_ray(retriever, bundle, tmp_path / "out")
    assert sorted(content(tmp_path / "out")) == [".part-00000.parquet.sha256", "_plan.json", "part-00000.parquet"]
    locally(retriever, bundle, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_under_a_worker_is_told_as_it_is(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batch_ray, "Worker", Full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            alone_on_ray(retriever, bundle, tmp_path / "out")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, f"{tmp_path}/out/part-00002.parquet")
    assert locally(retriever, bundle, tmp_path / "out").resumed_shards == 2


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("worker", "says"),
    [
        (Elsewhere, r"a worker wrote .*out/part-0000\d\.parquet, which is not seen here: share the folder"),
        (Misled, "is another bundle on .* than where the batch was started"),
    ],
)
def test_nodes_that_do_not_see_the_same_files_are_found_out(
    worker: type[Worker], says: str, retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_ray, "Worker", worker)
    with pytest.raises(DataError, match=says):
        alone_on_ray(retriever, bundle, tmp_path / "out")


def test_the_command_starts_a_cluster_of_its_own(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    flags = ["--k", "5", "--shard-users", "30", "--engine", "ray", "--workers", "1"]
    code = "import sys; from recsys.cli.parser import main; sys.exit(main(sys.argv[1:]))"
    done = in_subprocess(code, "recommend", bundle, *flags, "--out", tmp_path / "recs.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/recs.parquet: 190 rows for 38 users\n"
    assert os.listdir(tmp_path) == ["recs.parquet"]


def test_connecting_leaves_the_handler_of_sigterm_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    clusters.connect(SimpleNamespace(init=init))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_cluster_that_cannot_be_reached_is_named(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    def unreachable(**_: Any) -> None:
        raise ConnectionError("nobody answers")

    caplog.set_level("INFO", logger="recsys")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr("recsys.core.cluster._probe", lambda address: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", unreachable)
    with pytest.raises(RecsysError, match=r"Ray cluster at 10\.0\.0\.1:6379 \(RAY_ADDRESS\) cannot be reached: nobody"):
        on_ray(retriever, bundle, tmp_path / "out")
    assert "connecting to the Ray cluster at 10.0.0.1:6379 (RAY_ADDRESS)" in caplog.messages


def test_without_ray_the_command_to_install_it_is_told(
    retriever: Retriever, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"pip install 'recsys\[ray\]'"):
        on_ray(retriever, bundle, tmp_path / "out")
    assert os.listdir(tmp_path) == []
