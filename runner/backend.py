"""What a runner needs from a server that executes workflows.

Rule: the runner knows this page and nothing else about ComfyUI, so that another kind of backend
can be written beside `runner/comfyui/`. A backend never touches Redis and never decides: it does
what it is told, says what it sees, and says `Unreachable` where it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from everfold.streams.events.event import Failure, NodeProblem, Outputs

Graph = dict[str, dict[str, object]]
"""A workflow in ComfyUI's API format: node id -> {"class_type", "inputs"}."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One try to run a job on a backend."""

    job_id: str
    number: int
    """Counts from 1."""
    prompt_id: str
    """uuid5(job, number), lower case: known even when the record of it was lost."""
    client_id: str
    """One per attempt: a shared one goes deaf on take-over."""


# What became of a submit.


class Accepted(Struct, frozen=True):
    number: int | None
    problems: list[NodeProblem]
    """Outputs that were dropped although the rest was accepted."""


class Rejected(Struct, frozen=True):
    """Definitive: the attempt was not and will not be queued."""

    failure: Failure


class Ambiguous(Struct, frozen=True):
    """The answer was lost or makes no sense: only `truth` can tell whether it was queued."""

    why: str


class Withheld(Struct, frozen=True):
    """The last byte was not sent (see `submit`), or no connection was made: surely not queued."""

    why: str


SubmitOutcome = Accepted | Rejected | Ambiguous | Withheld


# What the backend knows of an attempt.


class Running(Struct, frozen=True):
    pass


class Pending(Struct, frozen=True):
    position: int
    """0 is the next to run."""


class Ended(Struct, frozen=True, kw_only=True):
    """The attempt is over, from the backend's history."""

    succeeded: bool
    interrupted: bool
    outputs: Outputs
    outputs_reused: bool
    failure: Failure | None
    """Set unless it succeeded or was interrupted."""
    started_at_ms: int | None
    ended_at_ms: int | None


class Absent(Struct, frozen=True):
    """Neither queued nor running nor in the history."""

    same_boot: bool
    """False: the backend has restarted since the attempt was submitted."""


class Unreachable(Struct, frozen=True):
    """Unknown, never lost."""

    why: str


Truth = Running | Pending | Ended | Absent | Unreachable


# What can be seen from the side while it runs: hints, never the truth.


class Progress(Struct, frozen=True, kw_only=True):
    """How far the attempt is. Never falls, never above 0.99."""

    value: float
    nodes_done: int
    nodes_total: int
    node: str | None = None
    node_class: str | None = None
    step: int | None = None
    steps: int | None = None


class SavedOutput(Struct, frozen=True):
    node: str
    output: dict[str, object]


class Sighting(Struct, frozen=True, kw_only=True):
    """What was seen since the last look, merged: the newest progress, every saved output."""

    started: bool = False
    """True from the moment that the backend was seen to run the attempt."""
    progress: Progress | None = None
    saved: tuple[SavedOutput, ...] = ()
    ask_truth: bool = False
    """The attempt may be over, or something was missed: call `truth` now."""


class Observation(Protocol):
    async def next(self, timeout_s: float) -> Sighting:
        """Wait until there is something new, at most `timeout_s`; an empty Sighting after that."""
        ...

    async def reconnect(self) -> None:
        """Close the socket, wait for its end, and open a new one."""
        ...


class Load(Struct, frozen=True):
    """How busy the backend is, whoever's prompts they are."""

    running: int
    pending: int


class Backend(Protocol):
    """A server that executes workflows. All calls may be made at the same time.

    No call raises for trouble with the backend: trouble is a value (`Unreachable`, `Ambiguous`).
    """

    @property
    def name(self) -> str:
        """The base URL, as recorded in events."""
        ...

    async def boot(self) -> str | Unreachable:
        """Return a marker that lives exactly as long as the backend's present boot."""
        ...

    async def load(self) -> Load | Unreachable:
        """Ask how busy it is."""
        ...

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        """POST the attempt once, without any retry.

        `may_send` is asked a last time right before the final byte of the body goes out; when it
        says no, the body stays incomplete, the backend drops it, and the outcome is `Withheld`.
        """
        ...

    def observe(
        self, attempt: Attempt, workflow: bytes
    ) -> AbstractAsyncContextManager[Observation]:
        """Follow the attempt from the side until the context ends; reconnects by itself."""
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """Delete it from the queue and interrupt it if it runs. Only `truth` tells the result."""
        ...

    async def truth(self, prompt_id: str, boot: str) -> Truth:
        """Say what became of the prompt; `boot` is the marker recorded when it was submitted."""
        ...

    async def aclose(self) -> None: ...
