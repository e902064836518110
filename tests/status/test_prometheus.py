"""Rules by promtool, and every query of every dashboard in a real Prometheus that scrapes both servers of a real station."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.status.rig import status_server
from tests.support.station import RunningStation, eventually, free_port, running_station

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "cupola.rules.yml"
RULE_TESTS = Path(__file__).with_name("rules.test.yml")
BOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
SCRAPED = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{rules}"]
scrape_configs:
  - {{job_name: cupola, authorization: {{credentials: "{token}"}}, static_configs: [{{targets: ["127.0.0.1:{main}"]}}]}}
  - {{job_name: cupola-status, static_configs: [{{targets: ["127.0.0.1:{small}"]}}]}}
"""
NAMES = {"$device": ".+", "$camera": ".+", "$__rate_interval": "30s"}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus on this machine")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


def queries(board: Path) -> list[tuple[str, str, bool]]:
    """Title, query, and whether it is asked for one moment only."""
    panels = json.loads(board.read_text())["panels"]
    return [(panel["title"], target["expr"], target.get("instant", False)) for panel in panels for target in panel["targets"]]


def replaced(query: str) -> str:
    for name, value in NAMES.items():
        query = query.replace(name, value)
    assert "$" not in query, f"{query}: a variable that the test does not know"
    return query


def test_promtool_finds_nothing_wrong_in_the_rules_and_each_alert_fires_and_clears() -> None:
    checked, tested = promtool("check", "rules", str(RULES)), promtool("test", "rules", str(RULE_TESTS))
    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_no_alert_is_left_untested() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    tried = [case for test in tests for case in test.get("alert_rule_test", ())]
    for rule in rules:
        if "alert" in rule:
            quiet = [case["eval_time"] for case in tried if case["alertname"] == rule["alert"] and not case.get("exp_alerts")]
            fired = [case["eval_time"] for case in tried if case["alertname"] == rule["alert"] and case.get("exp_alerts")]
            assert fired and len(quiet) >= 2, f"{rule['alert']} is not tried before, while and after it fires"
        else:
            assert any(rule["record"] in case["expr"] for test in tests for case in test.get("promql_expr_test", ())), rule["record"]


def test_the_example_configuration_is_understood(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("secret")
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/cupola.token", str(tmp_path / "token")))
    shutil.copy(RULES, tmp_path)
    checked = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """In an open window of its schedule, so that photos are expected."""
    with running_station(tmp_path_factory.mktemp("watched"), more="night: {window: always, interval_s: 0.5}") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(station: RunningStation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    with status_server(station.folder) as beside, (folder / "said").open("wb") as said:
        token = station.owner["Authorization"].removeprefix("Bearer ")
        (folder / "prometheus.yml").write_text(SCRAPED.format(rules=RULES, token=token, main=station.port, small=beside.port))
        words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(["prometheus", *words], stdout=said, stderr=said, cwd=folder)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20, trust_env=False) as client:

                def scraped() -> bool:
                    assert process.poll() is None, (folder / "said").read_text()
                    try:
                        answer = client.get("/targets")
                    except httpx.TransportError:
                        return False
                    targets = answer.json()["data"]["activeTargets"] if answer.is_success else []  # 503 while it starts
                    return len(targets) == 2 and all(target["health"] == "up" for target in targets)

                eventually(scraped, 60)
                yield client
        finally:
            process.terminate()
            process.wait(20)


def asked(prometheus: httpx.Client, query: str) -> list[Any]:
    answer = prometheus.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return [sample for sample in answer["data"]["result"] if sample["value"][1] != "NaN"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_every_query_of_a_dashboard_returns_data(station: RunningStation, prometheus: httpx.Client, board: Path) -> None:
    found = queries(board)
    assert len(found) >= 10
    answer = station.http.get("/api/cameras/sky/live.jpg")  # somebody looks: there are live pictures too
    assert answer.status_code == 200
    for title, query, _ in found:
        eventually(lambda query=query: asked(prometheus, replaced(query)), 40)
        print(f"{title}: {len(asked(prometheus, replaced(query)))} series")


def test_both_servers_give_each_series(prometheus: httpx.Client) -> None:
    names = [row for row in prometheus.get("/label/__name__/values").json()["data"] if re.match(r"cupola_", row)]
    assert len(names) > 20
    for name in names:
        eventually(lambda name=name: {row["metric"]["job"] for row in asked(prometheus, name)} == {"cupola", "cupola-status"})


def test_prometheus_takes_the_rules_and_nothing_fires_on_a_healthy_station(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/rules").json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"} and len(groups) == 2
    assert [alert for alert in prometheus.get("/alerts").json()["data"]["alerts"] if alert["state"] == "firing"] == []
