"""`everfold sink webhook`: a signed POST for each event, tried again over hours.

Rule: the message id is the event's id, by which a receiver recognizes a repeat. Redirects are not
followed, long answers are not read to their end, private networks are not entered.
Source: standardwebhooks.com, the specification of version 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import anyio
import httpx
import msgspec

from everfold.moments import moment_of, rfc3339
from everfold.projector.job.job import Job
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import NOW, GiveUp, Subscription, TryLater
from everfold.sinks.addresses import NotAllowed, check_url, resolve
from everfold.sinks.http_client import open_client, read_start
from everfold.sinks.signing import read_secret, sign
from everfold.streams.border.addresses import masked_text
from everfold.streams.border.secrets import ReceiverUrl, Secret
from everfold.streams.closing import close
from everfold.streams.errors import Misconfigured

TYPES = (
    *("job.submitted", "job.started", "job.recovered", "job.retried"),
    *("job.succeeded", "job.failed", "job.canceled", "job.expired"),
)
"""The event types that are sent by default."""

RETRY_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds between tries, about three days in all, as the specification recommends."""

TIMEOUT_S = 20.0
LONGEST_RETRY_AFTER_S = 86_400.0

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


class Refusal(TryLater):
    """The receiver did not take the message: try again after the usual wait."""

    def __init__(self, why: str) -> None:
        super().__init__(why, after_s=0.0)


class WebhookSink(Subscription):
    """Close it with `aclose`. Raises Misconfigured for an invalid address or secret.

    Each message is signed with all `secrets` (`whsec_...`). `types`, `kinds`, `users` and `start`
    are those of `Subscription`. `timeout_s` bounds one POST, `retry_s` are the waits between tries.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str | Secret],
        *,
        name: str = "webhook",
        types: Iterable[str] = TYPES,
        kinds: Iterable[str] = (),
        users: Iterable[str] = (),
        start: str = NOW,
        retry_s: Sequence[float] = RETRY_S,
        timeout_s: float = TIMEOUT_S,
        allow_private: bool = False,
    ) -> None:
        self._url = check_url(url, allow_private=allow_private)
        if not secrets:
            raise Misconfigured("webhooks are signed: give a secret (--secret whsec_...)")
        self._secrets = [Secret(secret) for secret in secrets]
        for secret in self._secrets:
            read_secret(secret)
        super().__init__(
            name,
            types=types,
            kinds=kinds,
            users=users,
            start=start,
            retry_s=retry_s,
            timeout_s=timeout_s + 5.0,
            about=f"webhook {ReceiverUrl(url)}",
        )
        self._allow_private, self._limit_s = allow_private, timeout_s
        # No proxy from the environment: its target could not be checked.
        self._client = open_client(timeout_s, proxies=False)

    async def aclose(self) -> None:
        """Close the connections to the receiver."""
        await close(self._client)

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Post one message per event, in order. Raises as `post`."""
        for delivery in deliveries:
            # An event of another program may have an id that no header can hold.
            await self.post(f"msg_{quote(delivery.event.id, safe=VISIBLE)}", message(delivery))

    async def post(self, message_id: str, body: bytes) -> int:
        """Send one message; return the answer's status, 200 to 299.

        Raises TryLater when it was not taken; GiveUp for 410 or an address that is not allowed.
        """
        try:
            with anyio.fail_after(self._limit_s):
                status, retry_after = await self._send(message_id, body)
        except NotAllowed as error:
            raise GiveUp(str(error)) from error
        except TimeoutError as error:
            raise Refusal(f"no answer within {self._limit_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Refusal(f"{type(error).__name__}: {masked_text(str(error))}") from error
        _check(status, retry_after)
        return status

    async def _send(self, message_id: str, body: bytes) -> tuple[int, str]:
        url = self._url
        port = url.port or (443 if url.scheme == "https" else 80)
        # The name as it goes over the wire: two rules for other alphabets name two hosts.
        host = url.raw_host.decode()
        address = await resolve(host, port, allow_private=self._allow_private)
        headers = {
            "content-type": "application/json",
            "user-agent": "everfold",
            "host": url.netloc.decode(),
            **sign([read_secret(one) for one in self._secrets], message_id, int(time.time()), body),
        }
        async with self._client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": host},
        ) as answer:
            await read_start(answer)  # so that its connection can be used again
            return answer.status_code, answer.headers.get("retry-after", "")


def _check(status: int, retry_after: str) -> None:
    if 200 <= status < 300:
        return
    if status == 410:
        raise GiveUp("the receiver answers 410 Gone: it wants no more messages")
    why = f"the receiver answers {status}"
    if 300 <= status < 400:
        why += "; redirects are not followed"
    wait_s = _wait_s(retry_after) if status in (429, 503) else None
    if wait_s is not None:
        raise TryLater(why, min(wait_s, LONGEST_RETRY_AFTER_S))
    raise Refusal(why)


def _wait_s(retry_after: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None for anything else."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def message(delivery: Delivery) -> bytes:
    """Return the JSON body of the message about an event."""
    told = {
        "type": delivery.type,
        "timestamp": _iso(delivery.record.time_ms),
        "data": public_state(delivery.job),
    }
    return msgspec.json.encode(told)


def public_state(job: Job) -> dict[str, object]:
    """Return the fields that receivers get; the graph is not among them."""
    return {
        "job_id": job.job_id,
        "seq": job.seq,
        "status": job.status,
        "reason": job.reason,
        "kind": job.kind,
        "user_id": job.user,
        "metadata": job.metadata,
        "prompt_id": job.prompt_id,
        "attempt": job.attempt,
        "recovered": job.recovered,
        "progress": job.progress,
        "outputs": job.outputs,
        "error": job.error,
        "submitted_at": _iso(job.submitted_at_ms),
        "started_at": _iso(job.started_at_ms),
        "ended_at": _iso(job.ended_at_ms),
    }


def _iso(milliseconds: int) -> str | None:
    moment = moment_of(milliseconds)
    return None if moment is None else rfc3339(moment)
