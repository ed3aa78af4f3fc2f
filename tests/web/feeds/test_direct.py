"""What readers share goes to each connection at once; a slow one falls behind, without a gap."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from everfold import Everfold
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import OutputSaved, Started, Submitting, Succeeded
from everfold.streams.events.event import Queued as Accepted
from everfold.streams.leases.dispatch import Dispatch
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.site import Site

pytestmark = pytest.mark.anyio

OUTPUTS, OUTPUT_BYTES = 40, 400_000
"""More together than the buffers between a gateway and its reader hold."""


async def claimed(everfold: Everfold) -> Lease:
    job = await everfold.submit(sleeper(1))
    dispatch = Dispatch(everfold.log, "bench")
    partition = everfold.log.keys.partition_of(job.job_id)
    [lease] = await dispatch.claim(partition, ["default"], 1)
    intent = Submitting(attempt=1, prompt_id="p", client_id="c", backend="http://g:1", boot="b")
    for event in (intent, Accepted(attempt=1, prompt_id="p"), Started(attempt=1)):
        await everfold.log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)
    return lease


async def opened(site: Site, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**26)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def body_of(reader: asyncio.StreamReader) -> bytes:
    """Return the whole body, as HTTP's chunks say where it ends."""
    body = b""
    async with asyncio.timeout(60):
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
    return body


def sent_by(site: Site) -> float:
    registry = site.gateway.counters.registry
    return registry.get_sample_value("everfold_gateway_messages_sent_total", {"kind": "sse"}) or 0


def numbers(body: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"^id: (\d+)$", body, re.MULTILINE)]


@pytest.mark.parametrize("contract", ["everfold/v1/jobs/{}/events/stream", "api/v2/jobs/{}/events"])
async def test_a_reader_that_pauses_gets_all_in_order(
    site: Site, everfold: Everfold, contract: str
) -> None:
    lease = await claimed(everfold)
    path = "/" + contract.format(lease.job_id)
    (slow, closing), (fast, closing_too) = await opened(site, path), await opened(site, path)
    reading = asyncio.create_task(body_of(fast))
    names = [str(number) for number in range(OUTPUTS)]
    for name in names:
        output: dict[str, object] = {"text": ["x" * OUTPUT_BYTES]}
        event = OutputSaved(attempt=1, node=name, output=output)
        await everfold.log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)
    end = Succeeded(attempt=1, outputs={name: {"text": [name]} for name in names})
    await everfold.log.append(lease.job_id, end, epoch=lease.epoch, holder=lease.runner)

    of_fast = await reading
    of_slow = await body_of(slow)

    assert numbers(of_slow) == numbers(of_fast) == sorted(set(numbers(of_fast)))
    assert json.dumps("succeeded").encode() in of_slow or b"job.succeeded" in of_slow
    told = of_slow.count(b"\ndata:") + of_fast.count(b"\ndata:")
    await eventually(lambda: sent_by(site) >= told, 10)
    for writer in (closing, closing_too):
        writer.close()
