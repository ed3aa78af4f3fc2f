"""Tasks of a simulated process: generators that stop wherever the real code awaits.

Rule: between two yields nothing else happens; at a yield anything may. A wish is a number
(sleep so many ms), a Nap (the same, but attention ends it early), a Request or a Post.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar, cast

from msgspec import Struct

if TYPE_CHECKING:
    from tests.simulation.process import Process

T = TypeVar("T")


class Cancelled(Exception):
    """The scope around the task was cancelled."""


class ShieldOver(Exception):
    """The time of a shielded section is up."""


class Nap(Struct, frozen=True):
    ms: int


class Request(Struct, frozen=True):
    """Something that another machine shall do; the reply is what `act` returns."""

    to: str
    """redis, or a backend's name."""
    act: Callable[[], object]
    name: str = ""
    is_append: bool = False
    """Its reply is awaited even by a cancelled task, as the leader of a group commit does."""


class Post(Struct, frozen=True):
    """The last byte of a POST; `act` takes the whole of it in."""

    to: str
    act: Callable[[], object]
    most_ms: int
    on_lost: Callable[[], None]
    """Called when it will never arrive."""


Wish = int | Nap | Request | Post
Steps = Generator[Wish, object, T]


def ask(to: str, act: Callable[[], T], name: str, *, is_append: bool = False) -> Steps[T]:
    """Await the reply of another machine."""
    return cast("T", (yield Request(to, act, name, is_append)))


class Task:
    """One generator on its way. `on_thread`: it lives beside the event loop, not in it."""

    def __init__(
        self, process: Process, steps: Steps[None], name: str, *, on_thread: bool = False
    ) -> None:
        self.process, self.name, self.on_thread = process, name, on_thread
        self._steps = steps
        self.turn = 0
        """Raised by each resumption: what was meant for an earlier one is ignored."""
        self.is_done = self.cancel_called = self.scope_left = False
        self._waiting: Wish = 0
        self._shield = self._shields = self._shield_ms = 0
        self._due: Exception | None = None
        self._has_begun = False
        self.limits_shields = False
        """True in a broken model: the time of a shield runs although nobody has cancelled."""

    def resume(self, turn: int, value: object = None) -> None:
        """Take one step: everything up to the next await."""
        if turn != self.turn or self.is_done:
            return
        self.turn += 1
        if self._due is not None and self._has_begun and not self._is_appending():
            value, self._due = self._due, None
        self._has_begun = True
        try:
            if isinstance(value, Exception):
                wish = self._steps.throw(value)
            else:
                wish = self._steps.send(value)
        except StopIteration:
            self.is_done = True
        else:
            self._await(wish)

    def _is_appending(self) -> bool:
        return isinstance(self._waiting, Request) and self._waiting.is_append

    def _await(self, wish: Wish) -> None:
        self._waiting = wish
        if self._cancel_is_due() and self._due is None:
            self._due = Cancelled()
        if self._due is not None:
            self._waiting = 0
            self.process.later(self, 0)
        elif isinstance(wish, Request):
            self.process.send(self, wish)
        elif isinstance(wish, Post):
            self.process.post(self, wish)
        else:
            self.process.later(self, wish.ms if isinstance(wish, Nap) else wish)

    def _cancel_is_due(self) -> bool:
        return self.cancel_called and not self.scope_left and not self._shield

    def _interrupt(self, error: Exception) -> None:
        """Raise `error` where the task waits, or right after an append's reply."""
        self._due = error
        if not self._is_appending():
            self._waiting = 0
            self.turn += 1
            self.process.later(self, 0)

    def wake(self) -> None:
        """End a nap."""
        if isinstance(self._waiting, Nap) and not self.is_done:
            self._waiting = 0
            self.turn += 1
            self.process.later(self, 0)

    def cancel(self) -> None:
        """Cancel the task's scope: it stops at its next await, or when its shield is over."""
        if self.cancel_called:
            return
        self.cancel_called = True
        if self._shield:
            self.process.after(self._shield_ms, self._end_of_shield, self._shield)
        elif self._cancel_is_due() and not self.is_done:
            self._interrupt(Cancelled())

    def leave_scope(self) -> None:
        """From here on no cancellation reaches the task."""
        self.scope_left = True
        if isinstance(self._due, Cancelled):
            self._due = None

    def shield(self, ms: int) -> None:
        """Begin a section that goes on for `ms` after a cancellation, and without limit before."""
        self._shields += 1
        self._shield, self._shield_ms = self._shields, ms
        if self.cancel_called or self.limits_shields:
            self.process.after(ms, self._end_of_shield, self._shield)

    def unshield(self) -> None:
        self._shield = 0
        if isinstance(self._due, ShieldOver):
            self._due = None

    def _end_of_shield(self, number: int) -> None:
        if self._shield == number and not self.is_done:
            self._interrupt(ShieldOver())
