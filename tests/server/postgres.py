"""A PostgreSQL of its own in a temporary folder, for tests and for the durability benchmark."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal

_MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made in it


def binaries() -> Path | None:
    """The folder of the server's programs; None where there are none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


class Postgres:
    """A cluster that can be stopped, killed and started again. It refuses to run as root, so that user is changed.

    Tests keep it in memory, where that is: they take no power away, and a busy disk would make them slow.
    """

    def __init__(self, *, in_memory: bool = True) -> None:
        found = binaries()
        if found is None:
            raise FileNotFoundError("initdb")
        self._binaries = found
        self._user = ("postgres" if _exists("postgres") else "nobody") if os.name == "posix" and os.geteuid() == 0 else None
        self.folder = Path(
            tempfile.mkdtemp(prefix="recsys-pg-", dir=_MEMORY if in_memory and os.access(_MEMORY, os.W_OK) else None)
        )
        if self._user:
            shutil.chown(self.folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run(
            "initdb",
            "-D",
            self.folder / "data",
            "-A",
            "trust",
            "-U",
            "recsys",
            *(["--no-sync"] if in_memory else []),
            "-E",
            "UTF8",
            "--locale=C",
        )
        self.url = f"postgresql://recsys@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self) -> None:
        where = (
            "-k",
            self.folder,
            "-h",
            "127.0.0.1",
            "-p",
            self.port,
            "-c",
            "shared_buffers=16MB",
            "-c",
            "max_connections=40",
        )
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *map(str, where)],
                user=self._user, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(1200):
            with contextlib.suppress(RuntimeError):
                self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
                return
            if self._server.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """``immediate`` ends it as a crash does."""
        self._server.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._server.wait(60)

    def freeze(self) -> list[int]:
        """Stop all of its processes where they are; the answer is for :meth:`thaw`."""
        processes = [self._server.pid, *_children(self._server.pid)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        return processes

    def thaw(self, processes: list[int]) -> None:
        """Let them go on."""
        for process in processes:
            os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the server and to each process that it has started."""
        self._server.send_signal(signal.SIGSTOP)  # so that it starts no others meanwhile
        children = _children(self._server.pid)
        for process in [self._server.pid, *children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._server.wait()
        while any(_runs(process) for process in children):
            time.sleep(0.01)

    def new_database(self, name: str) -> str:
        """The URL of an empty database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "recsys", name)
        return self.url.replace("/postgres", f"/{name}")

    def remove(self) -> None:
        if self._server.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str | Path) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *map(str, words)], user=self._user, cwd=self.folder, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()}")


def _children(parent: int) -> list[int]:
    found = []
    for facts in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if facts.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(facts.parent.name))
    return found


def _runs(process: int) -> bool:
    """Whether it has not ended; an ended one may keep its number until its parent looks."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _exists(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
