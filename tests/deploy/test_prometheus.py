"""promtool likes the rules, their tests and the example of scraping, and a real scrape."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from everfold.metrics.exposition import exposition
from everfold.metrics.namespace_metrics import namespace_metrics
from everfold.metrics.queue_numbers import QueueNumbers, Queues
from everfold.metrics.sampled import Sample
from tests.architecture.source_tree import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        assert "promtool" not in os.environ.get("EVERFOLD_TOOLS", ""), "promtool must be here"
        pytest.skip("SKIPPED: promtool is not here: apt-get install prometheus")
    return found


def complaints(*command: str | Path, given: bytes = b"") -> str:
    """Run a tool; return what it says when it is not content."""
    done = subprocess.run(command, input=given, capture_output=True, timeout=60)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).decode() or "no words"


def test_the_rules_are_rules(promtool: str) -> None:
    assert complaints(promtool, "check", "rules", PROMETHEUS / "alerts.yaml") == ""


def test_the_alerts_are_raised_when_they_should_be(promtool: str) -> None:
    assert complaints(promtool, "test", "rules", PROMETHEUS / "alerts_test.yaml") == ""


def test_the_example_of_scraping_is_a_configuration(promtool: str) -> None:
    assert complaints(promtool, "check", "config", PROMETHEUS / "prometheus.yaml") == ""
    assert complaints(promtool, "check", "config", PROMETHEUS / "compose.yaml") == ""


def test_promtool_likes_a_scrape(promtool: str) -> None:
    one = QueueNumbers(
        name='"\\\n', waiting=(1, 2, 3), leased=(0, 1, 0), oldest_s=1.5,
        runners=frozenset({"r"}), servers=1, is_paused=False, run_s=2.0,
    )  # fmt: skip
    sample = Sample(
        queues=Queues(by_name={one.name: one}, count=1), later={("q", "low"): 1},
        later_besides=3, backends=(), runners=(), lags=(), subscriptions=(), assets_bytes=9,
    )  # fmt: skip

    assert (
        complaints(promtool, "check", "metrics", given=exposition(namespace_metrics(sample))) == ""
    )
    assert complaints(promtool, "check", "metrics", given=b"x{ 1\n") != ""


def test_each_alert_is_raised_by_a_test() -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    raised = set(re.findall(r"Everfold\w+", (PROMETHEUS / "alerts_test.yaml").read_text()))

    assert raised == names


def test_the_queries_of_the_dashboard_are_queries(promtool: str, tmp_path: Path) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/everfold.json").read_text())
    queries = [one["expr"] for panel in dashboard["panels"] for one in panel.get("targets", ())]
    asked = [one.replace("$__rate_interval", "5m").replace("$job", ".*") for one in queries]
    assert len(asked) > 40

    def rules(*exprs: str) -> Path:
        named = [{"record": f"r{number}", "expr": expr} for number, expr in enumerate(exprs)]
        file = tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": named}]}))
        return file

    assert complaints(promtool, "check", "rules", rules(*asked)) == ""
    assert complaints(promtool, "check", "rules", rules("sum by (x (y)")) != ""
