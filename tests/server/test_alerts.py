"""Alerts fire when they should and only then, and neither they nor the dashboard ask for what the server does not say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.server.metrics import Metrics

SERVING = Path(__file__).parents[2] / "serving"
ALERTS = SERVING / "prometheus" / "alerts.yml"
DASHBOARD = SERVING / "grafana" / "recsys.json"
CASES = sorted(ALERTS.parent.glob("alerts*_test.yml"))


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


RULES = [rule for group in read(ALERTS)["groups"] for rule in group["rules"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_every_alert_fires_in_its_case_and_not_in_the_other() -> None:
    command = ["promtool", "test", "rules", *map(str, CASES)]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_alert_has_both_cases_a_summary_and_a_remedy() -> None:
    found: dict[str, list[bool]] = {rule["alert"]: [] for rule in RULES}
    for case in (case for file in CASES for case in read(file)["tests"]):
        for one in case["alert_rule_test"]:
            found[one["alertname"]].append(bool(one["exp_alerts"]))
    assert all(sorted(fires) == [False, True] for fires in found.values()), found
    for rule in RULES:
        assert {"summary", "remedy"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("critical", "warning")


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_alerts_and_dashboard_name_what_the_server_says() -> None:
    text = Metrics().text().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    said = {name for name, kind in kinds.items() if kind != "histogram"}
    said |= {f"{name}_{end}" for name, kind in kinds.items() if kind == "histogram" for end in ("bucket", "sum", "count")}
    asked = [rule["expr"] for rule in RULES] + queries()
    named = {name for one in asked for name in re.findall(r"\b(?:recsys|process)_\w+\b(?=[{\[) <>-])", one)}
    assert named - said == set()
    shown = set(re.findall(r"recsys_\w+", " ".join(queries())))
    measured = {name for name in kinds if name.startswith("recsys_")}
    assert {name for name in measured if not any(one.startswith(name) for one in shown)} == set()
    for name in ("stage", "reason", "result", "what"):
        for given in re.findall(rf'{name}="(\w+)"', " ".join(asked)):
            assert f'{name}="{given}"' in text, given
