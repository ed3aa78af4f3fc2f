"""Faults on demand: the failures that HTTP and the worker will show next."""

from __future__ import annotations

import time

import anyio


class Faults:
    """`arm` sets a fault; the other parts of the simulator ask for it."""

    def __init__(self) -> None:
        self.lose_responses = 0
        """How many next POSTs are queued, but get no answer."""
        self.lose_requests = 0
        """How many next POSTs are not queued, and get no answer."""
        self.refuse_posts = 0
        self.refuse_status = 503
        self.own_ids = False
        """Whether prompts get ids of the server's own, as at a ComfyUI of 2024."""
        self.history_delay_s = 0.0
        self.spoil_uploads = 0
        """How many next uploads are stored without their second half, and answered as sound."""
        self.break_uploads = 0
        """How many next uploads are answered with 500."""
        self.upload_limit_bytes = 2**62
        """Larger uploads are answered with 413."""
        self.upload_pause_s = 0.0
        """How long the body of an upload is not read."""
        self.refuse_views = 0
        """How many next files are answered with `refuse_status`."""
        self.break_views = 0
        """How many next files break off after their first half."""
        self.view_delay_s = 0.0
        """How long each file stands still after its first half."""
        self._stalled_until_s = 0.0

    def arm(self, fault: str, options: dict[str, object]) -> bool:
        """Set a fault; False for an unknown name."""
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
            case "own_ids":
                self.own_ids = True
            case "delay_history":
                self.history_delay_s = float(str(options.get("seconds", 1.0)))
            case "spoil_uploads":
                self.spoil_uploads += count
            case "break_uploads":
                self.break_uploads += count
            case "limit_uploads":
                self.upload_limit_bytes = int(str(options.get("bytes", 0)))
            case "pause_uploads":
                self.upload_pause_s = seconds
            case "refuse_view":
                self.refuse_views += count
                self.refuse_status = int(str(options.get("status", 503)))
            case "break_view":
                self.break_views += count
            case "delay_view":
                self.view_delay_s = float(str(options.get("seconds", 1.0)))
            case "stall":
                self._stalled_until_s = time.monotonic() + seconds
            case "clear":
                self.__init__()  # type: ignore[misc]  # all faults off
            case _:
                return False
        return True

    def take(self, name: str) -> bool:
        """Use up one of a counted fault; False when none is left."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return bool(left > 0)

    async def while_stalled(self) -> None:
        """Wait while the fault `stall` lasts."""
        while (left_s := self._stalled_until_s - time.monotonic()) > 0:  # noqa: ASYNC110 - may be cleared
            await anyio.sleep(min(left_s, 0.1))
