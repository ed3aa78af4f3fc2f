"""`everfold sink posthog`: two analytics events, each counted once however often it is delivered.

Rule: the uuid and the time of an analytics event come from the event that caused it, and PostHog
keeps one event per uuid. The graph and the metadata are never sent. While the endpoint cannot be
reached, events wait in the log.
Source: posthog.com/docs/api/capture, the batch endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid5

import anyio
import httpx
from msgspec import Struct

from everfold.moments import rfc3339
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import NOW, GiveUp, Subscription, TargetAway
from everfold.runner.decisions.attempts import attempt_of
from everfold.sinks.http_client import open_client, read_start
from everfold.streams.appending.log import Log
from everfold.streams.border.addresses import MASK, masked_address, masked_text
from everfold.streams.border.secrets import Secret
from everfold.streams.closing import close
from everfold.streams.errors import Misconfigured
from everfold.streams.events.event import Recovered, Submitted

HOST = "https://us.i.posthog.com"
SAVED, RECOVERED = "comfyui_job_state_saved", "comfyui_job_recovered"
NOBODY = "everfold"
"""The distinct_id of jobs without a user."""

BATCH = 100
TIMEOUT_S = 10.0
"""Of a silence."""
LONGEST_S = 30.0
"""Of the whole answer."""

_SPACE = UUID("5b0a4dd2-6a3e-5c39-9b3c-8d3f5f0c4e11")
"""Namespace of the uuids that are made here."""

REJECTED = (400, 413, 422)
"""Statuses that reject the events; any other error speaks of the endpoint or the key."""


class Capture(Struct, frozen=True):
    """One analytics event, in the shape of the batch endpoint."""

    event: str
    distinct_id: str
    timestamp: str
    uuid: str
    properties: dict[str, object]


class PostHogSink(Subscription):
    """Close it with `aclose`. Raises Misconfigured without a project key, or for another host.

    `key` is the project's key (phc_...), `start` as in `Subscription`.
    """

    def __init__(
        self,
        log: Log,
        key: str | Secret,
        *,
        host: str = HOST,
        name: str = "posthog",
        start: str = NOW,
    ) -> None:
        if not key:
            raise Misconfigured("PostHog needs the project's key (--key phc_...)")
        if not host.startswith(("https://", "http://")):
            raise Misconfigured(
                f"{masked_address(host)!r} is not an address of PostHog; write https://host"
            )
        if "@" in host or "?" in host:
            raise Misconfigured("PostHog's address must not carry a password or a query")
        super().__init__(
            name,
            types=("job.submitted", "job.recovered"),
            start=start,
            batch=BATCH,
            about=f"posthog {host}",
        )
        self._key, self._url = Secret(key), f"{host.rstrip('/')}/batch/"
        self._generation = log.generation
        self._client = open_client(TIMEOUT_S, proxies=True)

    async def aclose(self) -> None:
        """Close the connections to PostHog."""
        await close(self._client)

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Send one batch.

        Raises TargetAway when PostHog is away or rejects the key, GiveUp when it rejects events.
        """
        batch = [capture(delivery, self._generation) for delivery in deliveries]
        body = {
            "api_key": self._key.reveal(),
            "historical_migration": False,
            "batch": [_plain(one) for one in batch],
        }
        try:
            with anyio.fail_after(LONGEST_S):
                async with self._client.stream("POST", self._url, json=body) as answer:
                    said = (await read_start(answer)).decode(errors="replace")
        except TimeoutError as error:
            raise TargetAway(f"PostHog: no whole answer within {LONGEST_S:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TargetAway(
                f"PostHog: {type(error).__name__} {masked_text(str(error))}"
            ) from error
        if answer.is_success:
            return
        if answer.status_code in REJECTED:
            raise GiveUp(self._told(answer.status_code, said))
        raise TargetAway(self._told(answer.status_code, said))

    def _told(self, status: int, said: str) -> str:
        """Return an answer for people; it may repeat the key."""
        return f"PostHog answers {status}: {said.replace(self._key.reveal(), MASK)[:200]}"


def capture(delivery: Delivery, generation: str) -> Capture:
    """Return the analytics event of a submit or a recovery.

    promptId is that of the job's first attempt, so that all events of a job carry the same one.
    Raises GiveUp for any other event.
    """
    job, record, event = delivery.job, delivery.record, delivery.event
    prompt_id = attempt_of(job.job_id, 1, generation).prompt_id
    properties: dict[str, object] = {"promptId": prompt_id}
    match event:
        case Submitted():
            name = SAVED
            properties |= {"jobType": job.kind, "userId": job.user}
        case Recovered():
            name = RECOVERED
            properties["jobAge"] = (record.time_ms - job.submitted_at_ms) / 1000
            properties["recoveryTime"] = event.idle_ms
        case _:
            raise GiveUp(f"there is no analytics event for {delivery.type}")
    moment = datetime.fromtimestamp(record.time_ms / 1000, UTC)
    return Capture(
        event=name,
        distinct_id=job.user or NOBODY,
        timestamp=rfc3339(moment),
        uuid=str(uuid5(_SPACE, f"{event.id}:{name}")),
        properties=properties,
    )


def _plain(one: Capture) -> dict[str, object]:
    personless = {} if one.distinct_id != NOBODY else {"$process_person_profile": False}
    return {
        "event": one.event,
        "distinct_id": one.distinct_id,
        "timestamp": one.timestamp,
        "uuid": one.uuid,
        "properties": {**one.properties, **personless},
    }
