"""Whatever the OpenAPI schema allows, and what it does not, gets an answer that the schema foresees; never a 5xx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recsys.server.time_limit import HEADER
from tests.server.http_world import World, world_of

CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
FEW = settings(
    max_examples=4, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), stateful_step_count=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("schema")) as made:
        yield made


def loaded(world: World) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", world.client.app, headers=key(world))


def key(world: World) -> dict[str, str]:
    return {"authorization": f"Bearer {world.secrets['admin']}"}


def test_every_route_answers_as_its_schema_says(world: World) -> None:
    tried = 0
    for result in loaded(world).get_all_operations():
        operation = result.ok()
        takes = bool(list(operation.iter_parameters()) or list(operation.body))
        for mode in (GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])):

            @given(case=operation.as_strategy(generation_mode=mode))
            @FEW
            def answered(case: Any) -> None:
                nonlocal tried
                tried += 1
                if str((case.headers or {}).get(HEADER, "")).strip("0").isdigit():
                    case.headers[HEADER] = "60000"  # a limit of a millisecond is kept with a 503
                case.call_and_validate(headers=key(world), checks=CHECKS)

            answered()
    assert tried > 100


def test_sequences_of_requests_are_answered_as_the_schema_says(world: World) -> None:
    class Machine(loaded(world).as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": key(world) | {HEADER: "60000"}}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    run_state_machine_as_test(Machine, settings=FEW)


def test_other_methods_are_refused_with_those_that_a_route_has(world: World) -> None:
    paths = world.client.get("/openapi.json", headers=key(world)).json()["paths"]
    for path, operations in paths.items():
        for method in {"get", "put", "post", "delete", "patch", "trace", "query"} - set(operations):
            answer = world.client.request(method.upper(), re.sub(r"\{.*?\}", "x", path), headers=key(world))
            assert (answer.status_code, method, path) == (405, method, path)
            assert set(operations) <= {one.strip().lower() for one in answer.headers["allow"].split(",")}
