"""Which event may be told again after the history that a server came back with.

Rule: pure. What was lost and would say nothing new is left out: an attempt has one beginning and
one end, whoever told of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Event, closing_status


class Story(Struct):
    """What a history says, as far as it decides what may follow."""

    attempt: int = 0
    is_alive: bool = False
    is_accepted: bool = False
    is_started: bool = False
    saved: set[str] = set()
    """Nodes whose outputs are known."""
    stopping: str = ""
    is_canceling: bool = False
    is_over: bool = False
    is_readable: bool = True
    """False after an event that this program cannot read: nothing is told then."""

    @classmethod
    def of(cls, history: Iterable[Event | Unreadable]) -> Story:
        """Return what the events of a job say, in their order."""
        story = cls(saved=set())
        for event in history:
            story.add(event)
        return story

    def add(self, event: Event | Unreadable) -> None:
        """Go on by one event."""
        match event:
            case Unreadable():
                self.is_readable = self.is_readable and event.skipped
            case events.Submitting():
                self.attempt, self.is_alive, self.saved = event.attempt, True, set()
                self.is_accepted = self.is_started = False
                self.stopping = ""
            case events.Queued():
                self.is_accepted = True
            case events.Started():
                self.is_accepted = self.is_started = True
            case events.OutputSaved():
                self.saved.add(event.node)
            case events.Stopping():
                self.stopping = event.why
            case events.CancelRequested():
                self.is_canceling = True
            case events.Lost() | events.Retried():
                self.is_alive = False
            case _:
                self.is_over = self.is_over or bool(closing_status(event))

    def takes(self, event: Event | Unreadable, *, with_intents: bool) -> bool:
        """Say whether an event of this job that was lost is to be told now.

        `with_intents`: whoever tells it tells of each attempt before that begins. Else nothing is
        known of attempts, and any may be meant.
        """
        if self.is_over or not self.is_readable:
            return False
        match event:
            case events.Submitting():
                return not self.is_alive and event.attempt == self.attempt + 1
            case events.CancelRequested():
                return not self.is_canceling
            case events.Canceled() | events.Expired() | events.Released():
                return True
            case events.Failed():
                return event.attempt == self.attempt or not (with_intents or self.attempt)
            case events.Lost() | events.Retried() | events.Succeeded() | events.Queued():
                is_new = not isinstance(event, events.Queued) or not self.is_accepted
                return is_new and self._is_of(event.attempt, with_intents)
            case events.Started():
                return not self.is_started and self._is_of(event.attempt, with_intents)
            case events.OutputSaved():
                return event.node not in self.saved and self._is_of(event.attempt, with_intents)
            case events.Stopping():
                return event.why != self.stopping and self._is_of(event.attempt, with_intents)
            case _:
                return False

    def _is_of(self, attempt: int, with_intents: bool) -> bool:
        if self.attempt == 0 and not with_intents:
            return True
        return self.is_alive and attempt == self.attempt
