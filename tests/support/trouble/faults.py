"""The faults between a client and Redis; fault_proxy.py injects them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

THROTTLE_STEP_S = 0.05


class FaultRule:
    """A fault for the next `count` requests that contain certain bytes."""

    def __init__(
        self,
        count: int,
        containing: bytes,
        *,
        request_arrives: bool,
        answers: Sequence[bytes] = (),
    ) -> None:
        self.left = count
        self.containing = containing
        self.request_arrives = request_arrives
        self.answers = answers
        """What is answered in place of the server, in turn."""
        self.hits = 0
        """How many requests it has hit."""
        self._over = anyio.Event()

    async def used_up(self, within_s: float = 20.0) -> None:
        """Wait until it has hit `count` requests; TimeoutError when it does not."""
        with anyio.fail_after(within_s):
            await self._over.wait()

    def matches(self, request: bytes) -> bool:
        """Say whether the fault applies to this request, and count it if so."""
        if self.left == 0 or self.containing not in request:
            return False
        self.left -= 1
        return True

    @property
    def answer(self) -> bytes:
        """The answer to the request that it hits now."""
        return b"-%b\r\n" % self.answers[self.hits % len(self.answers)]

    def apply(self) -> None:
        self.hits += 1
        if self.left == 0:
            self._over.set()


class Faults:
    """The faults that are set now. All may be set and lifted while connections are open."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        """Delay of whatever passes, in each direction."""
        self.bytes_per_s: int | None = None
        """Throttle of each connection in each direction; None for no limit."""
        self._rules = list[FaultRule]()
        self._past_hits = 0
        self._gates = {True: _opened(), False: _opened()}

    def swallow_replies(self, count: int = 1, containing: bytes = b"") -> FaultRule:
        """Lose the replies of the next `count` requests that contain these bytes.

        The request reaches the server and is executed; instead of passing the reply on, the
        proxy closes the connection.
        """
        return self._add(FaultRule(count, containing, request_arrives=True))

    def drop_requests(self, count: int = 1, containing: bytes = b"") -> FaultRule:
        """Close the connection instead of passing on the next `count` requests of this kind."""
        return self._add(FaultRule(count, containing, request_arrives=False))

    def answer_errors(self, *errors: str, count: int = -1, containing: bytes = b"") -> FaultRule:
        """Answer the next `count` requests of this kind with these errors, in turn.

        The server does not get them. Without a count: until `lift`.
        """
        texts = [error.encode().replace(b"\n", b" ") for error in errors]
        return self._add(FaultRule(count, containing, request_arrives=True, answers=texts))

    def black_hole(self, *, requests: bool = True, replies: bool = True) -> None:
        """Keep connections open and accept new ones, but let nothing through.

        What was sent meanwhile arrives after `heal`, as TCP would send it again.
        """
        for direction, shut in ((True, requests), (False, replies)):
            if shut and self._gates[direction].is_set():
                self._gates[direction] = anyio.Event()

    def lift(self) -> None:
        """Lift every fault, unused rules included."""
        self.latency_s, self.bytes_per_s = 0.0, None
        self._past_hits = self.hits
        self._rules.clear()
        for gate in self._gates.values():
            gate.set()

    @property
    def hits(self) -> int:
        """How many requests rules have hit so far, lifted rules included."""
        return self._past_hits + sum(rule.hits for rule in self._rules)

    def rule_for(self, request: bytes) -> FaultRule | None:
        """Return the first rule that applies to this request."""
        return next((rule for rule in self._rules if rule.matches(request)), None)

    async def gate(self, *, request: bool) -> None:
        """Wait while a black hole is in this direction."""
        await self._gates[request].wait()

    async def travel(self, chunk: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the chunk on, as slowly as is set."""
        if self.latency_s:
            await anyio.sleep(self.latency_s)
        step = int(self.bytes_per_s * THROTTLE_STEP_S) if self.bytes_per_s else len(chunk)
        for start in range(0, len(chunk), max(step, 1)):
            await send(chunk[start : start + max(step, 1)])
            if self.bytes_per_s:
                await anyio.sleep(THROTTLE_STEP_S)

    def _add(self, rule: FaultRule) -> FaultRule:
        self._rules.append(rule)
        return rule


def _opened() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
