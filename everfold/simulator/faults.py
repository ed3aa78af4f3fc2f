"""Faults on demand: what goes wrong next, and for how long."""

from __future__ import annotations

import time

import anyio


class Faults:
    """`arm` sets a fault; the rest of the simulator asks here whether to misbehave."""

    def __init__(self) -> None:
        self.lose_responses = 0
        """The next POSTs that are queued, but whose connection closes without an answer."""
        self.lose_requests = 0
        """The next POSTs whose connection closes before they are queued."""
        self.refuse_posts = 0
        self.refuse_status = 503
        self.history_delay_s = 0.0
        self._stalled_until_s = 0.0

    def arm(self, fault: str, options: dict[str, object]) -> bool:
        """Set a fault of the HTTP side; False for a name that is not one."""
        count = int(str(options.get("count", 1)))
        seconds = float(str(options.get("seconds", 1e9)))
        match fault:
            case "lose_post_response":
                self.lose_responses += count
            case "lose_post_request":
                self.lose_requests += count
            case "refuse":
                self.refuse_posts += count
                self.refuse_status = int(str(options.get("status", 503)))
            case "delay_history":
                self.history_delay_s = float(str(options.get("seconds", 1.0)))
            case "stall":
                self._stalled_until_s = time.monotonic() + seconds
            case "clear":
                self.__init__()  # type: ignore[misc]  # as it was when it was made
            case _:
                return False
        return True

    def take(self, name: str) -> bool:
        """Use one of a counted fault up; True when there was one."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return bool(left > 0)

    async def while_stalled(self) -> None:
        """Make no progress while the worker is to stall."""
        while (left_s := self._stalled_until_s - time.monotonic()) > 0:  # noqa: ASYNC110 - may be cleared
            await anyio.sleep(min(left_s, 0.1))
