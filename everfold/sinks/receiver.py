"""Posts signed messages to receivers: to public addresses only, unless private ones are allowed.

Rule: redirects are not followed, long answers are not read to their end, and the connection goes to
an address that was checked. Source: standardwebhooks.com, the specification of version 1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import anyio
import httpx

from everfold.projector.subscribing.subscription import GiveUp, TryLater
from everfold.sinks.addresses import NotAllowed, resolve
from everfold.sinks.http_client import open_client, read_start
from everfold.sinks.signing import read_secret, sign
from everfold.streams.border.addresses import masked_text
from everfold.streams.border.secrets import Secret
from everfold.streams.closing import close
from everfold.streams.errors import Misconfigured

RETRY_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds between tries, about three days in all, as the specification recommends."""

TIMEOUT_S = 20.0
LONGEST_RETRY_AFTER_S = 86_400.0


class Refusal(TryLater):
    """The receiver did not take the message: try again after the usual wait."""

    def __init__(self, why: str) -> None:
        super().__init__(why, after_s=0.0)


class NoAnswer(Refusal):
    """The receiver was not reached, or did not answer in time."""


class Poster:
    """Signs with all `secrets` (`whsec_...`). Close it with `aclose`.

    `timeout_s` bounds one message. Raises Misconfigured without a secret, or for one that is none.
    """

    def __init__(
        self, secrets: Sequence[str | Secret], *, timeout_s: float, allow_private: bool
    ) -> None:
        if not secrets:
            raise Misconfigured("webhooks are signed: give a secret (--secret whsec_...)")
        self._secrets = [Secret(secret) for secret in secrets]
        for secret in self._secrets:
            read_secret(secret)
        self._allow_private, self._limit_s = allow_private, timeout_s
        # No proxy from the environment: its target could not be checked.
        self._client = open_client(timeout_s, proxies=False)

    async def aclose(self) -> None:
        """Close the connections to receivers."""
        await close(self._client)

    async def post(self, url: httpx.URL, message_id: str, body: bytes) -> int:
        """Send one message; return the answer's status, 200 to 299.

        Raises TryLater when it was not taken; GiveUp for 410 or an address that is not allowed.
        """
        try:
            with anyio.fail_after(self._limit_s):
                status, retry_after = await self._send(url, message_id, body)
        except NotAllowed as error:
            raise GiveUp(str(error)) from error
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {self._limit_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NoAnswer(f"{type(error).__name__}: {masked_text(str(error))}") from error
        _check(status, retry_after)
        return status

    async def _send(self, url: httpx.URL, message_id: str, body: bytes) -> tuple[int, str]:
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
