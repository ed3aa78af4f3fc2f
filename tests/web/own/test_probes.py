"""Whether a gateway lives and is ready, and its numbers."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from everfold import Everfold
from everfold.metrics import sampled
from everfold.operations import BackendStatus
from everfold.streams.errors import ServerUnreachable
from tests.support.programs.stack import sleeper
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def test_a_gateway_is_ready_while_redis_answers_and_the_log_is_followed(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = await client.get("/readyz")

    async def away() -> None:
        raise ServerUnreachable("Redis cannot be reached: secret.example:6379")

    monkeypatch.setattr(site.everfold.log, "check_level", away)
    missing = await client.get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"is_ready": True, "missing": []})
    assert missing.status_code == 503
    assert "Redis cannot be used (ServerUnreachable)" in missing.text
    assert "secret.example" not in missing.text


async def test_a_gateway_that_does_not_follow_the_log_is_not_ready(
    site: Site, client: httpx.AsyncClient
) -> None:
    task = site.gateway.feeds._tasks[0]
    task.cancel()
    await client.get("/livez")

    missing = await client.get("/readyz")

    assert missing.status_code == 503
    assert "the log is not followed" in missing.text


def numbers(text: str) -> dict[tuple[str, str], float]:
    """Return name and labels -> value."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_tell_of_the_namespace_and_of_the_gateway(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    for _ in range(2):
        await everfold.submit(sleeper(1))
    await client.get("/livez")
    await client.get("/nowhere/1")
    await client.get("/nowhere/2")

    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = numbers(answer.text)
    assert found["everfold_jobs", "normal,default,waiting"] == 2
    assert found["everfold_jobs", "normal,default,leased"] == 0
    assert found["everfold_queue_oldest_seconds", "default"] > 0
    assert found["everfold_namespace_up", ""] == 1
    assert found["everfold_projector_lag_events", "0"] >= 0
    assert found["everfold_parked_jobs", ""] == 0
    assert found["everfold_gateway_requests_total", "livez,2xx"] == 1
    counted = {labels: n for (name, labels), n in found.items() if name.endswith("requests_total")}
    refused = {labels: n for labels, n in counted.items() if labels.endswith(",4xx")}
    assert sum(refused.values()) == 2
    assert len(refused) == 1, "a path is no label"


async def test_scrapes_do_not_load_redis(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.get("/metrics")

    async def asked() -> list[BackendStatus]:
        raise AssertionError("Redis was asked again")

    monkeypatch.setattr(sampled, "read_queues", asked)
    monkeypatch.setattr(sampled, "lag", asked)
    answers = [await client.get(path) for path in ("/metrics", "/metrics", "/scale/nobody")]

    assert [one.status_code for one in answers] == [200, 200, 404]
