"""`submit -`: a graph that another program makes."""

from __future__ import annotations

import io
import json
import sys

import pytest

from everfold.__main__ import run
from everfold.streams.events.limits import WORKFLOW_LIMIT_BYTES
from everfold.workflow_file import STDIN, read_workflow

GRAPH = json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}}).encode()


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("words", ["submit - --json", "submit --json -", "--json submit -"])
def test_a_lone_hyphen_is_standard_input(
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    redis_url: str,
    namespace: str,
) -> None:
    given(monkeypatch, GRAPH)
    options = ["--redis-url", redis_url, "-n", namespace, "--on-missing", "wait"]
    assert run([*words.split(), *options]) == 0
    assert json.loads(capsys.readouterr().out)["created"] is True


def test_it_is_read_whole_and_no_further_than_a_graph_may_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, GRAPH)
    assert read_workflow(STDIN) == GRAPH
    given(monkeypatch, b"")
    assert run(["submit", "-"]) == 2
    assert capsys.readouterr().err == "everfold: standard input is empty\n"
    given(monkeypatch, b" " * (5 * WORKFLOW_LIMIT_BYTES))
    assert run(["submit", "-"]) == 2
    assert "standard input has" in capsys.readouterr().err


def test_a_time_limit_without_a_wait_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "-", "--timeout", "5m"]) == 2
    assert "--timeout is how long --wait waits" in capsys.readouterr().err
