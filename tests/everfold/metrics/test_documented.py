"""What a farm shows, what docs/OPERATING.md says of it, and what dashboard and alerts ask for."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator

import pytest
import yaml  # type: ignore[import-untyped]

from everfold.metrics.exposition import measured
from everfold.metrics.namespace_metrics import namespace_metrics
from everfold.metrics.queue_numbers import Queues
from everfold.metrics.sampled import Sample
from everfold.web.counters import Counters
from tests.architecture.source_tree import ROOT
from tests.everfold.metrics.scraping import watched
from tests.support.programs.stack import Stack

pytestmark = pytest.mark.anyio

DEPLOY = ROOT / "deploy"
ROW = re.compile(r"\| `(everfold_\w+)(?:\{([\w,]+)\})?` \| (\w+) \| ([\w ]+) \| (.+) \|")
METRIC = re.compile(r"\b((?:everfold|process)_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
OF_ANY = {"job", "instance"}
"""Labels that Prometheus adds."""

ROWS = {
    name: (set(filter(None, labels.split(","))), kind, shown_by)
    for name, labels, kind, shown_by, _ in ROW.findall((ROOT / "docs/OPERATING.md").read_text())
}


def known() -> Iterator[tuple[str, set[str], str]]:
    """Yield each metric that the code declares: its name, labels and type."""
    importlib.import_module("everfold.runner.runner")
    importlib.import_module("everfold.projector.projector")
    sample = Sample(
        queues=Queues(by_name={}, count=0), later={}, later_besides=0, backends=(), runners=(),
        lags=(), subscriptions=(), assets_bytes=0,
    )  # fmt: skip
    for family in (*measured(), *namespace_metrics(sample), *Counters().registry.collect()):
        labels = {
            label for label in getattr(family, "_labelnames", ()) if label not in ("le", "")
        } or {label for one in family.samples for label in one.labels} - {"le"}
        if not family.name.startswith("everfold_test_"):
            yield _shown(family.name, family.type), labels, family.type


def _shown(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where a query stands, and its text."""
    dashboard = json.loads((DEPLOY / "grafana/everfold.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for alert in alerts():
        yield alert["alert"], alert["expr"]


def alerts() -> list[dict[str, str]]:
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def test_the_table_names_what_the_code_declares() -> None:
    declared = {name: kind for name, _, kind in known()} | {"everfold_namespace_up": "gauge"}

    assert {name: kind for name, (_, kind, _) in ROWS.items()} == declared


def test_the_table_names_the_labels() -> None:
    counters = {name for name, (_, _, by) in ROWS.items() if by == "gateway"}
    wrong = {
        name: (labels, ROWS[name][0])
        for name, labels, _ in known()
        if name not in counters and labels != ROWS[name][0]
    }

    assert wrong == {}


async def test_a_real_farm_shows_what_the_table_says(stack: Stack) -> None:
    comfy = await stack.comfy()
    quiet = ("--no-thumbnails", "--comfyui", comfy.url)
    shown = {
        "projector": await watched(stack, "projector"),
        "runner": await watched(stack, "runner", *quiet),
        "gateway": await watched(stack, "serve", "--port", "0"),
        "namespace": await watched(stack, "metrics"),
    }
    await shown["gateway"].program.line("ready", within_s=20)
    found = {who: set(names_of(await one.text())) for who, one in shown.items()}

    assert set().union(*found.values()) == set(ROWS)
    for name, (_, _, by) in ROWS.items():
        assert name in found["projector" if by == "every process" else by], (name, by)
        if by == "namespace":
            assert name in found["gateway"], name
            assert name not in found["runner"] | found["projector"], name


def names_of(text: str) -> list[str]:
    told = re.findall(r"^# TYPE (everfold_\w+) (\w+)$", text, re.MULTILINE)
    # prometheus-client shows when a counter was made, as a gauge of that name.
    return [name for name, kind in told if not (kind == "gauge" and name.endswith("_created"))]


@pytest.mark.parametrize(("where", "text"), [*expressions()], ids=lambda value: value[:40])
def test_a_query_asks_for_what_there_is(where: str, text: str) -> None:
    asked = METRIC.findall(text)
    assert asked or "up{" in text, where
    for name, matchers in asked:
        if name.startswith("process_"):
            assert name in PROCESS
            continue
        base = re.sub(r"_(?:bucket|sum|count)$", "", name)
        row = ROWS.get(name) or ROWS[base]
        assert (row[1] == "histogram") == (name != base), f"{where}: {name} is a {row[1]}"
        assert set(LABEL.findall(matchers)) <= row[0] | OF_ANY, f"{where}: {matchers}"
    for grouped in re.findall(r"\bby \(([\w, ]+)\)", text):
        labels = set().union(*(_labels(name) for name, _ in asked))
        assert set(re.split(r", ?", grouped)) <= labels | OF_ANY | {"le"}, f"{where}: {grouped}"


def _labels(name: str) -> set[str]:
    row = ROWS.get(name) or ROWS.get(name.removesuffix("_bucket"))
    return row[0] if row else set()


PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def test_every_metric_of_the_table_is_looked_at() -> None:
    asked = " ".join(text for _, text in expressions())

    assert [name for name in ROWS if name not in asked] == ["everfold_queues"]


def test_each_alert_has_its_place_in_the_runbook() -> None:
    runbook = (DEPLOY / "README.md").read_text()
    titles = set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE))

    for alert in alerts():
        name = alert["alert"]
        assert name in titles
        assert alert["annotations"]["runbook_url"] == f"deploy/README.md#{name.lower()}"  # type: ignore[index]
        assert alert["annotations"]["summary"].endswith(".")  # type: ignore[index]
    assert titles == {alert["alert"] for alert in alerts()}


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads((DEPLOY / "grafana/everfold.json").read_text())
    panels = dashboard["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [
        (place["x"] + right, place["y"] + down)
        for place in places
        for right in range(place["w"])
        for down in range(place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert names == {"datasource", "job"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) <= names | {"__rate_interval"}
    assert {panel["type"] for panel in panels} <= {"row", "stat", "timeseries", "state-timeline"}
