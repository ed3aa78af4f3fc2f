"""Renews the leases of one primary, in a thread of its own: one that is silent holds back no other.

Rule: it works on one round at a time; who gives it a round while it is busy is told so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from everfold.runner.renewal.messages import (
    FromRenewer,
    Hold,
    Missed,
    Outcome,
    Round,
    Server,
    Setup,
)
from everfold.runner.renewal.server_connection import ErrorReply, Redirect, ServerConnection
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.endpoint import Endpoint

PAGE_LIMIT = 500
"""Leases renewed in one script call."""


class Calls(Struct, frozen=True):
    """What a NodeRenewer calls, from its thread."""

    may_renew: Callable[[], str]
    """Returns why leases must not be renewed now; empty when they may."""
    report: Callable[[FromRenewer], None]
    is_elsewhere: Callable[[], None]
    """Leases may be at another primary by now, or this one is away."""


class NodeRenewer:
    """Renews at one primary."""

    def __init__(self, setup: Setup, node: Endpoint, server: Server, calls: Calls) -> None:
        self._setup, self._node, self._server, self._calls = setup, node, server, calls
        self._connection: ServerConnection | None = None
        self._held: Sequence[Hold] | None = None
        self._given = threading.Event()
        self._is_ending = False
        self._told_canceling: set[tuple[str, int]] = set()
        threading.Thread(target=self._work, daemon=True).start()

    def give(self, held: Sequence[Hold]) -> bool:
        """Renew these once; False, with nothing done, while it still works on those before."""
        if self._given.is_set():
            return False
        self._held = held
        self._given.set()
        return True

    def end(self) -> None:
        """End the thread when its round is over."""
        self._is_ending = True
        self._given.set()

    def _work(self) -> None:
        while not self._is_ending:
            self._given.wait()
            held, self._held = self._held, None
            if held:
                self._round(held)
            if not self._is_ending:
                self._given.clear()
        self._disconnect()

    def _round(self, held: Sequence[Hold]) -> None:
        outcomes, missed = _Outcomes(self._told_canceling), ""
        asked_at_s = steady_s()
        for page in _pages(held):
            if missed := self._calls.may_renew():
                break
            try:
                self._renew(page, outcomes)
            except (OSError, ErrorReply, ValueError, TypeError, IndexError) as error:
                missed = f"{self._node}: {type(error).__name__}: {error}"
                self._calls.is_elsewhere()
                if not (isinstance(error, ErrorReply) and error.redirect):
                    self._disconnect()
                    break
        if outcomes.has_any or not missed:
            self._calls.report(outcomes.round(str(self._node), asked_at_s))
        if missed:
            self._calls.report(Missed(missed, str(self._node)))
        self._told_canceling &= {(lease.job_id, lease.epoch) for lease in held}

    def _renew(self, page: Sequence[Hold], outcomes: _Outcomes) -> None:
        keys = [page[0].dispatch, *(lease.head for lease in page)]
        leases = [word for lease in page for word in (lease.epoch, lease.dispatch_id)]
        words = ("EVAL", self._setup.script, len(keys), *keys, self._setup.runner, *leases)
        connection = self._connected()
        try:
            answers = connection.ask(*words)
        except ErrorReply as error:
            if (found := error.redirect) is not None and found.word == "ASK":
                answers = self._ask_once(found, words)
            elif error.says_elsewhere or error.says_later:
                raise
            else:
                # An error of this page says nothing of the leases in another stream.
                outcomes.failed += [Outcome(lease.job_id, lease.epoch) for lease in page]
                return
        outcomes.note(page, answers)

    def _ask_once(self, to: Redirect, words: Sequence[str | int]) -> object:
        """Ask the server to which a slot moves just now."""
        there = replace(self._server, host=to.host or self._server.host, port=to.port)
        connection = ServerConnection(there, self._setup.connection_name, self._setup.timeout_s)
        try:
            connection.ask("ASKING")
            return connection.ask(*words)
        finally:
            connection.close()

    def _connected(self) -> ServerConnection:
        if self._connection is None:
            setup = self._setup
            self._connection = ServerConnection(
                self._server, setup.connection_name, setup.timeout_s
            )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class _Outcomes:
    """What the pages of one round have brought."""

    def __init__(self, told_canceling: set[tuple[str, int]]) -> None:
        self._told_canceling = told_canceling
        self.renewed: list[Outcome] = []
        self.over: list[Outcome] = []
        self.canceling: list[Outcome] = []
        self.failed: list[Outcome] = []

    @property
    def has_any(self) -> bool:
        return bool(self.renewed or self.over or self.failed)

    def note(self, page: Sequence[Hold], answers: object) -> None:
        if not isinstance(answers, list):
            raise ValueError(f"renew.lua answered {answers!r}")
        for lease, answer in zip(page, answers, strict=True):
            key = (lease.job_id, lease.epoch)
            if answer[0] == b"fenced":
                self.over.append(Outcome(*key, int(str(answer[1]))))
                continue
            self.renewed.append(Outcome(*key))
            if answer[0] == b"canceling" and key not in self._told_canceling:
                self._told_canceling.add(key)
                self.canceling.append(Outcome(*key))

    def round(self, node: str, asked_at_s: float) -> Round:
        return Round(
            node=node,
            asked_at_s=asked_at_s,
            renewed=tuple(self.renewed),
            over=tuple(self.over),
            canceling=tuple(self.canceling),
            failed=tuple(self.failed),
        )


def _pages(held: Sequence[Hold]) -> Iterator[list[Hold]]:
    """Yield the leases of one dispatch stream together, PAGE_LIMIT at most."""
    by_stream: dict[str, list[Hold]] = {}
    for lease in held:
        by_stream.setdefault(lease.dispatch, []).append(lease)
    for leases in by_stream.values():
        for start in range(0, len(leases), PAGE_LIMIT):
            yield leases[start : start + PAGE_LIMIT]
