"""The protocol between a runner and a server that executes workflows.

Rule: the runner knows nothing about ComfyUI but this module, so that another kind of backend can
be written beside `runner/comfyui/`. A backend never touches Redis and never decides: it does what
the runner asks, reports what it sees, and answers `Unreachable` when it cannot see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.costs.node_cost import NodeCost
from everfold.streams.border.secrets import Secret
from everfold.streams.events.event import Failure, NodeProblem, Outputs
from everfold.streams.live.live_message import LiveMessage


class Attempt(Struct, frozen=True, kw_only=True):
    """One try to run a job on a backend."""

    job_id: str
    number: int
    """Counts from 1."""
    prompt_id: str
    """A lower-case UUID computed from job and number: known even when its record was lost."""
    client_id: str
    """One per attempt: ComfyUI sends the messages of a client id to its newest socket only."""
    extra_data: Mapping[str, object] = {}
    """What is sent beside the graph."""
    partner_keys: Mapping[str, Secret] = {}
    """Keys for partner nodes by name, sent and never told."""
    costs: Mapping[str, NodeCost] = {}
    """What its nodes are expected to take, as far as that is known."""


# The outcomes of a submit.


class Accepted(Struct, frozen=True):
    """The attempt is queued."""

    number: int | None
    """The backend's own counter of prompts; None when it named none."""
    problems: list[NodeProblem]
    """Why outputs were dropped although the rest was accepted; empty when none was."""


class Rejected(Struct, frozen=True):
    """Final: the attempt was not and will not be queued."""

    failure: Failure
    of_server: bool = False
    """The refusal speaks of what this server has, such as a missing model: others may differ."""


class Ambiguous(Struct, frozen=True):
    """The answer was lost or proves nothing: only `truth` says whether the attempt is queued."""

    why: str
    refuses: bool = False
    """The server turns submits away, for a reason that says nothing about the attempt."""


class Withheld(Struct, frozen=True):
    """Certainly not queued: the last byte was not sent, or no connection was made."""

    why: str
    refuses: bool = False
    """The server turns submits away, for a reason that says nothing about the attempt."""


SubmitOutcome = Accepted | Rejected | Ambiguous | Withheld


# What a backend answers when it is given a file that an attempt needs there.


class InputFile(Struct, frozen=True, kw_only=True):
    """A stored file that a graph names."""

    hash: str
    """`blake3:` and 64 hexadecimal digits."""
    size_bytes: int
    name: str
    """For people; its ending may tell the server what it is."""
    media_type: str


InputBytes = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens a file from its beginning. May raise anything, which the backend answers as trouble."""


class Placed(Struct, frozen=True):
    """The server has exactly these bytes."""

    name: str
    """As a graph names them to this server."""


class NotPlaced(Struct, frozen=True):
    """This server does not take the file, or keeps other bytes than it was sent."""

    why: str


# The truth: what the backend knows of an attempt.


class Running(Struct, frozen=True):
    """The attempt runs."""


class Pending(Struct, frozen=True):
    """The attempt waits in the backend's queue."""

    position: int
    """0 is the next to run."""


class Ended(Struct, frozen=True, kw_only=True):
    """The attempt is over, by the backend's history. Times are the backend's, in milliseconds."""

    succeeded: bool
    interrupted: bool
    outputs: Outputs
    outputs_reused: bool
    failure: Failure | None
    """Set unless it succeeded or was interrupted."""
    executed: tuple[str, ...] = ()
    """Nodes that had been executed before a failure or an interrupt."""
    cached: tuple[str, ...] = ()
    """Nodes whose results came from the cache."""
    started_at_ms: int | None
    ended_at_ms: int | None


class Absent(Struct, frozen=True):
    """The attempt is neither queued nor running nor in the history."""

    same_boot: bool
    """False: the backend has restarted since the attempt was submitted."""


class Unreachable(Struct, frozen=True):
    """The backend gave no usable answer: the attempt is unknown, never lost."""

    why: str
    refuses: bool = False
    """It lets this runner not in: asked again and again, it may shut it out."""


Truth = Running | Pending | Ended | Absent | Unreachable

PlaceOutcome = Placed | NotPlaced | Unreachable


# What a backend answers when it is asked for a file of an attempt that has ended.


class OutputFile(Struct, frozen=True, order=True):
    """One file on a server, by the three words that the server has for it."""

    kind: str
    """Its folder there: output, temp or input."""
    subfolder: str
    filename: str
    written_by_ms: int = 0
    """When its attempt had ended, by the server's clock; 0 where that is not known."""


class OutputBody(Struct, frozen=True):
    """The file comes."""

    size_bytes: int
    chunks: AsyncIterator[bytes]
    """Raises DownloadBroken where it does not come whole, or too slowly, or where another server
    answers at the address by its end."""


class OutputGone(Struct, frozen=True):
    """The server that took the attempt does not have the file, and will not have it."""


class DownloadBroken(Exception):
    """What has come of a file is of no use; a later try may bring it."""


OutputAnswer = OutputBody | OutputGone | Unreachable


# Hints while the attempt runs, never the truth.


class Progress(Struct, frozen=True, kw_only=True):
    """How far the attempt is: `value` from 0 to 0.99, which never falls."""

    value: float
    nodes_done: int
    nodes_total: int
    node: str | None = None
    node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    left_s: int | None = None
    """Seconds that it is expected to run still, at least 1; None while that is not known."""


class SavedOutput(Struct, frozen=True):
    """The output of one node, as the backend sent it."""

    node: str
    output: dict[str, object]


class SentPictures(Struct, frozen=True, kw_only=True):
    """The pictures that one node sent over the connection, in their order."""

    pictures: tuple[bytes, ...] = ()
    is_whole: bool = False
    """Whether the connection stood for as long as the node ran."""
    is_cut: bool = False
    """More came than is kept."""


class Sighting(Struct, frozen=True, kw_only=True):
    """What was seen since the last Sighting: the newest progress, every saved output."""

    started: bool = False
    """True once the backend was seen to run the attempt, and in every later Sighting."""
    progress: Progress | None = None
    estimate: Progress | None = None
    """Progress by the time alone that has passed since: no sign of life."""
    saved: tuple[SavedOutput, ...] = ()
    ask_truth: bool = False
    """The attempt may be over, or something was missed: call `truth` now."""
    succeeded: bool = False
    """The backend told the attempt's success, and each output of its graph was told or cached."""
    is_over: bool = False
    """The backend told the end of the attempt, whatever it was."""
    is_settled: bool = False
    """The backend told that it has recorded that end."""
    heard: bool = False
    """Something came over the present connection, whatever it was about."""
    executed: frozenset[str] = frozenset()
    """Nodes that have been executed, as far as was seen."""
    pictures: Mapping[str, SentPictures] = {}
    """All that came so far of each node whose outputs are sent over the connection."""
    node_costs: Mapping[str, NodeCost] = {}
    """What nodes took that were seen from their beginning to their end."""
    messages: tuple[LiveMessage, ...] = ()
    """What the backend said since, while that is wanted, in its order; some may be missing."""


class Observation(Protocol):
    """A stream of Sightings of one attempt, with one consumer."""

    async def next(self, timeout_s: float) -> Sighting:
        """Wait for something new, at most `timeout_s` seconds; return it, or nothing new."""
        ...

    async def reconnect(self) -> None:
        """Close the connection, wait for its end, and open a new one."""
        ...

    def pass_on(self, is_wanted: bool) -> None:
        """From now on tell in `Sighting.messages` what the backend says, or do so no more."""
        ...


class Load(Struct, frozen=True):
    """How many prompts run and wait there, those of other clients included."""

    running: int
    pending: int
    running_ids: tuple[str, ...] = ()
    """Prompt ids of what runs."""


class BackendTraits(Struct, frozen=True, kw_only=True):
    """What a person has said of a backend."""

    title: str = ""
    """What people call it; empty: they call it by its address."""
    labels: frozenset[str] = frozenset()
    """What jobs may ask for besides node classes and models, such as gpu:24gb."""
    slots: int | None = None
    """Jobs that it may hold; None: as many as its runner gives to each backend."""


NO_TRAITS = BackendTraits()


class Backend(Protocol):
    """A server that executes workflows. All calls may be made at the same time.

    No call raises for trouble with the backend: trouble is a value (`Unreachable`, `Ambiguous`).
    """

    @property
    def name(self) -> str:
        """The base URL, as recorded in events."""
        ...

    async def boot(self) -> str | Unreachable:
        """Return the marker of the present boot: another one after each restart."""
        ...

    async def server(self) -> str | Unreachable:
        """Return the server's identity, which outlives restarts and changes of its address."""
        ...

    async def capabilities(self) -> ObjectInfo | Unreachable | None:
        """Return what the server has, as it tells now; None where that cannot be known: then any
        job may be sent there."""
        ...

    async def load(self) -> Load | Unreachable:
        """Ask how many prompts run and wait."""
        ...

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        """Have the server keep a file, and prove that it has these bytes; sent where it has not."""
        ...

    async def has_input(self, file: InputFile, name: str) -> bool:
        """Say whether a file that was placed as `name` seems to be there still."""
        ...

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        """Send the attempt once, without any retry. `workflow` is a graph as JSON.

        `may_send` is called right before the final byte is sent. When it returns False, the body
        stays incomplete, the backend drops it, and the outcome is `Withheld`.
        """
        ...

    def observe(
        self, attempt: Attempt, workflow: bytes
    ) -> AbstractAsyncContextManager[Observation]:
        """Observe the attempt until the context ends; reconnects by itself."""
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """Delete it from the queue, or interrupt it if it runs; only `truth` says if it ended."""
        ...

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        """Return what the backend knows of the prompt.

        `boot` is the marker recorded when it was submitted; with an empty one an absent prompt
        is `Absent(same_boot=False)`. `server` is the identity recorded then: where another server
        answers at this address, a prompt that it does not have is unknown, not absent. So is one
        without a prompt id.
        """
        ...

    def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AbstractAsyncContextManager[OutputAnswer]:
        """Ask for a file of an attempt, which is then read within the context.

        `boot` and `server` are those recorded with the attempt, as for `truth`: where neither is
        found again, another server may answer there, and the file is `Unreachable`. After a
        restart one that may have been written later than `file.written_by_ms` is `OutputGone`.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections; no call may follow."""
        ...
