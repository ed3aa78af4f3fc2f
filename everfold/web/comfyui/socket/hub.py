"""Tells each client's sockets what happens to that client's prompts, and how many jobs remain.

Rule: a job's messages go to the sockets of its client id, of the job's own user alone: a client id
is no secret. Each message is made once, however many sockets there are. What a socket is told is
put into its outbox at once, so that one who does not read holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from msgspec import Struct

from everfold.client import Everfold
from everfold.projector.job.fold import fold
from everfold.projector.job.job import OPEN_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import Started, Submitted
from everfold.streams.events.record import Recorded
from everfold.web.caller import Caller
from everfold.web.comfyui.jobs.open_jobs import open_jobs
from everfold.web.comfyui.jobs.shown_job import CLIENT_ID, client_id_of
from everfold.web.comfyui.prompt_ids import prompt_id_of
from everfold.web.comfyui.socket.frames import Frame, status
from everfold.web.comfyui.socket.open_jobs import MOST_COUNTED, OpenJobs, Scope
from everfold.web.comfyui.socket.outbox import Outbox
from everfold.web.comfyui.socket.prompt import Prompt, StatusDue
from everfold.web.feeds.feeds import Feeds
from everfold.web.feeds.happening import Change, Happening
from everfold.web.feeds.job_feed import JobFeed

logger = get_logger("everfold.web")

MOST_PROMPTS = 10_000
"""Jobs that are followed for clients. Of others a client learns from the history."""

Client = tuple[str, str]
"""User and client id."""


class Member(Struct, frozen=True, eq=False):
    """One connected socket."""

    caller: Caller
    client_id: str
    outbox: Outbox

    @property
    def client(self) -> Client:
        return self.caller.user, self.client_id


class _Followed(Struct, eq=False):
    client: Client
    prompt: Prompt
    feed: JobFeed
    listen: Callable[[Happening], None] | None = None


class Hub:
    """The sockets of one gateway. Messages go out while the feeds run."""

    def __init__(self, everfold: Everfold, feeds: Feeds) -> None:
        self._everfold = everfold
        self._feeds = feeds
        self._members: dict[Client, set[Member]] = {}
        self._by_scope: dict[Scope, set[Member]] = {}
        self._jobs = OpenJobs()
        self._loading: dict[Scope, asyncio.Lock] = {}
        self._followed: dict[str, _Followed] = {}
        feeds.listeners.append(self._note)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def members(self) -> list[Member]:
        """The sockets that are connected."""
        return [member for members in self._members.values() for member in members]

    def of_caller(self, caller: Caller) -> int:
        """Return how many sockets a caller has."""
        return sum(
            member.caller.key_id == caller.key_id and member.caller.user == caller.user
            for member in self.members
        )

    async def join(self, member: Member) -> None:
        """Let a socket hear: first how many jobs remain, then where its prompts are.

        Raises a leaf of Unavailable, with nothing joined.
        """
        await self._count(member.caller.scope)
        self._by_scope.setdefault(member.caller.scope, set()).add(member)
        self._members.setdefault(member.client, set()).add(member)
        member.outbox.put(status(self._jobs.count(member.caller.scope), member.client_id))
        for followed in self._of_client(member.client):
            _put([member], followed.prompt.present())

    async def catch_up(self, member: Member) -> None:
        """Follow the open jobs that a socket's client submitted before it connected."""
        try:
            jobs = await open_jobs(self._everfold, member.caller.user, MOST_COUNTED)
            # What runs comes first: of what waits nothing is told yet.
            for job in sorted(jobs, key=lambda job: job.status == "queued"):
                if client_id_of(job) == member.client_id:
                    await self._follow_open(job.job_id, member.client)
        except EverfoldError as error:
            logger.warning("socket_behind why=%r", str(error))

    def leave(self, member: Member) -> None:
        """Let a socket hear no more."""
        scope, client = member.caller.scope, member.client
        self._by_scope.get(scope, set()).discard(member)
        self._members.get(client, set()).discard(member)
        if not self._by_scope.get(scope):
            self._by_scope.pop(scope, None)
            self._jobs.forget(scope)
            self._loading.pop(scope, None)
        if not self._members.get(client):
            self._members.pop(client, None)
            for followed in self._of_client(client):
                self._unfollow(followed)

    def _of_client(self, client: Client) -> list[_Followed]:
        return [one for one in self._followed.values() if one.client == client]

    async def _count(self, scope: Scope) -> None:
        """Count the open jobs of a scope, once for all its sockets. From now on lists know what
        counts, though no projector has folded it yet."""
        async with self._loading.setdefault(scope, asyncio.Lock()):
            if scope in self._by_scope:
                return
            selects = JobFilter(user=scope, statuses=OPEN_STATUSES)
            page = await self._everfold.page(selects, None, MOST_COUNTED)
            unlisted = self._jobs.load(scope, [job.job_id for job in page.jobs])
            for job_id, place in unlisted.items():
                self._everfold._shown.note(job_id, *place)

    def _note(self, record: Recorded) -> None:
        """Take in an event of any job, before its feed does.

        A client that is told of another number asks for the queue and the history at once, whoever
        submitted: they know what the number counts.
        """
        changed = self._jobs.note(record)
        event, is_followed = record.event, record.job_id in self._followed
        if isinstance(event, Started) and not is_followed:
            changed = self._jobs.scopes_of(record.job_id)
        if changed and not is_followed:
            self._everfold._shown.note(record.job_id, record.seq, record.entry_id)
            self._tell_status(changed)
        if isinstance(event, Submitted):
            client_id = event.metadata.get(CLIENT_ID)
            client = (event.user, client_id if isinstance(client_id, str) else "")
            if client in self._members and not is_followed:
                self._follow_new(record, client)

    def _follow_new(self, record: Recorded, client: Client) -> None:
        """Follow a job from its first event on, also where its feed is further already."""
        feed = self._feeds.begin(record)
        job = fold([record], Job(job_id=record.job_id))
        followed = self._follow(feed, client, job)
        if followed is not None and feed.job.seq > job.seq:
            self._tell(job.job_id, followed, Change(feed.job, record))

    async def _follow_open(self, job_id: str, client: Client) -> None:
        if job_id in self._followed or client not in self._members:
            return
        try:
            feed = await self._feeds.hold(job_id)
        except EverfoldError as error:
            logger.warning("socket_behind job=%s why=%r", job_id, str(error))
            return
        if job_id in self._followed or client not in self._members or feed.job.is_terminal:
            self._feeds.release(job_id)
            return
        followed = self._follow(feed, client, feed.job)
        if followed is not None:
            _put(self._members[client], followed.prompt.present())

    def _follow(self, feed: JobFeed, client: Client, job: Job) -> _Followed | None:
        """Follow a job whose feed is held, from a state of it that the client knows.

        The feed is let go when that is over.
        """
        if len(self._followed) >= MOST_PROMPTS:
            self._feeds.release(job.job_id)
            return None
        followed = _Followed(client, Prompt(job, prompt_id_of(job)), feed)
        self._followed[job.job_id] = followed

        def listen(happening: Happening) -> None:
            self._tell(job.job_id, followed, happening)

        followed.listen = listen
        feed.listeners.append(listen)
        return followed

    def _tell(self, job_id: str, followed: _Followed, happening: Happening) -> None:
        if self._followed.get(job_id) is not followed:
            return
        members = self._members.get(followed.client, set())
        scopes = self._scopes_of(followed.feed.job)
        if isinstance(happening, Change):
            # What it has been told of a job, a client finds in the queue and the history, too.
            job = happening.job
            self._everfold._shown.note(job_id, job.seq, job.entry_id)
        for told in followed.prompt.tell(happening):
            if isinstance(told, StatusDue):
                self._tell_status(scopes)
            else:
                _put(members, [told])
        if followed.prompt.is_over:
            job = followed.feed.job
            self._jobs.end(job_id, (job.seq, job.entry_id))
            self._unfollow(followed)

    def _scopes_of(self, job: Job) -> list[Scope]:
        return [scope for scope in self._by_scope if scope in (None, job.user)]

    def _unfollow(self, followed: _Followed) -> None:
        job_id = followed.feed.job.job_id
        if self._followed.pop(job_id, None) is not None:
            if followed.listen is not None:
                followed.feed.listeners.remove(followed.listen)
            self._feeds.release(job_id)

    def _tell_status(self, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            members = self._by_scope.get(scope)
            if members:
                _put(members, [status(self._jobs.count(scope))])


def _put(members: Iterable[Member], frames: Iterable[Frame]) -> None:
    told = list(frames)
    for member in members:
        for frame in told:
            member.outbox.put(frame)
