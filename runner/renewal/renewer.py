"""The process that renews one runner's leases: python -m everfold.runner.renewal.renewer

Rule: it renews while its runner lives and is not stopped (state T), and for `stuck_after_s` after
the last beat of the runner's event loop. One long call that holds the interpreter lock cannot be
told from a loop that hangs: both keep their leases for so long. It ends with its runner.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from everfold.runner.renewal.directory import Directory
from everfold.runner.renewal.messages import (
    Beat,
    Forget,
    FromRenewer,
    Hold,
    Missed,
    Outcome,
    Round,
    Setup,
    decode_to_renewer,
    line,
)
from everfold.runner.renewal.node_renewer import Calls, NodeRenewer
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.endpoint import Endpoint

CHUNK_BYTES = 65536

DOUBTED_EVERY_S = 0.3
"""How often is asked while it is doubted that leases are over."""

DOUBTED_S = 5.0
"""After so long a server is believed, also where nobody says that it is the primary."""

LOOK_EVERY_S = 1.0
"""How often the runner's pid is looked at where the kernel does not tell its end."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent to the whole group or service: the runner drains then, and keeps its leases meanwhile."""


class Renewer:
    """Renews what it is told to hold; `report` is called with each round of each primary.

    `may_renew` returns why the leases must not be renewed now, empty when they may.
    """

    def __init__(
        self, setup: Setup, may_renew: Callable[[], str], report: Callable[[FromRenewer], None]
    ) -> None:
        self._setup = setup
        self._report = report
        self._lock = threading.Lock()
        self._held: dict[str, Hold] = {}
        self._again = threading.Event()
        self._directory = Directory(setup.place, setup.connection_name, self._again.set)
        self._calls = Calls(may_renew, self._told, self._directory.look_again)
        self._nodes: dict[Endpoint, NodeRenewer] = {}
        self._doubted: dict[tuple[str, int], float] = {}
        """Job and epoch of a lease that is over, if a former primary has not said so -> since."""

    def hold(self, lease: Hold) -> None:
        with self._lock:
            self._held[lease.job_id] = lease

    def forget(self, job_id: str, epoch: int) -> None:
        """Renew this lease no more; does nothing when another one of the job is held by now."""
        with self._lock:
            held = self._held.get(job_id)
            if held is not None and held.epoch == epoch:
                del self._held[job_id]

    def run(self) -> None:
        """Renew every `renew_every_s`, and when a primary was found, for ever."""
        while True:
            begun_s = steady_s()
            self._again.clear()
            with self._lock:
                held = list(self._held.values())
                self._doubted = {
                    (one.job_id, one.epoch): self._doubted[one.job_id, one.epoch]
                    for one in held
                    if (one.job_id, one.epoch) in self._doubted
                }
            if held:
                self._renew(held)
            every_s = DOUBTED_EVERY_S if self._doubted else self._setup.renew_every_s
            self._again.wait(max(0.0, begun_s + every_s - steady_s()))

    def _renew(self, held: list[Hold]) -> None:
        """Give each primary its leases. One that is still busy is silent: it may not be one now."""
        by_node: dict[Endpoint | None, list[Hold]] = {}
        for lease in held:
            by_node.setdefault(self._directory.primary_of(lease.dispatch), []).append(lease)
        if by_node.pop(None, None):
            self._directory.look_again()
            self._report(Missed("the primary of some leases is not known"))
        for node, leases in by_node.items():
            if node is not None and not self._at(node).give(leases):
                self._directory.look_again()
        for node in self._nodes.keys() - self._directory.primaries():
            self._nodes.pop(node).end()

    def _at(self, node: Endpoint) -> NodeRenewer:
        if node not in self._nodes:
            server = self._directory.server(node)
            self._nodes[node] = NodeRenewer(self._setup, node, server, self._calls)
        return self._nodes[node]

    def _told(self, message: FromRenewer) -> None:
        if isinstance(message, Round):
            message = self._without_doubted(message)
            for one in message.over:
                self.forget(one.job_id, one.epoch)
        self._report(message)

    def _without_doubted(self, message: Round) -> Round:
        """Leave out what is not believed yet; it is asked for again at once, and then often."""
        with self._lock:
            before = len(self._doubted)
            over = tuple(one for one in message.over if self._is_believed(one, message.node))
            for one in (*over, *message.renewed):
                self._doubted.pop((one.job_id, one.epoch), None)
            doubted = len(self._doubted)
        if doubted:
            self._directory.look_again()
        if doubted > before:
            self._again.set()
        return replace(message, over=over)

    def _is_believed(self, over: Outcome, node: str) -> bool:
        """Say whether a lease is over. Who has not heard of it may be a former primary: that counts
        when a look that began afterwards has found no other one."""
        held = self._held.get(over.job_id)
        if over.current_epoch >= over.epoch or held is None or held.epoch != over.epoch:
            return True
        now_s = steady_s()
        since_s = self._doubted.setdefault((over.job_id, over.epoch), now_s)
        is_primary = str(self._directory.primary_of(held.dispatch)) == node
        is_looked_at = is_primary and self._directory.looked_at_s > since_s
        return is_looked_at or now_s - since_s > DOUBTED_S


STOPPED = "the runner is stopped"


class RunnerWatch:
    """What this process sees of the runner that started it."""

    def __init__(self, setup: Setup) -> None:
        self._pid = setup.runner_pid
        self._stuck_after_s = setup.stuck_after_s
        self._heard_at_s = steady_s()

    def heard(self) -> None:
        """The runner's event loop has turned."""
        self._heard_at_s = steady_s()

    def why_not(self) -> str:
        """Return why its leases must not be renewed now; empty when they may."""
        if _state(self._pid) in ("T", "t"):
            return STOPPED
        silent_s = steady_s() - self._heard_at_s
        if silent_s > self._stuck_after_s:
            return f"the runner's event loop has stood still for {silent_s:.0f} s"
        return ""


def _state(pid: int) -> str:
    """Return a process's state as the kernel names it; empty where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""


class Input:
    """The lines of standard input, until its end or until the runner has ended.

    A process that the runner has forked may keep the pipe open: then its pid tells the end.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._runner_pid = 0
        self._runner_ends = -1
        """A descriptor that is readable when the runner has ended, -1 for none."""

    def watch(self, runner_pid: int) -> None:
        """End with this process, which has started this one."""
        self._runner_pid = runner_pid
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._runner_ends = os.pidfd_open(runner_pid)

    def next(self) -> bytes | None:
        """Return the next line, None at the end."""
        while not self._lines:
            waited_for = [0] if self._runner_ends < 0 else [0, self._runner_ends]
            readable, _, _ = select.select(waited_for, [], [], LOOK_EVERY_S)
            if self._runner_ends in readable or self._runner_pid not in (0, os.getppid()):
                return None
            if 0 in readable:
                received = os.read(0, CHUNK_BYTES)
                if not received:
                    return None
                *self._lines, self._rest = (self._rest + received).split(b"\n")
        return self._lines.pop(0)


def main() -> None:
    """Be the process, until the runner ends."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    writing = threading.Lock()

    def report(message: FromRenewer) -> None:
        with writing:
            os.write(1, line(message))

    given = Input()
    setup = decode_to_renewer(given.next() or b"")
    if not isinstance(setup, Setup):
        sys.exit("the first message must be the setup")
    given.watch(setup.runner_pid)
    runner = RunnerWatch(setup)
    renewer = Renewer(setup, runner.why_not, report)
    threading.Thread(target=renewer.run, daemon=True).start()
    while (text := given.next()) is not None:
        message = decode_to_renewer(text)
        if isinstance(message, Hold):
            renewer.hold(message)
        elif isinstance(message, Forget):
            renewer.forget(message.job_id, message.epoch)
        elif isinstance(message, Beat):
            runner.heard()
            report(message)
    os._exit(0)  # at once: the renewing thread may wait for an answer


if __name__ == "__main__":
    main()
