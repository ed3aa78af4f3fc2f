"""`everfold sink callbacks`: tells the end of each job that has a callback, at the job's own URL.

Rule: nobody waits for another one's receiver. A message that is not answered at once goes on in the
background, while its job is held; a host that does not answer gets a message now and then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx

from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import BEGINNING, GiveUp, Subscription, TryLater
from everfold.sinks.addresses import check_url
from everfold.sinks.messages import message, message_id
from everfold.sinks.receiver import RETRY_S, TIMEOUT_S, NoAnswer, Poster, Refusal
from everfold.streams.appending.callback import load_callback
from everfold.streams.appending.log import Log
from everfold.streams.border.secrets import Secret
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import Misconfigured

TYPES = ("job.succeeded", "job.failed", "job.canceled", "job.expired")

AT_ONCE = 500
"""Jobs of a partition that are looked at together: as many as are read at once."""

GRACE_S = 1.0
"""How long the other jobs of a partition wait for an answer."""
LOOK_AGAIN_S = 2.0
"""Until the next look at a message that is on its way."""
MESSAGES_AT_ONCE = 256
HOST_MESSAGES_AT_ONCE = 16
OUTCOMES_KEPT = 500
BUSY_S = 15.0
"""Until the next try where as many are on their way."""
AWAY_S = 4.0
"""How long a host that did not answer gets no message: less than the first wait for a retry."""
HOSTS_KNOWN = 10_000


class CallbackSink(Subscription):
    """Close it with `aclose`. Raises Misconfigured for an invalid secret.

    Each message is signed with all `secrets` (`whsec_...`). `timeout_s` bounds one message,
    `retry_s` are the waits between tries. Of a job without callback nothing is sent.
    """

    def __init__(
        self,
        log: Log,
        secrets: Sequence[str | Secret],
        *,
        name: str = "callbacks",
        start: str = BEGINNING,
        retry_s: Sequence[float] = RETRY_S,
        timeout_s: float = TIMEOUT_S,
        allow_private: bool = False,
    ) -> None:
        self._poster = Poster(secrets, timeout_s=timeout_s, allow_private=allow_private)
        self._log, self._allow_private = log, allow_private
        super().__init__(
            name,
            types=TYPES,
            start=start,
            concurrency=AT_ONCE,
            retry_s=retry_s,
            timeout_s=timeout_s + GRACE_S + 5.0,
            about="callbacks of jobs",
        )
        self._posts: dict[str, asyncio.Task[int]] = {}
        """Messages that are on their way, or whose outcome nobody has asked for yet, by id."""
        self._at_hosts = Counter[bytes]()
        self._away_until_s: dict[bytes, float] = {}

    async def aclose(self) -> None:
        """Give up what is on its way, and close the connections to receivers."""
        for post in self._posts.values():
            post.cancel()
        await asyncio.gather(*self._posts.values(), return_exceptions=True)
        await self._poster.aclose()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the ends of jobs. Raises GiveUp, TryLater."""
        for delivery in deliveries:
            if delivery.job.callback:
                await self._tell(delivery)

    async def _tell(self, delivery: Delivery) -> None:
        name = message_id(delivery)
        post = self._posts.get(name)
        if post is None:
            post = await self._begin(name, delivery)
            await asyncio.wait([post], timeout=GRACE_S)
        if not post.done():
            raise TryLater("its receiver has not answered yet", LOOK_AGAIN_S, counts=False)
        del self._posts[name]
        if post.cancelled():
            raise TryLater("it was given up half-way", LOOK_AGAIN_S, counts=False)
        post.result()

    async def _begin(self, name: str, delivery: Delivery) -> asyncio.Task[int]:
        url = await self._url(delivery)
        if self._away_until_s.get(url.netloc, 0.0) > steady_s():
            raise Refusal("its receiver has just failed to take another message")
        self._forget_outcomes()
        is_busy = self._at_hosts[url.netloc] >= HOST_MESSAGES_AT_ONCE
        if is_busy or self._at_hosts.total() >= MESSAGES_AT_ONCE:
            raise TryLater("many messages are on their way", BUSY_S, counts=False)
        post = self._posts[name] = asyncio.create_task(self._post(url, name, message(delivery)))
        return post

    def _forget_outcomes(self) -> None:
        """Keep no more than OUTCOMES_KEPT: of a partition that moved on nobody asks for one."""
        done = [name for name, post in self._posts.items() if post.done()]
        for name in done[: max(0, len(done) - OUTCOMES_KEPT)]:
            post = self._posts.pop(name)
            if not post.cancelled():
                post.exception()  # or its loss is logged

    async def _url(self, delivery: Delivery) -> httpx.URL:
        url = await load_callback(self._log, delivery.record.job_id)
        if not url:
            raise GiveUp("its URL cannot be read: the event that names it was trimmed or erased")
        try:
            return check_url(url, allow_private=self._allow_private)
        except Misconfigured as error:
            raise GiveUp(str(error)) from error

    async def _post(self, url: httpx.URL, name: str, body: bytes) -> int:
        self._at_hosts[url.netloc] += 1
        try:
            status = await self._poster.post(url, name, body)
        except NoAnswer:
            if len(self._away_until_s) >= HOSTS_KNOWN:
                self._away_until_s.clear()
            self._away_until_s[url.netloc] = steady_s() + AWAY_S
            raise
        else:
            self._away_until_s.pop(url.netloc, None)
            return status
        finally:
            self._at_hosts[url.netloc] -= 1
            self._at_hosts += Counter()  # forgets hosts to which nothing is on its way
