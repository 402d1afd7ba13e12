"""What the files of serving/ and its guide name exists: commands, flags, settings, routes, ports, paths."""

from __future__ import annotations

import argparse
import ast
import configparser
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import recsys
from recsys.cli import runtime_command
from recsys.cli.parser import build_parser
from recsys.server.database import open_database
from recsys.server.events import Event
from recsys.server.settings import Listen, Settings, config_text
from recsys.server.store import EventStore
from tests.server.http_world import World, world_of
from tests.server.postgres import Postgres, binaries

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "serving"
GUIDE, SECURITY = ROOT / "docs" / "serving.md", ROOT / "SECURITY.md"
TEXTS = [file for file in sorted(SERVING.rglob("*")) if file.suffix not in (".json", ".pyc") and file.is_file()]
TEXTS = [file for file in TEXTS if file.parent.name != "prometheus"]  # alerts name commands without their flags
TEXTS += [GUIDE, SECURITY, ROOT / "README.md"]
COMMAND = re.compile(r"(?:^|[\s/\"'`(])recsys ((?:serve|keys|export-events|fit|evaluate|compare|demo)\b[^\n`|;#&)]*)")
POSTGRES_URL = "postgresql+psycopg://recsys@database/recsys"


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of recsys, with the file that names it."""
    for file in TEXTS:
        for found in COMMAND.finditer(text_of(file).replace("\\\n", " ")):
            words = re.split(r"\s(?:2?>|<)", found[1])[0].rstrip("\"' .,:")
            if (
                " " in words
                and "..." not in words
                and "--help" not in words
                and not re.search(r"\b[A-Z]{3,}\b|[\[\]]", words.replace("$KEY", ""))
            ):
                yield file.name, shlex.split(words)


def blocks(file: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(file), re.MULTILINE | re.DOTALL)


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text_of(file)))


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("guide")) as made:
        yield made


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, dict[str, Any]]:
    found = [one for file in (SERVING / "kubernetes").glob("*.yaml") for one in documents(file)]
    return {one["kind"]: one for one in found}


def test_every_command_that_is_named_can_be_typed() -> None:
    found = list(commands())
    assert len(found) >= 8
    parser = build_parser()
    for file, words in found:
        try:
            parser.parse_args(words)
        except SystemExit as ended:
            pytest.fail(f"{file}: recsys {shlex.join(words)} ({ended})")


def test_the_reference_of_settings_is_what_the_program_prints() -> None:
    printed = config_text()
    assert text_of(SERVING / "recsys.toml") == printed, "recsys serve --print-config > serving/recsys.toml"
    assert Settings.read(SERVING / "recsys.toml") == Settings()


def test_settings_that_are_named_exist(tmp_path: Path, kubernetes: dict[str, dict[str, Any]]) -> None:
    for i, written in enumerate([kubernetes["ConfigMap"]["data"]["recsys.toml"], *blocks(GUIDE, "toml")]):
        assert tomllib.loads(written)
        file = tmp_path / f"{i}.toml"
        file.write_text(written)
        Settings.read(file)
    known = set(re.findall(r"^(\w+) = ", config_text(), re.MULTILINE))
    named = set(
        re.findall(r"`((?:max|drain|notice|keep|body|batch|queue|retention|bundle|warm|audit|in)_\w+)`", text_of(GUIDE))
    )
    assert named - known - {"bundle_folder"} == set()


def test_kubernetes_fits_together(kubernetes: dict[str, dict[str, Any]], world: World) -> None:
    listed = documents(SERVING / "kubernetes" / "kustomization.yaml")[0]["resources"]
    files = {file.name for file in (SERVING / "kubernetes").glob("*.yaml")}
    assert set(listed) == files - {"kustomization.yaml", "secret.example.yaml"}
    pod = kubernetes["Deployment"]["spec"]["template"]
    spec, (server,) = pod["spec"], pod["spec"]["containers"]
    settings = tomllib.loads(kubernetes["ConfigMap"]["data"]["recsys.toml"])
    listen = settings["listen"]
    assert spec["terminationGracePeriodSeconds"] > listen["notice_seconds"] + listen["drain_seconds"]
    assert server["ports"] == [{"name": "http", "containerPort": listen["port"]}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == "http"
        assert world.ask("GET", server[probe]["httpGet"]["path"], None).status_code in (200, 503)
    arguments = build_parser().parse_args(server["args"])
    mounts = {one["mountPath"]: one["name"] for one in server["volumeMounts"]}
    assert mounts[str(Path(arguments.config).parent)] == "config"
    assert mounts[str(Path(arguments.run_folder).parent)] == "bundles"
    volumes = {one["name"]: one for one in spec["volumes"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes["config"]["configMap"]["name"] == kubernetes["ConfigMap"]["metadata"]["name"]
    claim = volumes["bundles"]["persistentVolumeClaim"]["claimName"]
    assert claim == kubernetes["PersistentVolumeClaim"]["metadata"]["name"]
    reference = server["env"][0]["valueFrom"]["secretKeyRef"]
    assert reference["name"] == kubernetes["Secret"]["metadata"]["name"]
    assert reference["key"] in kubernetes["Secret"]["stringData"]
    labels = pod["metadata"]["labels"]
    assert (
        labels == kubernetes["Deployment"]["spec"]["selector"]["matchLabels"] == kubernetes["Service"]["spec"]["selector"]
    )
    assert kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == kubernetes["Deployment"]["metadata"]["name"]
    assert scaled["minReplicas"] > kubernetes["PodDisruptionBudget"]["spec"]["minAvailable"]
    assert "replicas" not in kubernetes["Deployment"]["spec"]


def test_compose_fits_together() -> None:
    (compose,) = documents(SERVING / "compose.yaml")
    services = compose["services"]
    server = services["server"]
    arguments = build_parser().parse_args(server["command"])
    assert arguments.db == POSTGRES_URL
    assert services["database"]["environment"]["POSTGRES_USER"] == "recsys"
    assert server["ports"] == [f"127.0.0.1:{Listen().port}:{Listen().port}"]
    assert int(server["stop_grace_period"].rstrip("s")) > arguments.notice_seconds + arguments.drain_seconds
    assert (SERVING / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    for service in services.values():
        for source in (one.split(":")[0] for one in service.get("volumes", [])):
            assert source.startswith("${") or source in compose["volumes"] or (SERVING / source).exists(), source
        assert all(one.startswith("127.0.0.1:") for one in service.get("ports", []))
        assert ":latest" not in service["image"] or "build" in service
    (override,) = documents(SERVING / "compose.gpu.yaml")
    assert set(override["services"]) <= set(services)
    (scrape,) = documents(SERVING / "prometheus" / "prometheus.yml")[0]["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == [f"server:{Listen().port}"]
    assert Path(scrape["authorization"]["credentials_file"]).name in services["prometheus"]["secrets"]
    named = set(re.findall(r"\$\{(\w+)", text_of(SERVING / "compose.yaml")))
    assert all(name in text_of(GUIDE) for name in named)
    datasource = documents(SERVING / "grafana" / "provisioning" / "datasources" / "recsys.yaml")[0]["datasources"][0]
    assert datasource["url"] == "http://prometheus:9090"


@pytest.mark.parametrize(
    ("name", "project", "extras", "parser"),
    [
        ("Dockerfile", "pyproject.toml", [".[${VARIANT},serve,postgres]", "cpu", "gpu"], build_parser),
        (
            "runtime/Dockerfile",
            "serving/runtime/pyproject.toml",
            ["./serving/runtime[serve,search,approximate,postgres]"],
            runtime_command.build_parser,
        ),
    ],
)
def test_an_image_is_made_of_what_there_is(
    name: str, project: str, extras: list[str], parser: Callable[[], argparse.ArgumentParser]
) -> None:
    text = text_of(SERVING / name).replace("\\\n", " ")
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)", text, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line.removeprefix("!") for line in text_of(SERVING / f"{name}.dockerignore").splitlines() if line[0] == "!"}
    assert set(copied) == allowed
    assert re.search(r"^torch==", text_of(ROOT / "constraints.txt"), re.MULTILINE)
    told = tomllib.loads(text_of(ROOT / project))["project"]
    wanted = {*extras[0].partition("[")[2].rstrip("]").split(","), *extras[1:]} - {"${VARIANT}"}
    assert wanted <= set(told["optional-dependencies"])
    assert extras[0] in text
    assert "constraints.txt" in text
    default = parser().parse_args(json.loads(re.findall(r"^CMD (.*)", text, re.MULTILINE)[0]))
    assert (default.host, default.db) == ("0.0.0.0", "sqlite:////data/recsys.db")  # noqa: S104 - within a container
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)", text, re.MULTILINE)[0]) == [told["name"]]
    assert told["name"] in told["scripts"]
    assert re.findall(r"^EXPOSE (\d+)", text, re.MULTILINE) == [str(Listen().port)]
    assert re.findall(r"^USER (\d+)", text, re.MULTILINE) == ["10001"]


def test_the_unit_of_systemd_starts_the_server_and_waits_for_it(tmp_path: Path) -> None:
    file = SERVING / "systemd" / "recsys.service"
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(file, encoding="utf-8")
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    arguments = build_parser().parse_args(words)
    assert (Path(program).name, arguments.command) == ("recsys", "serve")
    assert arguments.db.startswith("sqlite:////var/lib/recsys/")
    assert arguments.audit_file.startswith("/var/log/recsys/")
    assert int(service["TimeoutStopSec"]) > Listen().notice_seconds + Listen().drain_seconds
    if checker := shutil.which("systemd-analyze"):
        copy = tmp_path / file.name
        copy.write_text(text_of(file).replace(program, "/bin/true"))
        done = subprocess.run([checker, "verify", str(copy)], capture_output=True, text=True, check=False)
        assert [line for line in done.stderr.splitlines() if file.name in line] == []


def test_proxies_lead_to_the_server_and_close_connections_before_it_does(world: World) -> None:
    routes = world.ask("GET", "/openapi.json").json()["paths"]
    for name in ("Caddyfile", "nginx.conf"):
        text = text_of(SERVING / "proxy" / name)
        assert f"127.0.0.1:{Listen().port}" in text
        (seconds,) = re.findall(r"keepalive(?:_timeout)? (\d+)s", text)
        assert int(seconds) < Listen().keep_alive_seconds
        assert text.count("{") == text.count("}")
        assert "admin" in text
    assert any(path.startswith("/admin/") for path in routes)


def test_the_load_test_asks_what_there_is(world: World) -> None:
    source = text_of(SERVING / "load" / "locustfile.py")
    compile(ast.parse(source), "locustfile.py", "exec")
    paths = set(re.findall(r"post\(\"([^\"]+)\"", source))
    assert paths <= set(world.ask("GET", "/openapi.json").json()["paths"])


def test_the_guide_does_what_it_says(world: World, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run, run.parent / "2026-02-01")
    asked = 0
    for line in "".join(blocks(GUIDE, "sh")).replace("\\\n", " ").splitlines():
        if not line.startswith("curl "):
            continue
        words = shlex.split(line.partition(" | ")[0])
        (url,) = [word for word in words if word.startswith("http")]
        body = words[words.index("-d") + 1] if "-d" in words else None
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
        path = url.removeprefix(f"http://127.0.0.1:{Listen().port}")
        keyed = any("Bearer" in word for word in words)
        answer = world.ask(
            method, path, "admin" if keyed else None, content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, f"{line}: {answer.text}"
        asked += 1
    assert asked >= 4
    transport, key = world.client._transport, world.secrets["admin"]
    client = recsys.Client
    monkeypatch.setattr(recsys, "Client", lambda *_: client("http://testserver", key, transport=transport))
    for block in blocks(GUIDE, "python"):
        code = compile(block, str(GUIDE), "exec")
        if "import recsys_runtime" not in block:  # a package of its own: tests/compression asks it
            exec(code, {})  # noqa: S102 - our own guide


def test_links_of_the_guide_lead_somewhere() -> None:
    for file in (GUIDE, SECURITY, SERVING / "README.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text_of(file)):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def script(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SERVING / name), *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def receipts(url: str, *names: str) -> list[str]:
    """What becomes of events that are stored in a database; a duplicate was there before."""
    database = open_database(url)
    store = EventStore(database)
    try:
        return [one.result for one in store.append([Event(name, "u1", "i1", 1_700_000_000) for name in names])]
    finally:
        store.close()
        database.close()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3")
def test_sqlite_is_backed_up_while_it_is_used_and_restored_when_it_is_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/recsys.db"
    database = open_database(url)
    store = EventStore(database)
    store.append([Event("before", "u1", "i1", 1_700_000_000)])
    saved = script("backup.sh", url, tmp_path / "backups")
    assert saved.returncode == 0, saved.stderr
    file = Path(saved.stdout.strip())
    assert file.stat().st_mode & 0o077 == 0
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.append([Event("after", "u1", "i1", 1_700_000_000)])
    refused = script("restore.sh", url, file)
    assert (refused.returncode, "stop every server" in refused.stderr) == (1, True)
    store.close()
    database.close()
    restored = script("restore.sh", url, file)
    assert restored.returncode == 0, restored.stderr
    assert receipts(url, "before", "after") == ["duplicate", "accepted"]
    assert (tmp_path / "recsys.db.before-restore").is_file()
    (tmp_path / "odd").write_text("no database")
    assert script("restore.sh", url, tmp_path / "odd").returncode == 1
    assert script("backup.sh", "mysql://a", tmp_path).returncode == 2
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(binaries() is None or shutil.which("pg_dump") is None, reason="there is no PostgreSQL")
def test_postgresql_is_backed_up_and_restored(tmp_path: Path) -> None:
    server = Postgres()
    try:
        url = server.new_database("kept").replace("postgresql:", "postgresql+psycopg:")
        assert receipts(url, "before") == ["accepted"]
        saved = script("backup.sh", url, tmp_path)
        assert saved.returncode == 0, saved.stderr
        assert receipts(url, "after") == ["accepted"]
        restored = script("restore.sh", url, saved.stdout.strip())
        assert restored.returncode == 0, restored.stderr
        assert receipts(url, "before", "after") == ["duplicate", "accepted"]
    finally:
        server.remove()
