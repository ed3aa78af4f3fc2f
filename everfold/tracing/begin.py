"""Switches tracing on in a process, where the environment of OpenTelemetry asks for it.

Rule: off and free by default: the SDK is loaded only where a receiver is named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from everfold.streams.border.logger import get_logger
from everfold.streams.telemetry import tracing

logger = get_logger("everfold.tracing")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_wanted() -> bool:
    """Say whether the environment names a receiver, and nothing there switches tracing off."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    no_traces = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return any(os.environ.get(name) for name in ENDPOINTS) and not is_off and not no_traces


@contextmanager
def traced(version: str) -> Iterator[None]:
    """Export spans inside, if that is wanted. What is wrong with it is said, and ends nothing."""
    if not is_wanted():
        yield
        return
    try:
        if sys.modules.get("opentelemetry", sys) is None:
            del sys.modules["opentelemetry"]  # the command line has hidden it until it is wanted
        from everfold.tracing.otlp import OtlpTracing

        found = OtlpTracing(version)
    except ModuleNotFoundError as error:
        logger.warning("tracing_off missing=%s why=%s", error.name, "pip install 'everfold[otel]'")
        yield
        return
    except Exception as error:  # a setting that OpenTelemetry does not take
        logger.warning("tracing_off why=%s", str(error))
        yield
        return
    tracing.install(found.exporter)
    try:
        yield
    finally:
        tracing.install(None)
        found.close()
