"""Tables at addresses are fetched one by one and read as files of this machine; secrets are told nowhere."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import polars as pl
import pytest

from recsys import read_catalog, read_interactions
from recsys.cli.parser import main
from recsys.data.formats.remote import without_secrets
from recsys.errors import ConfigError, DependencyError
from tests.data.worlds import refused

LOG = "user_id,item_id,timestamp\n1,a,1700000000\n1,b,1700000100\n2,a,1700000000\n"
PARTS = {"year=2023/part.csv": 1, "year=2024/part.csv": 2, "_SUCCESS": 0, "year=2024/_x.csv": 0, "notes.md": 0}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing that was fetched is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    for name, user in PARTS.items():
        system.pipe(f"/bucket/log/{name}", f"user_id,item_id\n{user},a\n".encode())
    system.pipe("/bucket/log.csv", LOG.encode())
    system.pipe("/bucket/odd[1].csv", LOG.encode())
    yield system
    system.rm("/bucket", recursive=True)


@pytest.mark.usefixtures("memory")
def test_a_file_a_folder_and_a_pattern_of_a_store_are_read(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO, "recsys")
    assert len(read_interactions("memory://bucket/log.csv")) == 3
    assert "memory://bucket/log.csv: fetching 71 bytes" in caplog.messages
    assert len(read_interactions("memory://bucket/odd[1].csv")) == 3
    for many in (
        "memory://bucket/log",
        "memory://bucket/log/",
        "memory://bucket/log/year=*/part.csv",
        "memory://bucket/log/**/p*.csv",
    ):
        assert read_interactions(many, order="year").users.ids.to_list() == [1, 2]
    (tmp_path / "own.csv").write_text("user_id,item_id\n7,a\n", encoding="utf-8")
    both = read_interactions([tmp_path / "own.csv", "memory://bucket/log/year=2024/part.csv"])
    assert both.users.ids.to_list() == [7, 2]
    assert str(tempfile.tempdir) not in caplog.text


@pytest.mark.usefixtures("memory")
def test_what_is_wrong_with_a_fetched_file_is_told_by_its_address(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/bucket/bad.csv", b"user_id,item_id,timestamp\n1,a,x\n")
    memory.pipe("/bucket/bad.parquet", b"PAR1 cut")
    memory.pipe("/bucket/none", b"1,2")
    memory.pipe("/bucket/delta/_delta_log/00000000000000000000.json", b"{}")
    memory.pipe("/bucket/delta/part.parquet", b"PAR1")
    for path, told in {
        "bad.csv": "memory://bucket/bad.csv, column 'timestamp': row 1 is 'x'",
        "bad.parquet": "memory://bucket/bad.parquet cannot be read as parquet",
        "none": "memory://bucket/none: the format is not clear from the name; set format=",
        "gone.csv": "nothing is at memory://bucket/gone.csv",
        "delta": "memory://bucket/delta: it is a Delta table",
    }.items():
        with refused(told):
            read_interactions(f"memory://bucket/{path}")
    with refused("no column 'gone'", "memory://bucket/log.csv"):
        read_interactions("memory://bucket/log.csv", weight="gone")
    with refused("memory://bucket/log.csv is named twice"):
        read_interactions(["memory://bucket/log.csv", "memory://bucket/*.csv"])


def test_kinds_of_addresses_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="is an address of an unknown kind, nosuch://; download it first"):
        read_interactions("nosuch://bucket/log.csv")
    with pytest.raises(DependencyError, match="s3://bucket/log.parquet: .* need the package s3fs"):
        read_interactions("s3://key:secret@bucket/log.parquet")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(DependencyError, match=r"pip install 'recsys\[remote\]'"):
        read_interactions("gs://bucket/log.parquet")


def test_a_file_that_finds_no_room_is_refused(memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with refused("log.csv has 71 bytes", "has room for 10", "TMPDIR"):
        read_interactions("memory://bucket/log.csv")


class Web(BaseHTTPRequestHandler):
    """Serves the log; cuts it off, refuses it, or moves it."""

    def do_GET(self) -> None:
        path, body = self.path.partition("?")[0], LOG.encode()
        if path == "/items.parquet":
            body = parquet()
        if path in ("/log.csv", "/items.parquet", "/cut.csv"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 100 * (path == "/cut.csv")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
        elif path == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "/log.csv")
            self.end_headers()
        else:
            self.send_error(403 if path == "/mine.csv" else 404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def parquet() -> bytes:
    from io import BytesIO

    pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]}).write_parquet(stream := BytesIO())
    return stream.getvalue()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_web_server_s_files_are_read(web: str) -> None:
    for name in ("log.csv", "moved.csv", "log.csv?signature=SECRET&x=1"):
        assert len(read_interactions(f"http://{web}/{name}")) == 3
    assert read_catalog(f"http://{web}/items.parquet").texts.to_list() == ["A", "B"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cut.csv", "/cut.csv cannot be fetched"),
        ("mine.csv", "/mine.csv cannot be fetched: ClientResponseError (403"),
        ("gone.csv", "/gone.csv does not exist"),
        ("log.data", "/log.data: the format is not clear from the name"),
    ],
)
def test_what_goes_wrong_with_a_web_server_is_told_without_secrets(web: str, name: str, told: str) -> None:
    with refused(f"http://{web}{told}"):
        read_interactions(f"http://me:SECRET@{web}/{name}?token=SECRET")


def test_no_secret_is_told_or_recorded(web: str, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("log.csv", "gone.csv", "mine.csv"):
        main(["inspect", f"http://me:SECRET@{web}/{name}?token=SECRET", "--separator", ","])
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err
    assert f"http://{web}/mine.csv cannot be fetched" in err
    assert without_secrets("at s3://key:SECRET@b/log?.csv, https://u:SECRET@h/a?sig=SECRET (x)") == (
        "at s3://b/log?.csv, https://h/a (x)"
    )
