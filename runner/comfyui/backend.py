"""A ComfyUI server as a backend.

Rule: one POST per attempt; truth from the queue first and the history second; an interrupt only
for a prompt that the queue shows running. It keeps nothing that a restarted runner would miss. No
exception leaves a method, whatever the server sends.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from uuid import uuid4

import anyio
import anyio.to_thread

from everfold.runner.access.access import Access
from everfold.runner.access.address import read_address
from everfold.runner.access.advice import REFUSING, why_not_served
from everfold.runner.backend import (
    Absent,
    Accepted,
    Ambiguous,
    Attempt,
    Ended,
    InputBytes,
    InputFile,
    Load,
    OutputAnswer,
    OutputFile,
    PlaceOutcome,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.capabilities.object_info import ObjectInfo, read_object_info
from everfold.runner.comfyui.boot import BootMarker
from everfold.runner.comfyui.files.input_upload import InputUpload
from everfold.runner.comfyui.files.output_source import OutputSource
from everfold.runner.comfyui.http import (
    Answer,
    ComfyHttp,
    SharedRead,
    open_client,
    or_unreachable,
)
from everfold.runner.comfyui.identity import ServerIdentity
from everfold.runner.comfyui.large_bodies import (
    begins_with_entry,
    history_value,
    queue_value,
)
from everfold.runner.comfyui.socket import SocketObservation, open_socket
from everfold.runner.comfyui.submission import IGNORES_ID, AcceptedAs, post
from everfold.runner.comfyui.truth import (
    NotUnderstood,
    Queue,
    read_history,
    read_queue,
    unreadable_end,
)
from everfold.runner.loose_json import TooManyValues, as_list, as_object, as_texts
from everfold.streams.appending.body import TARGETS
from everfold.streams.events.event import ON_HOST

TIMEOUT_S = 15.0
"""ComfyUI answers in milliseconds, but a node that holds the interpreter lock delays everything."""
SUBMIT_TIMEOUT_S = 60.0
"""Validation may read model files from a slow disk."""


class ComfyBackend:
    """Implements `everfold.runner.backend.Backend` for the ComfyUI server at `url`.

    `url` may be a whole access. Raises a kind of Misconfigured when it cannot be used. A user and
    password in a URL become a header and appear in no name. Opens no connection before the first
    call. `headers` go with every request to a URL; `ssl_context` comes before that of the access.
    Call `aclose` at the end.
    """

    def __init__(
        self,
        url: str | Access,
        *,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        submit_timeout_s: float = SUBMIT_TIMEOUT_S,
    ) -> None:
        access = Access(address=read_address(url, headers)) if isinstance(url, str) else url
        address, ssl_context = access.address, ssl_context or access.ssl_context()
        self.traits = access.traits
        self.http = ComfyHttp(address, timeout_s=timeout_s, ssl_context=ssl_context)
        self._address = address
        self._ssl_context = ssl_context
        # Keeps no connection: a reused one may be dropped at the moment of the POST.
        self._submitter = open_client(
            address, ssl_context, silence_s=submit_timeout_s, keep_alive=False
        )
        self._submit_timeout_s = submit_timeout_s
        self._boot = BootMarker(self.http)
        self._identity = ServerIdentity(self.http)
        self._identified: tuple[str, str] = ("", "")
        """A boot marker, and the identity of the server that has it."""
        self._outputs = OutputSource(self.http, self._boot, self._identity)
        self._upload = InputUpload(self.http)
        self._highest_number = -1
        """The highest number of a prompt that this boot has accepted from this runner."""
        self._capabilities: tuple[bytes, ObjectInfo] | None = None
        """What was read last of the server's classes, and the hash of that body."""
        self._queue = SharedRead(self._read_queue)
        self._observed: dict[str, list[SocketObservation]] = {}
        """By prompt_id: observations to be told which nodes are outputs."""

    @property
    def name(self) -> str:
        return self._address.url

    async def boot(self) -> str | Unreachable:
        return await or_unreachable(self._boot.current())

    async def server(self) -> str | Unreachable:
        marker, identity = self._identified
        # Who has the marker is the server that it was given to.
        if marker and marker == self._boot.seen_lately:
            return identity
        return await or_unreachable(self._identify_by(marker, identity))

    async def _identify_by(self, marker: str, identity: str) -> str | Unreachable:
        is_same = bool(marker) and await self._boot.is_alive(marker) is True
        return identity if is_same else await self._identify()

    async def _identify(self) -> str | Unreachable:
        marker = self._boot.seen_lately
        found = await self._identity.current()
        # Before and after: another one may have answered in between.
        if marker and isinstance(found, str) and await self._boot.is_alive(marker) is True:
            self._identified = (marker, found)
        return found

    async def capabilities(self) -> ObjectInfo | Unreachable:
        answer = await self.http.object_info()
        if isinstance(answer, Unreachable):
            return answer
        if answer.status != 200:
            return Unreachable(f"GET /object_info answered {answer.status}: {answer.excerpt()}")
        body_hash = sha256(answer.body).digest()
        if self._capabilities is None or self._capabilities[0] != body_hash:
            try:
                # Megabytes take a while to read, and the polls must go on.
                info = await anyio.to_thread.run_sync(read_object_info, answer.body)
                self._capabilities = (body_hash, info)
            except ValueError as error:
                return Unreachable(f"GET /object_info is not read: {error}: {answer.excerpt()}")
        return self._capabilities[1]

    async def load(self) -> Load | Unreachable:
        if self._boot.is_doubted and isinstance(boot := await self.boot(), Unreachable):
            return boot
        if (unfit := await or_unreachable(self._boot.why_unfit())) is not None:
            return unfit
        queue = await or_unreachable(self._queue.fresh())
        return queue.load() if isinstance(queue, Queue) else queue

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        return await or_unreachable(self._upload.place(file, content))

    async def has_input(self, file: InputFile, name: str) -> bool:
        return await or_unreachable(self._upload.is_there(file, name)) is not False

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        highest_before = self._highest_number
        for observation in self._observed.get(attempt.prompt_id, ()):
            observation.begin()
        outcome = await post(
            self._submitter, attempt, workflow, may_send, timeout_s=self._submit_timeout_s
        )
        if isinstance(outcome, AcceptedAs):
            await or_unreachable(self._take_back(outcome.prompt_id))
            return Ambiguous(outcome.why, outcome.refuses)
        if isinstance(outcome, Accepted) and outcome.number is not None:
            self._note_number(outcome.number, highest_before)
        if isinstance(outcome, Accepted) and outcome.problems:
            broken = frozenset(problem.node for problem in outcome.problems)
            for observation in self._observed.get(attempt.prompt_id, ()):
                observation.drop_outputs(broken)
        return outcome

    async def _take_back(self, prompt_id: str) -> None:
        """Stop what was queued under an id of the server's own, and send this boot nothing more."""
        # An answer that was mixed up names another job's prompt, which is to go on.
        if prompt_id and prompt_id not in self._observed:
            await self._stop(prompt_id)
        await self._boot.mark_unfit(IGNORES_ID)

    def _note_number(self, number: int, highest_before: int) -> None:
        """Notice a restart by the server's counter of prompts, which only rises within one boot.

        The number is compared with the highest one known when the POST began, because answers
        may overtake each other.
        """
        if number < highest_before:
            self._boot.mark_restarted()
            self._highest_number = number
        self._highest_number = max(self._highest_number, number)

    @asynccontextmanager
    async def observe(self, attempt: Attempt, workflow: bytes) -> AsyncIterator[SocketObservation]:
        observation = SocketObservation(
            self._address, attempt, workflow, ssl_context=self._ssl_context
        )
        if targets := as_texts(as_list(attempt.extra_data.get(TARGETS))):
            observation.learn_outputs(frozenset(targets))
        watching = self._observed.setdefault(attempt.prompt_id, [])
        watching.append(observation)
        try:
            async with open_socket(observation):
                yield observation
        finally:
            watching.remove(observation)
            if not watching:
                self._observed.pop(attempt.prompt_id, None)

    async def cancel(self, attempt: Attempt) -> None:
        if attempt.prompt_id:
            await or_unreachable(self._cancel(attempt))

    async def _cancel(self, attempt: Attempt) -> None:
        # In one step where the server can; an interrupt may hit the prompt that runs next.
        answer = await self.http.cancel_job(attempt.prompt_id)
        body = as_object(answer.json()) if isinstance(answer, Answer) else {}
        if isinstance(body.get("cancelled"), bool):
            return
        await self._stop(attempt.prompt_id)

    async def _stop(self, prompt_id: str) -> None:
        """Delete the prompt if it waits; interrupt it if the queue shows it running."""
        await self.http.delete_pending(prompt_id)
        queue = await self._queue.fresh()
        if isinstance(queue, Queue) and isinstance(queue.find(prompt_id), Running):
            await self.http.interrupt(prompt_id)

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        if not prompt_id:
            return Unreachable("the attempt has no prompt id to ask for")
        return await or_unreachable(self._truth(prompt_id, boot, server))

    async def _truth(self, prompt_id: str, boot: str, server: str) -> Truth:
        if any(one.is_settled for one in self._observed.get(prompt_id, ())):
            # An entry is an end whatever the queue says: only what is missing needs the order.
            answer = await self.http.history(prompt_id)
            told = self._read_ended(answer, prompt_id) if isinstance(answer, Answer) else answer
            if isinstance(told, Ended):
                return told
        # The queue first: a prompt moves only from queue to history, so one that is missing in the
        # queue and after that in the history is nowhere.
        queue = await self._queue.fresh()
        if isinstance(queue, Unreachable):
            return queue
        truth = queue.find(prompt_id) or await self._truth_by_history(prompt_id, boot)
        is_known = server and not server.startswith(ON_HOST)
        if is_known and truth == Absent(same_boot=False):
            found = await self._identity.current()
            if isinstance(found, Unreachable):
                return found
            if found != server:
                return Unreachable("another server answers there")
        if isinstance(truth, Absent):
            # Its POST came over another connection, perhaps to another server.
            return await self._boot.doubt() or truth
        return truth

    def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AbstractAsyncContextManager[OutputAnswer]:
        return self._outputs.open(file, boot, server)

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._submitter.aclose()
            await self.http.aclose()

    async def _read_queue(self) -> Queue | Unreachable:
        answer = await self.http.queue()
        if isinstance(answer, Unreachable):
            return answer
        if answer.status != 200:
            why = f"answered {answer.status}: {answer.excerpt()}"
            return self._not_served(answer, why)
        try:
            queue = read_queue(queue_value(answer.body))
        except NotUnderstood as error:
            return self._not_served(answer, f"is not understood: {error}: {answer.excerpt()}")
        self._pass_on_outputs(queue)
        return queue

    def _not_served(self, answer: Answer, why: str) -> Unreachable:
        """Say what is wrong with the access, or else `why` the answer is of no use."""
        found = why_not_served(answer.status, answer.body, self._address)
        return Unreachable(found or f"GET /queue {why}", refuses=answer.status in REFUSING)

    def _pass_on_outputs(self, queue: Queue) -> None:
        for item in [*queue.running, *queue.pending]:
            for observation in self._observed.get(item.prompt_id, ()):
                observation.learn_outputs(item.outputs)

    async def _truth_by_history(self, prompt_id: str, boot: str) -> Truth:
        answer = await self.http.history(prompt_id)
        if isinstance(answer, Unreachable):
            return answer
        if answer.status == 500:
            return await self._truth_of_unreadable(prompt_id, answer)
        ended = self._read_ended(answer, prompt_id)
        return ended if ended is not None else await self._truth_by_marker(boot)

    def _read_ended(self, answer: Answer, prompt_id: str) -> Ended | Unreachable | None:
        """Return the end that an answer tells; None where it has no entry."""
        if answer.status != 200:
            return Unreachable(f"GET /history answered {answer.status}: {answer.excerpt()}")
        try:
            if answer.is_cut:
                raise TooManyValues("it is larger than allowed")
            return read_history(history_value(answer.body, prompt_id), prompt_id)
        except NotUnderstood as error:
            return Unreachable(f"GET /history is not understood: {error}: {answer.excerpt()}")
        except TooManyValues as error:
            if not begins_with_entry(answer.body, prompt_id):
                return Unreachable(f"GET /history is not read: {error}: {answer.excerpt()}")
            # There is an entry, so the prompt is over, and would be as large if it ran again.
            return unreadable_end(f"GET /history is not read: {error}")

    async def _truth_of_unreadable(self, prompt_id: str, first: Answer) -> Truth:
        """Tell a history entry that cannot be turned into JSON from a server in trouble.

        When a node returned something that is not JSON, the entry answers 500 until it is deleted,
        while the history of any other id answers 200.
        """
        other = await self.http.history(str(uuid4()))
        again = await self.http.history(prompt_id)
        match other, again:
            case Answer(status=200), Answer(status=500):
                return unreadable_end(f"GET /history answered 500: {first.excerpt()}")
        return Unreachable(f"GET /history answered 500: {first.excerpt()}")

    async def _truth_by_marker(self, boot: str) -> Truth:
        alive = await self._boot.is_alive(boot)
        return alive if isinstance(alive, Unreachable) else Absent(same_boot=alive)
