"""The routes as a client meets them: answers, refusals, keys, and what is logged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson
import polars as pl
import pytest

import recsys
from recsys.server import access
from recsys.server.time_limit import HEADER
from recsys.serving.retriever import Retriever
from tests.server.http_world import World, world_of


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("http")) as made:
        yield made


@pytest.fixture(scope="module")
def retriever(run: Path) -> Retriever:
    return recsys.load(run)


def test_a_user_gets_what_the_retriever_gives(world: World, retriever: Retriever) -> None:
    found = world.recommended(user="u1", k=4, titles=True)
    expected = retriever.with_titles(retriever.recommend("u1", k=4))
    assert [[one[name] for one in found["items"]] for name in ("item_id", "score", "rank", "title")] == [
        expected[name].to_list() for name in ("item_id", "score", "rank", "title")
    ]
    assert (found["source"], found["stale"], found["fresh_events"]) == ("model", False, 0)


def test_filters_rules_and_histories_reach_the_model(world: World, retriever: Retriever) -> None:
    rules = {"pin": [{"item": "i4", "position": 1}]}
    given = {"history": ["i3", "i4"], "k": 3, "exclude": ["i5"], "where": 'item_id != "i6"', "filter_seen": False}
    found = world.recommended(**given, rules=rules)
    given["histories"] = [given.pop("history")]
    expected = retriever.recommend(**given, rules=recsys.Rules.of(rules))
    assert [one["item_id"] for one in found["items"]] == expected["item_id"].to_list()


def test_an_answer_says_what_the_rules_moved(world: World, retriever: Retriever) -> None:
    rules = {"pin": [{"item": "i4", "position": 1}], "boost": [{"name": "up", "items": ["i9"], "add": 2.0}]}
    found = world.recommended(user="u1", k=3, rules=rules, rule_effects=True, titles=True)["rule_effects"]
    expected = retriever.with_titles(retriever.rule_effects("u1", k=3, rules=recsys.Rules.of(rules))).to_dicts()
    names = ("item_id", "rule", "change", "rank_before", "rank_after", "title")
    assert [[one[name] for name in names] for one in found] == [[one[name] for name in names] for one in expected] != []
    assert "rule_effects" not in world.recommended(user="u1", k=3, rules=rules)


def test_an_event_counts_in_the_next_answer_and_once(world: World) -> None:
    before = world.recommended(user="reader", fallback="popular")
    event = {"event_id": "r-1", "user_id": "reader", "item_id": before["items"][0]["item_id"]}
    for result in ("accepted", "duplicate"):
        answer = world.post("/v1/events", {"events": [event]}, "events").json()
        assert [one["result"] for one in answer["receipts"]] == [result]
    after = world.recommended(user="reader")
    assert (before["source"], after["source"], after["history_length"], after["fresh_events"]) == ("popular", "model", 1, 1)
    assert event["item_id"] not in [one["item_id"] for one in after["items"]]


def test_events_are_refused_one_by_one(world: World) -> None:
    late = int(time.time()) + 10**6
    odd = world.post("/v1/events", {"events": [{"user_id": "x", "item_id": "i1", "weight": "3"}]}, "events").json()
    assert odd["detail"] == "body.events[0].weight: it should be a valid number, or it should be a valid integer"
    events = [{"user_id": "x", "item_id": "i1"}, {"user_id": "x", "item_id": "i1", "timestamp": late}]
    answer = world.post("/v1/events", {"events": events}, "events")
    assert (answer.status_code, answer.json()["accepted"], answer.json()["refused"]) == (200, 1, 1)
    assert "days in the future" in answer.json()["receipts"][1]["reason"]


def test_one_bad_request_of_a_batch_spoils_no_other(world: World) -> None:
    asked = [{"user": "u1", "k": 2}, {"user": "nobody"}, {"user": "u2", "where": "price <"}, {"user": "u2", "k": 1}]
    found = world.post("/v1/recommend/batch", {"requests": asked}, "read").json()["answers"]
    assert [one.get("status") for one in found] == [None, 404, 422, None]
    alone = world.recommended(user="u1", k=2)["items"]
    assert [one["item_id"] for one in found[0]["items"]] == [one["item_id"] for one in alone]
    assert len(found[3]["items"]) == 1


def test_the_other_questions_have_the_retrievers_answers(world: World, retriever: Retriever) -> None:
    similar = world.post("/v1/similar", {"items": ["i3", "i4"], "k": 3}).json()["results"]
    expected = retriever.similar_items(["i3", "i4"], k=3)["similar_item_id"].to_list()
    assert [one["item_id"] for each in similar for one in each["items"]] == expected
    found = world.post("/v1/similar", {"items": ["i3"] * 500 + ["i4"] * 500, "k": 3}).json()["results"]
    assert (found[0], found[999]) == (similar[0], similar[1])
    assert world.post("/v1/similar", {"items": ["i3", "who?"]}).status_code == 404
    assert world.post("/v1/search", {"texts": ["a car", " "]}).status_code == 422
    (texts,) = world.post("/v1/search", {"texts": ["a red car"], "k": 2}).json()["results"]
    assert [one["item_id"] for one in texts["items"]] == retriever.search("a red car", k=2)["item_id"].to_list()
    scored = world.post("/v1/score", {"user": "u1", "items": ["i8", "i9"]}).json()["items"]
    assert [one["score"] for one in scored] == pytest.approx(retriever.score("u1", ["i8", "i9"])["score"].to_list())
    why = world.post("/v1/explain", {"user": "u1", "item": "i9"}).json()
    assert [one["item_id"] for one in why["reasons"]] == retriever.explain("u1", "i9")["item_id"].to_list()
    assert why["parts"].keys() == retriever.score_breakdown("u1", "i9").keys()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"user": "nobody"}, 404, "unknown user 'nobody'"),
        ({"user": "u1", "history": ["i1"]}, 422, "give either"),
        ({}, 422, "give either"),
        ({"user": "u1", "k": 0}, 422, "body.k: it should be greater than or equal to 1"),
        ({"user": "u1", "k": 10**6}, 422, "body.k: must be at most 1,000"),
        ({"user": "u1", "k": True}, 422, "body.k: it should be a valid integer"),
        ({"user": "u1", "K": 3}, 422, "body.K: there is no such field"),
        ({"user": ["u1"]}, 422, "body.user: it should be a valid string, or it should be a valid integer"),
        ({"history": ["i1", None]}, 422, "body.history[1]"),
        ({"history": ["i1"], "exclude": ["who?"]}, 404, "unknown item 'who?'"),
        ({"user": "u1", "where": "price < 3"}, 422, "no column 'price'"),
        ({"user": "u1", "rules": {"bost": []}}, 422, "body.rules: unknown key 'bost'"),
        ({"user": "u1", "request_time": "yesterday"}, 422, "request_time"),
        ({"user": "u1", "target_event": "buy"}, 422, "target_event"),
        (["u1"], 422, "body"),
        ("u1", 422, "body"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_names_the_field(
    world: World, body: object, status: int, words: str
) -> None:
    answer = world.post("/v1/recommend", body, "read")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"user":', "application/json", 400),
        (b"user=u1", "application/x-www-form-urlencoded", 415),
        (b'{"user": NaN}', "application/json", 400),
        (b'{"user": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"user": "u1", "user": "u2"}', "application/json", 400),
        (b"", "application/json", 422),
        (b'{"user": "u1"}' + b" " * 2**20, "application/json", 413),
        (b'{"user": ' + b"[" * 13, "application/json", 422),
    ],
)
def test_what_cannot_be_read_is_refused(world: World, content: bytes, kind: str, status: int) -> None:
    answer = world.ask("POST", "/v1/recommend", "read", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text


@pytest.mark.parametrize("given", ["0", "-1", "1e3", "0.5", "600001", "soon", "", "9" * 5000])
def test_a_time_limit_that_cannot_be_is_refused_before_the_body_is_read(world: World, given: str) -> None:
    for path in ("/v1/recommend", "/v1/similar"):
        body = {"user": "u1"} if path == "/v1/recommend" else {"items": ["i3"]}
        answer = world.post(path, body, headers={HEADER: given})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, HEADER)


def test_a_time_limit_within_which_there_is_an_answer_changes_nothing(world: World) -> None:
    asked = {"recommend": {"user": "u1"}, "similar": {"items": ["i3"]}, "search": {"texts": ["a car"]}}
    asked |= {"score": {"user": "u1", "items": ["i9"]}, "explain": {"user": "u1", "item": "i9"}}
    asked["recommend/batch"] = {"requests": [{"user": "u1"}]}
    schema = world.ask("GET", "/openapi.json").json()["paths"]
    for path, body in asked.items():
        assert world.post(f"/v1/{path}", body, headers={HEADER: "60000"}).status_code == 200
        assert [one["name"] for one in schema[f"/v1/{path}"]["post"]["parameters"]] == [HEADER]
    with_two = [("authorization", f"Bearer {world.secrets['read']}"), (HEADER, "50"), (HEADER, "60000")]
    assert world.client.post("/v1/recommend", json={"user": "u1"}, headers=with_two).status_code == 422


def test_a_request_keeps_the_id_that_it_brings(world: World) -> None:
    assert world.ask("GET", "/healthz", None, headers={"x-request-id": "abc.1"}).headers["x-request-id"] == "abc.1"
    assert world.ask("GET", "/healthz", None, headers={"x-request-id": "a\tb"}).headers["x-request-id"] != "a\tb"


def test_long_paths_and_headers_are_refused(world: World) -> None:
    assert world.ask("GET", "/healthz?" + "a" * 9000).status_code == 414
    assert world.ask("GET", "/healthz", headers={"x-a": "b" * 40_000}).status_code == 431


def test_without_a_key_health_alone_answers(world: World) -> None:
    """Every route that there is, also those that the schema leaves out."""
    schema = world.ask("GET", "/openapi.json").json()
    operations = [(path, method) for path, methods in schema["paths"].items() for method in methods]
    assert len(operations) >= 9
    for path, method in [*operations, ("/openapi.json", "get")]:
        answer = world.ask(method.upper(), path.replace("{", "").replace("}", ""), None, content=b"{}")
        assert answer.status_code == (200 if path in ("/healthz", "/readyz") else 401), path
    assert {world.ask("GET", path, None).status_code for path in ("/docs", "/redoc", "/nowhere", "/admin")} == {404}


def test_a_key_opens_what_its_role_says(world: World) -> None:
    body = {"events": [{"user_id": "x", "item_id": "i1"}]}
    codes = {role: world.post("/v1/events", body, role).status_code for role in world.secrets}
    assert codes == {"read": 403, "events": 200, "items": 403, "admin": 200}
    codes = {role: world.post("/v1/recommend", {"user": "u1"}, role).status_code for role in world.secrets}
    assert codes == {"read": 200, "events": 403, "items": 403, "admin": 200}


def test_wrong_keys_are_refused_alike_and_never_written(world: World) -> None:
    good = world.secrets["read"]
    wrong = [good[:-1] + ("A" if good[-1] != "A" else "B"), good.upper(), "rk_zzz", "", "x" * 5000, "p@ss w0rd-of-mine"]
    answers = [world.ask("POST", "/v1/recommend", None, headers={"authorization": f"Bearer {one}"}) for one in wrong]
    answers += [world.ask("POST", "/v1/recommend", None, headers={"authorization": one}) for one in (good, "Basic a:b")]
    assert {one.status_code for one in answers} == {401}
    assert len({one.json()["detail"] for one in answers}) == 1
    assert {one.headers["www-authenticate"] for one in answers} == {'Bearer realm="recsys"'}
    log = world.log()
    assert [one for one in (*filter(None, wrong), *world.secrets.values()) if one in log or one[3:] in log] == []


def test_logs_are_lines_of_json_without_users_items_and_texts(world: World) -> None:
    world.recommended(user="u17", history=None, exclude=["i21"])
    world.post("/v1/search", {"texts": ["a private wish"]})
    world.post("/v1/recommend", {"user": "somebody@example.org"})
    lines = [orjson.loads(line) for line in world.log().splitlines()]
    assert {"request_id", "route", "status", "milliseconds", "method", "timestamp", "level"} <= set(lines[-1])
    for private in ("u17", "i21", "private wish", "somebody"):
        assert private not in world.log()


def test_a_revoked_key_is_refused_once_it_is_looked_up_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_SECONDS", 0.0)
    key, secret = world.keys.create("read")
    headers = {"authorization": f"Bearer {secret}"}
    assert world.post("/v1/recommend", {"user": "u1"}, None, headers=headers).status_code == 200
    world.keys.revoke(key.id)
    assert world.post("/v1/recommend", {"user": "u1"}, None, headers=headers).status_code == 401


def test_a_key_that_asks_too_often_is_told_when_to_come_again(world: World) -> None:
    _, secret = world.keys.create("read", rate="2/minute")
    headers = {"authorization": f"Bearer {secret}"}
    codes = [world.post("/v1/recommend", {"user": "u1"}, None, headers=headers) for _ in range(3)]
    assert [one.status_code for one in codes] == [200, 200, 429]
    assert 1 <= int(codes[2].headers["retry-after"]) <= 60


def test_the_examples_of_the_schema_are_answered(world: World) -> None:
    schema = world.ask("GET", "/openapi.json").json()
    digest, tried = world.recommended(user="u1")["bundle"], 0
    for path, methods in schema["paths"].items():
        reference = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "schema" in reference:
            body = schema["components"]["schemas"][reference["schema"]["$ref"].rpartition("/")[2]]
            for example in body["examples"]:
                if path.startswith("/admin"):
                    assert world.post("/admin/bundles", {"path": "run"}).status_code == 200
                given = {name: digest if value == "{digest}" else value for name, value in example.items()}
                answer = world.post(path.format(digest=digest), given)
                assert answer.status_code == 200, (path, json.dumps(given), answer.text)
                tried += 1
    world.ask("DELETE", "/admin/shadow")
    assert tried >= 9


def test_an_open_server_answers_this_machine_alone(run: Path, tmp_path: Path) -> None:
    with world_of(run, tmp_path, access={"open": True}) as opened:
        assert opened.post("/v1/recommend", {"user": "u1"}, None).status_code == 200
        assert '"security' not in opened.ask("GET", "/openapi.json", None).text
        for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"host": "evil.example:8000"}):
            assert opened.post("/v1/recommend", {"user": "u1"}, None, headers=header).status_code == 403
        for header in ({"host": "localhost:8000"}, {"host": "[::1]:8000", "origin": "http://127.0.0.1:8000"}):
            assert opened.post("/v1/recommend", {"user": "u1"}, None, headers=header).status_code == 200


def test_pages_of_the_named_origins_alone_may_read_answers(world: World, run: Path, tmp_path: Path) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": f"authorization, {HEADER}"}

    def allowed(of: World, origin: str, **headers: str) -> list[str | None]:
        wanted = {"origin": origin, **headers}
        answers = [of.ask("OPTIONS", "/v1/recommend", None, headers=wanted | ask)]
        answers.append(of.post("/v1/recommend", {"user": "u1"}, headers=wanted))
        return [one.headers.get("access-control-allow-origin") for one in answers]

    assert allowed(world, "https://shop.example") == [None, None]
    with world_of(run, tmp_path, access={"cors_origins": ["https://shop.example"]}) as named:
        assert allowed(named, "https://shop.example") == ["https://shop.example"] * 2
        assert allowed(named, "https://evil.example") == [None, None]


def test_an_item_comes_and_changes_and_goes_in_every_answer(world: World) -> None:
    put = world.ask("PUT", "/v1/items/a%2Fb c", "items", json={"title": "a green boat ."})
    assert (put.status_code, put.json()["item_id"]) == (200, "a/b c"), put.text
    everything = {"k": 100, "filter_seen": False}
    assert "a/b c" in world.items_of(user="u1", **everything)
    answer = world.ask("PATCH", "/v1/items/a%2Fb c", "items", json={"title": "a blue train"})
    assert answer.json()["columns"]["title"] == "a blue train"
    assert "a blue train" in [one["title"] for one in world.recommended(user="u1", titles=True, **everything)["items"]]
    assert world.ask("PUT", "/v1/items/x", "items", json={"colour": "red"}).status_code == 422
    assert world.ask("DELETE", "/v1/items/a%2Fb c", "items").status_code == 200
    assert world.ask("DELETE", "/v1/items/a%2Fb c", "items").status_code == 404
    assert "a/b c" not in world.items_of(user="u1", **everything)
    for path, body in (
        ("similar", {"items": ["i3"], "k": 100}),
        ("search", {"texts": ["a blue train"], "k": 100}),
        ("recommend", {"user": "never seen", "k": 100, "fallback": "popular"}),
    ):
        answer = world.post(f"/v1/{path}", body)
        assert answer.status_code == 200
        assert "a/b c" not in answer.text


def test_a_forgotten_user_is_absent_from_every_answer_and_from_the_store(world: World, tmp_path: Path) -> None:
    stay = {"events": [{"user_id": "leaver", "item_id": f"i{i}", "event_id": f"l-{i}"} for i in range(3)]}
    assert world.post("/v1/events", stay, "events").json()["accepted"] == 3
    assert world.ask("GET", "/v1/users/leaver").json()["length"] == 3
    receipt = world.ask("DELETE", "/v1/users/leaver").json()
    assert (receipt["interactions"], len(receipt["receipt"])) == (3, 32)
    for user in ("leaver", "u5"):  # u5's history is in the bundle
        assert world.ask("DELETE", f"/v1/users/{user}").status_code == 200
        assert world.ask("GET", f"/v1/users/{user}").status_code == 404
        assert world.post("/v1/recommend", {"user": user}).status_code in (404, 422)
        assert world.recommended(user=user, fallback="popular")["source"] == "popular"
    assert world.served.store.counts("leaver").interactions == 0
    assert "leaver" not in world.log()
    stored = b"".join(file.read_bytes() for file in Path(world.served.settings.storage.db[10:]).parent.iterdir())
    assert b"leaver" not in stored


@pytest.mark.parametrize(
    "name", ["a/b", "two\nlines\n", "😀", "?x=1#y", "100%", "e\u0301" * 99, "\u202eleft", " ", "a\r\nHost: x"]
)
def test_whoever_can_be_reported_can_be_looked_up_and_forgotten(world: World, name: str) -> None:
    path = f"/v1/users/{quote(name, safe='')}"
    answer = world.post("/v1/events", {"events": [{"user_id": name, "item_id": "i3"}]}).json()
    if name.isspace():
        assert answer["refused"] == 1
        return
    assert world.ask("GET", path).json()["user_id"] == name
    assert world.recommended(user=name)["fresh_events"] == 1
    assert world.ask("DELETE", path).json()["interactions"] == 1
    assert world.ask("GET", path).status_code == 404
    item = f"/v1/items/{quote(name, safe='')}"
    assert world.ask("PUT", item, json={"title": "odd"}).json()["item_id"] == name
    assert name in world.items_of(user="u1", k=100)
    assert world.ask("DELETE", item).status_code == 200


def test_a_history_says_where_each_event_came_from(world: World) -> None:
    world.post("/v1/events", {"events": [{"user_id": "u9", "item_id": "i2", "event_id": "h-1"}]})
    found = world.ask("GET", "/v1/users/u9?last=2", "read").json()
    assert [one["source"] for one in found["history"]] == ["bundle", "store"]
    assert found["history"][1]["item_id"] == "i2"
    assert found["length"] > 2
    assert world.ask("GET", "/v1/users/u9?last=0").status_code == 422


def test_bundles_are_loaded_activated_and_taken_back(world: World, run: Path, tmp_path: Path) -> None:
    one = world.ask("GET", "/admin/bundles").json()["bundles"][0]
    assert one["active"]
    other = run.parent / "other"
    retriever = recsys.load(run)
    retriever.add_items(pl.DataFrame({"item_id": ["only-there"], "title": ["a pink car ."]}))
    retriever.save(other)
    answer = world.post("/admin/bundles", {"path": "other"})
    assert answer.status_code == 200, answer.text
    assert world.ask("GET", "/admin/shadow").status_code == 404
    (digest,) = [each["digest"] for each in answer.json()["bundles"] if each["path"] == str(other)]
    assert world.post("/admin/shadow", {"digest": digest, "share": 1}).json()["compared"] == 0
    world.recommended(user="u1")
    assert world.ask("DELETE", "/admin/shadow").json()["failed"] == 0
    assert world.post(f"/admin/bundles/{digest}/activate", {}).json()["bundles"][0]["digest"] == digest
    assert world.recommended(user="u1")["bundle"] == digest
    assert "only-there" in world.items_of(user="u1", k=100, filter_seen=False)
    assert world.post("/admin/rollback", None).status_code == 200
    assert world.recommended(user="u1")["bundle"] == one["digest"]
    for path in ("../../etc", "/etc", str(tmp_path), ".", "nowhere"):
        assert world.post("/admin/bundles", {"path": path}).status_code == 422, path
    assert world.post("/admin/bundles/zzz/activate", {}).status_code == 422
    assert world.post("/admin/bundles", {"path": "other"}, "items").status_code == 403


def test_who_changes_something_is_recorded_by_key_and_without_ids(run: Path, tmp_path: Path) -> None:
    with world_of(run, tmp_path, logs={"audit_file": str(tmp_path / "audit.jsonl")}) as audited:
        audited.ask("DELETE", "/v1/users/u1", headers={"x-request-id": "r-1"})
        audited.ask("DELETE", "/v1/users/u1", "read")
    lines = [orjson.loads(line) for line in (tmp_path / "audit.jsonl").read_bytes().splitlines()]
    assert [(one["action"], one["allowed"]) for one in lines] == [
        ("forget", True), ("forgotten", True), ("/v1/users/{user_id}", False),
    ]  # fmt: skip
    assert lines[0]["request_id"] == "r-1"
    assert '"u1"' not in json.dumps(lines)
