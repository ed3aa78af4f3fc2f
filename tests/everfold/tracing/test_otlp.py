"""Spans are exported where the environment names a receiver, and nowhere else."""

from __future__ import annotations

import logging
import sys

import pytest

from everfold.streams.telemetry import tracing
from everfold.streams.telemetry.tracing import Span
from everfold.tracing.begin import is_wanted, traced
from tests.support.network.otlp_receiver import receiving

TRACE, SPAN, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"
MADE = Span(
    name="process default",
    trace_id=TRACE,
    span_id=SPAN,
    parent_id=OTHER,
    kind="consumer",
    start_ms=1_000,
    end_ms=2_000,
    attributes={"everfold.attempt": 2, "everfold.backend": "gpu1"},
    events=[("started", 1_500)],
    links=[OTHER],
    error="backend_lost",
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_a_span_arrives_as_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "site=north")
        with traced("1.2.3"):
            assert tracing.is_on()
            tracing.export([MADE])
        assert not tracing.is_on()

    (span,) = receiver.spans
    assert (span.name, span.trace_id, span.span_id, span.parent_id) == (
        *("process default", TRACE, SPAN, OTHER),
    )
    assert (span.start_ms, span.end_ms, span.events, span.links) == (
        *(1_000, 2_000, ["started"], [OTHER]),
    )
    assert (span.is_error, span.attributes["error.type"]) == (True, "backend_lost")
    assert span.attributes["everfold.attempt"] == 2
    assert span.kind == 5
    named = {"service.name": "everfold", "service.version": "1.2.3", "site": "north"}
    assert named.items() <= span.resource.items()


def test_a_trace_that_begins_here_is_sampled_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with traced("1"):
            assert tracing.samples(TRACE)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        with traced("1"):
            assert not tracing.samples(TRACE)


def test_it_is_off_without_a_receiver_and_where_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not is_wanted()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    assert is_wanted()
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not is_wanted()


def test_a_missing_extra_is_said_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delitem(sys.modules, "everfold.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING), traced("1"):
        assert not tracing.is_on()
        tracing.export([MADE])
    assert "everfold[otel]" in caplog.text


def test_a_span_that_cannot_be_sent_is_counted_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from everfold.tracing.otlp import OtlpTracing

    with receiving() as receiver, caplog.at_level(logging.WARNING):
        receiver.status = 400
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        made = OtlpTracing("1")
        for _ in range(3):
            made.exporter.export([MADE])
            made._processor.force_flush()
        made.close()
    said = [one for one in caplog.records if getattr(one, "event", "") == "spans_lost"]
    assert len(said) == 1
