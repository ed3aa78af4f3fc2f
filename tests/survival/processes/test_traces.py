"""A job is one whole trace at a receiver of OpenTelemetry's protocol, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator

import anyio
import pytest

from everfold.streams.reading.reader import job_events
from everfold.streams.telemetry.trace_context import read_traceparent
from tests.support.network.otlp_receiver import ReceivedSpan, Receiver, receiving
from tests.support.programs.programs import ROOT, Program
from tests.support.programs.stack import Comfy, Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
MARK = "Zx9Qv"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


async def runner(stack: Stack, name: str, comfy: Comfy, receiver: Receiver | None) -> Program:
    environ = {**stack.names, **(receiver.environ if receiver else {})}
    program = stack.start(
        *("-m", "everfold", "runner", "--name", name, "--comfyui", f"gpu1={comfy.url}"),
        *("--lease-ttl", "2", "--drain", "0.1"),
        environ=environ,
    )
    await program.line("takes jobs", within_s=20)
    return program


async def whole_trace(receiver: Receiver, trace_id: str) -> list[ReceivedSpan]:
    """Return the spans of a trace once its end is there, in order."""

    def found() -> list[ReceivedSpan]:
        spans = receiver.of_trace(trace_id)
        return spans if any(span.name.startswith("end") for span in spans) else []

    spans = await eventually(found, 30)
    return sorted(spans, key=lambda span: (span.start_ms, span.end_ms))


def check_whole(spans: list[ReceivedSpan], caller: str) -> None:
    """Check that no span is there twice, and that each leads to the caller, or to the root."""
    ids = [span.span_id for span in spans]
    assert len(ids) == len(set(ids))
    assert {span.parent_id for span in spans} - set(ids) == {caller}
    assert {link for span in spans for link in span.links} <= set(ids)


async def test_a_job_that_outlives_its_runner_is_one_whole_trace(
    stack: Stack, receiver: Receiver
) -> None:
    comfy = await stack.comfy()
    first = await runner(stack, "anna", comfy, receiver)
    submitted = await stack.log.submit(
        sleeper(2), user=f"user-{MARK}", metadata={"note": MARK}, traceparent=TRACEPARENT
    )
    await stack.until_event(submitted.job_id, "started")
    first.kill()
    second = await runner(stack, "bert", comfy, receiver)
    spans = await whole_trace(receiver, TRACE)

    check_whole(spans, CALLER)
    names = [span.name.removesuffix(" default") for span in spans]
    assert sorted(names) == sorted(
        ["submit", "wait", "receive", "process", "receive", "process", "collect", "end"]
    )
    by_name = dict(zip(names, spans, strict=True))
    assert by_name["submit"].parent_id == CALLER
    former, later = [span for span in spans if span.name.startswith("process")]
    assert (former.is_error, former.attributes["error.type"]) in (
        (True, "connection_gone"),
        (True, "lease_expired"),
    )
    assert former.span_id in later.links
    assert by_name["submit"].span_id in later.links
    assert not later.is_error
    assert str(former.attributes["everfold.runner"]).startswith("anna")
    assert str(later.attributes["everfold.runner"]).startswith("bert")
    assert former.events == ["accepted", "started"]
    assert by_name["collect"].parent_id == later.span_id
    common = {
        "messaging.system": "everfold",
        "messaging.destination.name": "default",
        "messaging.message.id": submitted.job_id,
    }
    assert all(common.items() <= span.attributes.items() for span in spans)
    assert {span.resource["service.name"] for span in spans} == {"everfold"}
    assert not any(MARK.encode() in body for body in receiver.bodies)
    assert second.exit_code is None

    # Each event names the span that it belongs to, in the same trace.
    for record in await job_events(stack.log, submitted.job_id):
        text = record.event.trace if hasattr(record.event, "trace") else ""
        if text:
            trace = read_traceparent(text)
            assert trace is not None
            assert trace.trace_id == TRACE
            assert trace.span_id in {CALLER, *(span.span_id for span in spans)}
    job = await stack.job(submitted.job_id)
    assert job.trace == TRACEPARENT


async def test_a_job_without_a_caller_begins_a_trace_of_its_own(
    stack: Stack, receiver: Receiver
) -> None:
    comfy = await stack.comfy()
    await runner(stack, "anna", comfy, receiver)
    job_id = await stack.submit(seconds=0.1)
    await stack.until(job_id, "succeeded")
    trace = read_traceparent((await stack.job(job_id)).trace)
    assert trace is not None
    spans = await whole_trace(receiver, trace.trace_id)
    check_whole(spans, "")
    assert {span.attributes["messaging.message.id"] for span in spans} == {job_id}


async def test_a_caller_that_is_not_sampled_is_not_exported(
    stack: Stack, receiver: Receiver
) -> None:
    comfy = await stack.comfy()
    await runner(stack, "anna", comfy, receiver)
    quiet = await stack.log.submit(sleeper(0.1), traceparent=f"00-{TRACE}-{CALLER}-00")
    await stack.until(quiet.job_id, "succeeded")
    told = await stack.submit(seconds=0.1)
    await stack.until(told, "succeeded")
    await eventually(lambda: receiver.spans, 60)
    assert receiver.of_trace(TRACE) == []


@pytest.mark.parametrize("fault", ["refuses", "is silent", "answers 500", "is no address"])
async def test_a_dead_receiver_costs_nothing_but_a_line(
    stack: Stack, receiver: Receiver, fault: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if fault == "is silent" else 9
        receiver.status = 500
        if fault != "answers 500":
            receiver.url = "nonsense" if fault == "is no address" else f"http://127.0.0.1:{port}"
        comfy = await stack.comfy()
        program = await runner(stack, "anna", comfy, receiver)
        for _ in range(3):
            await stack.until(await stack.submit(seconds=0.1), "succeeded")
        program.send(signal.SIGTERM)
        assert await program.end(within_s=10) == 0
    assert len([line for line in program.error_lines if "spans_lost" in line]) <= 1
    assert not [line for line in program.error_lines if "Traceback" in line]


async def test_without_a_receiver_nothing_of_it_is_loaded(stack: Stack) -> None:
    text = (
        "import sys; from everfold.__main__ import run; run(['jobs', 'ls', '--json']);"
        "print([name for name in sys.modules if name.startswith('opentelemetry.')])"
    )
    command = [sys.executable, "-c", text]
    environ = {**os.environ, **stack.names}
    done = await anyio.run_process(command, env=environ, cwd=ROOT)
    assert done.stdout == b"[]\n"
