"""The page: what it holds without a key, what it finds, and how it behaves in a real browser."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsys.server.page.shell import ASSETS, asset
from recsys.server.run import Server
from tests.server.browser import CHROMIUM, Browser, browser
from tests.server.http_world import World, world_of

HOSTILE = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'> \"q\" & مرحبا 🎬"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("page")) as made:
        yield made


def test_without_a_key_the_page_holds_nothing_of_the_bundle(world: World) -> None:
    answer = world.ask("GET", "/", None)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|<script>|style=|\bon\w+=", answer.text)
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', answer.text))
    for name in ASSETS:
        found = world.ask("GET", f"/page/{name}", None)
        assert (found.status_code, found.headers["content-security-policy"]) == (200, policy)
        named |= set(re.findall(r'from "\./([^"]+)"', found.text))
        assert not re.search(
            r"innerHTML|insertAdjacent|document\.write|eval\(|localStorage|sessionStorage|cookie", found.text
        )
    assert named == set(ASSETS)
    assert {world.ask("GET", f"/page/{name}", None).status_code for name in ("shell.py", "..%2fshell.py", "")} == {404}
    assert [world.post(path, {"text": "a"}, None).status_code for path in ("/page/facts", "/page/titles")] == [401, 401]


def test_a_server_need_not_have_a_page(run: Path, tmp_path: Path) -> None:
    with world_of(run, tmp_path, access={"page": False}) as world:
        paths = [("GET", "/"), ("GET", "/page/page.js"), ("POST", "/page/facts"), ("POST", "/page/titles")]
        assert {world.ask(method, path, json={"text": "a"}).status_code for method, path in paths} == {404}


def test_ids_of_users_are_told_to_admins_alone(world: World) -> None:
    admin, reader = (world.post("/page/facts", {}, role).json() for role in ("admin", "read"))
    assert (admin.pop("role"), reader.pop("role"), reader.pop("some_users")) == ("admin", "read", [])
    users = admin.pop("some_users")
    assert len(set(users)) == 6
    assert all(world.ask("GET", f"/v1/users/{one}").status_code == 200 for one in users)
    assert admin == reader == {
        "bundle": world.served.engine.live.active.digest, "users": 40, "items": 32, "searches": True, "reads_times": False,
        "event_types": [], "columns": ["title"],
    }  # fmt: skip


def test_titles_are_found_by_a_part_in_any_case_or_by_id(world: World) -> None:
    def found(text: str) -> list[tuple[str, str]]:
        answer = world.post("/page/titles", {"text": text}, "read")
        return [(one["item_id"], one["title"]) for one in answer.json()["items"]]

    titles = {"z1": "Zeta [.*] ONE", "z2": "one zeta", "z3": "Straße"}
    for item, title in titles.items():
        assert world.ask("PUT", f"/v1/items/{item}", json={"title": title}).status_code == 200
    assert found("ZETA") == [("z1", titles["z1"]), ("z2", titles["z2"])]
    assert found("[.*]") == [("z1", titles["z1"])]
    assert found("straSSe") == []
    assert found(" STRAße ") == [("z3", titles["z3"])]
    assert found("i3")[0][0] == "i3"
    for item in titles:
        world.ask("DELETE", f"/v1/items/{item}")
    assert found("zeta") == []
    assert world.post("/page/titles", {"text": ""}).status_code == 422
    assert world.post("/page/titles", {"text": "x" * 1001}).status_code == 422


@contextmanager
def served(world: World) -> Iterator[str]:
    """The URL at which a world answers on a socket."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = Server(world.served)
        thread = threading.Thread(target=server.run, args=([place],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def page(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    with served(world) as url, browser(tmp_path_factory.mktemp("profile")) as one:
        yield one, url


def with_key(page: tuple[Browser, str], world: World) -> Browser:
    one, url = page
    one.open("about:blank")
    one.resize(1280)
    one.open(url)
    one.wait("!document.querySelector('#key-form').hidden")
    one.type("#key", world.secrets["admin"])
    one.press("Enter")
    one.wait("document.querySelector('#some-users button')")
    return one


def rows(one: Browser, where: str) -> list[str]:
    found: list[str] = one.run(f"[...document.querySelectorAll('{where} > li > .title > bdi')].map((n) => n.textContent)")
    return found


@needs_chromium
def test_the_page_asks_with_a_key_that_it_forgets(page: tuple[Browser, str], world: World) -> None:
    one, url = page
    one.open(url)
    one.wait("!document.querySelector('#key-form').hidden")
    assert one.run("document.querySelector('main').hidden")
    one.type("#key", "rk_wrong_key")
    one.press("Enter")
    one.wait("document.querySelector('[role=alert]').innerText.includes('not valid')")
    one = with_key(page, world)
    assert one.run("document.querySelector('#key').value") == ""
    one.type("#user", "u1")
    one.press("Enter")
    one.wait("document.querySelectorAll('#list > li').length === 10")
    expected = world.recommended(user="u1", titles=True)["items"]
    assert rows(one, "#list") == [item["title"] for item in expected]
    assert "10 items for user u1" in one.text("#status")
    assert len(rows(one, "#history")) == world.ask("GET", "/v1/users/u1").json()["length"]
    one.run("document.querySelector('#forget-key').click()")
    assert one.run("document.querySelector('main').hidden && !document.querySelector('#list').children.length")
    kept = one.run("[document.cookie, localStorage.length, sessionStorage.length, location.search + location.hash]")
    assert kept == ["", 0, 0, ""]


@needs_chromium
def test_titles_are_typed_by_keyboard_and_stay_text(page: tuple[Browser, str], world: World) -> None:
    world.ask("PUT", "/v1/items/evil", json={"title": HOSTILE})
    one = with_key(page, world)
    one.run("document.querySelector('input[name=kind][value=titles]').click()")
    one.type("#title", "<SCRIPT>")
    one.wait("document.querySelector('#title-list li[aria-selected=true]')")
    assert one.text("#title-list li bdi") == HOSTILE
    one.press("Escape")
    assert one.run("document.querySelector('#title-list').hidden")
    one.press("ArrowDown")
    one.wait("document.querySelector('#title-list li[aria-selected=true]')")
    assert one.run("document.querySelector('#title').getAttribute('aria-activedescendant')") == "title-list-0"
    one.press("Enter")
    one.wait("document.querySelectorAll('#list > li').length")
    assert rows(one, "#history") == [HOSTILE]
    assert one.run("typeof window.broken") == "undefined"
    one.run("document.querySelector('#history button').click()")
    one.wait("!document.querySelectorAll('#history li').length")
    world.ask("DELETE", "/v1/items/evil")
    assert one.errors == [
        message for message in one.errors if "/metrics" in message or "401" in message or "404" in message
    ]


@needs_chromium
def test_reasons_similar_items_rules_search_and_events(page: tuple[Browser, str], world: World) -> None:
    one = with_key(page, world)
    one.type("#user", "u2")
    one.press("Enter")
    one.wait("document.querySelectorAll('#list > li').length === 10")
    for name, what in (("Why?", ".more .bars .fill"), ("Similar", ".more .plain li")):
        one.run(f"[...document.querySelectorAll('#list button')].find((b) => b.innerText === '{name}').click()")
        one.wait(f"document.querySelector('#list {what}')")
    assert one.run("document.querySelectorAll('#list [aria-expanded=true]').length") == 1
    one.run("document.querySelector('#options').open = true")
    last = rows(one, "#list")[-1]
    one.run("document.querySelector('#examples button').click()")
    one.run("document.querySelector('#options-form').requestSubmit()")
    one.wait("!document.querySelector('#effects').hidden")
    assert "pin 1" in one.text("#effects-rows")
    assert "10 → 1" in one.text("#effects-rows")
    assert rows(one, "#list")[0] == last
    one.type("#rules", "{")
    one.run("document.querySelector('#options-form').requestSubmit()")
    one.wait("document.querySelector('[role=alert]').innerText.includes('not JSON')")
    assert rows(one, "#list") == []
    one.type("#rules", "{}")
    one.run("document.querySelector('#options-form').requestSubmit()")
    one.wait("document.querySelectorAll('#list > li').length === 10")
    first = rows(one, "#list")[0]
    one.run("[...document.querySelectorAll('#list button')].find((b) => b.innerText === 'Store event').click()")
    one.wait("document.querySelector('#history .badge')")
    assert rows(one, "#history")[0] == first
    one.type("#search", first)
    one.press("Enter")
    one.wait("document.querySelectorAll('#found > li').length")
    assert first in rows(one, "#found")
    for width in (390, 1280):
        one.resize(width)
        assert one.run("document.documentElement.scrollWidth <= window.innerWidth")


@needs_chromium
def test_everything_on_the_page_has_a_name(page: tuple[Browser, str], world: World) -> None:
    one = with_key(page, world)
    one.type("#user", "u3")
    one.press("Enter")
    one.wait("document.querySelectorAll('#list > li').length === 10")
    nodes = one.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "searchbox", "combobox", "checkbox", "radio", "spinbutton", "link", "table", "region"}
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    assert unnamed == []


def test_the_scripts_are_the_ones_that_are_served() -> None:
    folder = Path(__file__).parents[2] / "recsys" / "server" / "page"
    assert {one.name for one in folder.iterdir() if one.suffix in (".js", ".css")} == set(ASSETS)
    assert b"--ink" in asset("page.css")[0]
