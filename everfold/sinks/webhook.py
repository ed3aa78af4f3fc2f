"""`everfold sink webhook`: a signed POST for each event, tried again over hours.

Rule: the message id is the event's id, by which a receiver recognizes a repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import NOW, Subscription
from everfold.sinks.addresses import check_url
from everfold.sinks.messages import message, message_id
from everfold.sinks.receiver import RETRY_S, TIMEOUT_S, Poster
from everfold.streams.border.secrets import ReceiverUrl, Secret

TYPES = (
    *("job.submitted", "job.started", "job.recovered", "job.retried"),
    *("job.succeeded", "job.failed", "job.canceled", "job.expired"),
)
"""The event types that are sent by default."""


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
        self._poster = Poster(secrets, timeout_s=timeout_s, allow_private=allow_private)
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

    async def aclose(self) -> None:
        """Close the connections to the receiver."""
        await self._poster.aclose()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Post one message per event, in order. Raises as `post`."""
        for delivery in deliveries:
            await self.post(message_id(delivery), message(delivery))

    async def post(self, message_id: str, body: bytes) -> int:
        """Send one message; return the answer's status, 200 to 299. Raises as `Poster.post`."""
        return await self._poster.post(self._url, message_id, body)
