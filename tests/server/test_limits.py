"""What is too large is refused before it is parsed or computed, and the refusal names the field."""

import json
import time

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError
from recsys.server.limits import check_keys, check_model, check_nesting, check_predicate, check_rules, documented
from recsys.server.logs import drop_private
from recsys.server.problems import Problem, problem_of
from recsys.server.rates import Windows, rate_of
from recsys.server.schemas import RecommendBody
from recsys.server.settings import Limits


@pytest.mark.parametrize(
    ("body", "deep"),
    [(b"[" * 12 + b"]" * 12, False), (b"[" * 13, True),
     (b'{"a":"' + b"[" * 50 + b'"}', False), (b'["\\"[[[[[[[[[[[[["]', False),
     (b'{"a":' * 400_000, True), (b"[],[{}]" * 3, False), (b"[1,[2,[3]]]" * 2000, False)],
)  # fmt: skip
def test_nesting_is_measured_without_parsing(body: bytes, deep: bool) -> None:
    if deep:
        with pytest.raises(Problem, match=r"nested more than 12 deep|more than 20,000 lists") as caught:
            check_nesting(body, 12, 20_000)
        assert caught.value.status_code in (413, 422)
    else:
        check_nesting(body, 12, 20_000)


@given(st.recursive(
    st.none() | st.integers(-9, 9) | st.text('a":\\ ', max_size=4),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text('a":\\', max_size=3), some, max_size=3),
))  # fmt: skip
def test_a_key_that_is_there_twice_is_found_and_no_other(value: object) -> None:
    for body in (orjson.dumps(value), json.dumps(value, indent=1).encode()):
        check_keys(body, orjson.loads(body))
        for twice in (b'{"x": %s, "x": 1}', b'[{"\\u0078": %s, "x": %s}]'):
            doubled = twice.replace(b"%s", body)
            with pytest.raises(Problem, match="twice"):
                check_keys(doubled, orjson.loads(doubled))


def test_a_megabyte_of_brackets_is_measured_in_no_time() -> None:
    """Also where it is refused last, or is one text that never ends."""
    started = time.process_time()
    for body in (b"[]," * 350_000, b'"a"[' * 262_144, b'["a"],' * 170_000, b'"' * 2**20 + b"[" * 20_001):
        with pytest.raises(Problem, match="lists and objects"):
            check_nesting(body, 12, 20_000)
    for text in (b'"' + b'\\"[' * 350_000, b'"' + b'\\"[' * 350_000 + b"\\", b'"' + b"\\" * 2**20 + b"[" * 20_001):
        check_nesting(text, 12, 20_000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("given", "words"),
    [({"k": 5}, r"body\.k: must be at most 4"), ({"history": ["a"] * 4}, r"body\.history: must have a length of at most 3"),
     ({"exclude": ["a"] * 3}, r"body\.exclude"), ({"where": "x" * 11}, r"body\.where")],
)  # fmt: skip
def test_a_field_over_its_limit_is_named(given: dict[str, object], words: str) -> None:
    limits = Limits(max_k=4, max_history=3, max_filter_ids=2, max_predicate_length=10)
    check_model(RecommendBody(user="a", k=4, exclude=["a", "b"], where="x" * 10), limits)
    with pytest.raises(Problem, match=words):
        check_model(RecommendBody.model_validate({"user": "a", "k": 1} | given), limits)


def test_predicates_and_rules_are_measured_before_they_are_parsed() -> None:
    limits = Limits(max_predicate_length=50, max_predicate_depth=3, max_rules=2, max_pool=100, max_filter_ids=2)
    check_predicate("(((a < 3)))", limits, "where")
    check_rules({"pool": 100, "boost": [{"where": "a < 3", "add": 1}]}, limits, "rules")
    for where in ("a" * 51, "((((a < 3))))"):
        with pytest.raises(Problem, match="a predicate"):
            check_predicate(where, limits, "where")
        with pytest.raises(Problem, match="rules: where"):
            check_rules({"boost": [{"where": where}]}, limits, "rules")
    for rules in ({"pool": 101}, {"diversity": {"pool": 101}}, {"cap": [{}, {}, {}]}, {"pin": [{"items": ["a"] * 3}]}):
        with pytest.raises(Problem, match="rules"):
            check_rules(rules, limits, "rules")


def test_the_schema_says_the_limits_of_this_server() -> None:
    found = documented(RecommendBody.model_json_schema(), Limits(max_k=7, max_history=3))["properties"]
    assert found["k"]["maximum"] == 7
    assert found["history"]["anyOf"][0]["maxItems"] == 3
    assert "x-limit" not in orjson.dumps(found).decode()


def test_a_log_line_keeps_only_what_may_be_written() -> None:
    fields = {"event": "a", "user_id": "u1", "texts": ["b"], "authorization": "rk_1", "status": 200}
    assert drop_private(None, "info", fields) == {
        "event": "a", "status": 200, "dropped": ["authorization", "texts", "user_id"],
    }  # fmt: skip


def test_an_unforeseen_error_says_nothing_of_itself() -> None:
    problem = problem_of(KeyError("the user u1"))
    assert problem.status_code == 500
    assert "u1" not in orjson.dumps(problem.to_dict("r")).decode()


@pytest.mark.parametrize("rate", ["often", "0/second"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match="rate must be like 100/second"):
        rate_of(rate)


def test_no_span_of_time_has_more_requests_than_the_rate() -> None:
    times = np.random.default_rng(0).exponential(5.0, 300).cumsum().tolist()
    windows, rate, passed = Windows(), rate_of("7/minute"), list[float]()
    for now in times:
        wait = windows.hit("key", rate, now)
        assert windows.hit("another key", rate_of("1000/second"), now) == 0
        latest = [one for one in passed if one > now - 60]
        assert (wait == 0) == (len(latest) < 7)
        if wait:
            assert now + wait == pytest.approx(latest[0] + 60)
        else:
            passed.append(now)
    assert 60 < len(passed) < 300


def test_a_clock_that_is_put_back_locks_no_key_out(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, rate = Windows(), rate_of("1/second")
    assert windows.hit("key", rate) == 0
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 < windows.hit("key", rate) <= 1
