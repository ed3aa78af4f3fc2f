"""What is to be passed on of one job: steps are thinned out, and the rest goes at once.

Rule: pure; time is an argument, in seconds of any steady clock. Bounded: the oldest is dropped, and
of previews there is one. Messages keep their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from everfold.streams.live.live_message import (
    LiveMessage,
    Preview,
    PreviewNotice,
    States,
    Steps,
    Streamed,
)

MOST_QUEUED = 256
STEPS_EVERY_S = 0.1
PREVIEW_EVERY_S = 0.25


class JobQueue:
    """Messages about one attempt of one job that wait to be passed on."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self._waiting = deque[tuple[Streamed, bool]](maxlen=MOST_QUEUED)
        """Each with whether it is a step."""
        self._preview: Preview | None = None
        self._is_urgent = False
        """Something other than steps waits, or all of it is wanted now."""
        self._steps_due_s = self._preview_due_s = 0.0
        self._stages: frozenset[tuple[str, bool]] = frozenset()

    def add(self, messages: Iterable[LiveMessage]) -> None:
        """Let messages wait, in place of older ones that say less."""
        for message in messages:
            if isinstance(message, Preview):
                self._preview = message
            elif self._is_step(message):
                self._replace_step(message)
            else:
                self._waiting.append((message, False))
                self._is_urgent = True

    def _is_step(self, message: Streamed) -> bool:
        """Say whether the message tells nothing but how far nodes are that were told of before."""
        if not isinstance(message, States):
            return isinstance(message, Steps)
        stages = frozenset((name, node.is_finished) for name, node in message.nodes.items())
        is_same, self._stages = stages == self._stages, stages
        return is_same

    def _replace_step(self, step: Streamed) -> None:
        """Take an earlier step out that says less, unless something that is no step came since."""
        for earlier, is_step in reversed(self._waiting):
            if not is_step:
                break
            if type(earlier) is type(step) and _node_of(earlier) == _node_of(step):
                self._waiting.remove((earlier, True))
                break
        self._waiting.append((step, True))

    def hurry(self) -> None:
        """Let all that waits be due now."""
        self._is_urgent = bool(self._waiting)
        self._preview_due_s = 0.0

    @property
    def is_empty(self) -> bool:
        return not self._waiting and self._preview is None

    def due_in_s(self, now_s: float) -> float | None:
        """Return how many seconds until something is due; None when nothing waits."""
        dues = list[float]()
        if self._waiting:
            dues.append(0.0 if self._is_urgent else self._steps_due_s - now_s)
        if self._preview is not None:
            dues.append(self._preview_due_s - now_s)
        return max(0.0, min(dues)) if dues else None

    def take(self, now_s: float) -> tuple[list[Streamed], Preview | None]:
        """Return what is due, and let it wait no longer; the notice of a preview comes last."""
        taken, preview = list[Streamed](), None
        if self._waiting and (self._is_urgent or now_s >= self._steps_due_s):
            taken = [message for message, _ in self._waiting]
            self._waiting.clear()
            self._is_urgent, self._steps_due_s = False, now_s + STEPS_EVERY_S
        if self._preview is not None and now_s >= self._preview_due_s:
            preview, self._preview = self._preview, None
            self._preview_due_s = now_s + PREVIEW_EVERY_S
            taken.append(PreviewNotice())
        return taken, preview


def _node_of(step: Streamed) -> str:
    return step.node if isinstance(step, Steps) else ""
