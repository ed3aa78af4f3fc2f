"""What can go wrong, and what the caller may do about it.

    EverfoldError
    ├── Refused          change the request; nothing was written
    │       InvalidWorkflow, TooLarge, EventTooLarge, InvalidName, IdempotencyConflict,
    │       EventIdForgotten, EventTooNew, ClientShared, NeedsAsyncio
    ├── Unknown          check the name; nothing was written
    │       JobUnknown, JobNotParked, JobNotHeld, SubscriptionUnknown, BackendUnknown, RunnerUnknown
    ├── Conflict         read again, decide again; nothing was written
    │       WrongExpectedSequence, JobClosed, JobLeased, RebuildTaken
    ├── LeaseLost        stop this work, another runner has it; nothing was written
    │       Fenced
    ├── Misconfigured    a person must change a setting
    │       ServerTooOld, ServerRefusesAccess, AccessMissing, ServerNotTrusted, ServerInCluster,
    │       PartitionMismatch, NamespaceTooNew, ArchiveForeign, NoServer, EngineMismatch,
    │       BackendUrlInvalid, RunnerNameTaken, NamespaceMadeAnew
    ├── CorruptLog       park the job; a person must look
    │       UndecodableEvent, ArchiveDamaged, Trimmed, WentBack, BrokenChain, BrokenHead,
    │       WrongKeyType
    └── Unavailable      retry with back-off and the same event id: a write may have happened
            ServerUnreachable, ServerLoading, ServerReadOnly, ArchiveUnavailable,
            ServerOutOfMemory, ServerError

Branches are what the caller does, leaves what happened; a leaf has its values as attributes."""

from __future__ import annotations

from everfold.streams.border.values import instead, shown


class EverfoldError(Exception):
    """Anything that Everfold raises on purpose."""


class Refused(EverfoldError):
    """The request itself is wrong. Nothing was written."""


class InvalidWorkflow(Refused):
    """The workflow is not an API-format graph."""


class TooLarge(Refused):
    """A part of the request is over its limit."""

    def __init__(self, what: str, size: int, limit: int, unit: str = "bytes") -> None:
        super().__init__(f"{what} has {size:,} {unit}; the limit is {limit:,} {unit}")
        self.what, self.size, self.limit, self.unit = what, size, limit, unit


class EventTooLarge(Refused):
    """The event's JSON is over the limit, and it has no outputs that could be left out."""

    def __init__(self, kind: str, size: int, limit: int) -> None:
        super().__init__(f"this {kind} event has {size:,} bytes; the limit is {limit:,} bytes")
        self.kind, self.size, self.limit = kind, size, limit


class EventTooNew(Refused):
    """Programs that work on this namespace could not read the event."""

    def __init__(self, kind: str, needed: int, level: int) -> None:
        cannot = f"{kind} needs readers of level {needed}, and this namespace has some of {level}"
        super().__init__(f"{cannot}; upgrade them, then run `everfold upgrade --commit`")
        self.kind, self.needed, self.level = kind, needed, level


class InvalidName(Refused):
    """A name or an id has characters or a length that keys cannot carry."""

    def __init__(self, what: str, value: object, rule: str) -> None:
        super().__init__(f"{what} {shown(value)} is not usable: {rule}")
        self.what, self.value, self.rule = what, value, rule


class IdempotencyConflict(Refused):
    """The idempotency key belongs to a job with other arguments, which `what` names."""

    def __init__(self, key: str, job_id: str, what: str = "workflow") -> None:
        used = f"idempotency key {key!r} was already used for job {job_id} with another {what}"
        super().__init__(f"{used}; send the same again or choose a new key")
        self.key, self.job_id, self.what = key, job_id, what


class EventIdForgotten(Refused):
    """The event may have been appended before: its id is old, and the log was trimmed since."""

    def __init__(self, job_id: str, event_id: str) -> None:
        gone = f"the log no longer has the first events of job {job_id}"
        super().__init__(f"{gone}, among which event {event_id!r} may be; append it with a new id")
        self.job_id, self.event_id = job_id, event_id


class ClientShared(Refused):
    """The client was opened in another event loop, or in the process that this one is a fork of."""

    def __init__(self, opened_in: str, used_in: str) -> None:
        both = f"this client was opened in {opened_in} and is used in {used_in}"
        super().__init__(f"{both}; open a client of its own in each event loop and process")
        self.opened_in, self.used_in = opened_in, used_in


class NeedsAsyncio(Refused):
    """The caller runs under trio, or without an event loop."""

    def __init__(self) -> None:
        super().__init__("Everfold runs on asyncio only; use `asyncio.run`, or its anyio backend")


class Unknown(EverfoldError):
    """There is nothing of this name. Nothing was written."""


class JobUnknown(Unknown):
    """No job of this id was submitted to this namespace, or its retention has ended."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {shown(job_id)} here: not submitted, or no longer kept")
        self.job_id = job_id


class BackendUnknown(Unknown):
    """No runner has seen a backend of this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no backend {shown(name)}; {instead(name, known)}")
        self.name, self.known = name, known


class RunnerUnknown(Unknown):
    """No runner of this name is registered."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no runner {shown(name)}; {instead(name, known)}")
        self.name, self.known = name, known


class JobNotParked(Unknown):
    """The job is folded as it should be: there is nothing to retry or to skip."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {shown(job_id)} is not parked")
        self.job_id = job_id


class JobNotHeld(Unknown):
    """The subscription does not hold the job: there is nothing to retry or to skip."""

    def __init__(self, subscription: str, job_id: str) -> None:
        super().__init__(f"subscription {shown(subscription)} does not hold job {shown(job_id)}")
        self.subscription, self.job_id = subscription, job_id


class SubscriptionUnknown(Unknown):
    """No consumer of this name has ever run in this namespace, or it was removed."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        found = ", ".join(known) or "none"
        super().__init__(f"there is no subscription {shown(name)} here; there are: {found}")
        self.name, self.known = name, known


class Conflict(EverfoldError):
    """The job is not in the state that the caller expected. Nothing was written."""


class WrongExpectedSequence(Conflict):
    """Somebody else appended first."""

    def __init__(self, job_id: str, expected: int, actual: int) -> None:
        super().__init__(f"job {job_id} is at sequence {actual}, not at the expected {expected}")
        self.job_id, self.expected, self.actual = job_id, expected, actual


class JobClosed(Conflict):
    """The job has ended; its terminal event is its last one."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"job {job_id} has ended as {status}; nothing can follow a terminal event")
        self.job_id, self.status = job_id, status


class JobLeased(Conflict):
    """The append was meant for a job that nobody works on, but a runner has a lease of this one."""

    def __init__(self, job_id: str, owner: str) -> None:
        super().__init__(f"job {job_id} is leased to runner {owner!r}")
        self.job_id, self.owner = job_id, owner


class RebuildTaken(Conflict):
    """Another process rebuilds the same projection now. What both have done so far stays."""

    def __init__(self, projection: str) -> None:
        advice = "wait for its end, or end it and run the rebuild again: it goes on from there"
        super().__init__(f"another process rebuilds the projection {projection!r} now; {advice}")
        self.projection = projection


class LeaseLost(EverfoldError):
    """The caller's lease is over: stop this work, another runner has it or may have it."""


class Fenced(LeaseLost):
    """The job carries a newer epoch than the caller's. Nothing was written."""

    def __init__(self, job_id: str, epoch: int, current_epoch: int) -> None:
        super().__init__(f"lease {epoch} of job {job_id} is over; its epoch is {current_epoch}")
        self.job_id, self.epoch, self.current_epoch = job_id, epoch, current_epoch


class Misconfigured(EverfoldError):
    """A person must change a setting before this can work."""


class ServerTooOld(Misconfigured):
    """The server lacks a command that Everfold needs."""

    def __init__(self, server: str, missing: str) -> None:
        advice = "use Redis 7.0 or newer, or Valkey 8 or newer"
        super().__init__(f"{server} is too old for Everfold ({missing}); {advice}")
        self.server, self.missing = server, missing


class ServerRefusesAccess(Misconfigured):
    """Wrong password, user or permissions, or a command that the server does not offer."""


class AccessMissing(Misconfigured):
    """The server's user lacks rights that this kind of process needs; nothing was done."""

    def __init__(self, role: str, missing: list[str]) -> None:
        lacks = f"the Redis user may not do what a {role} needs: {', '.join(missing)}"
        super().__init__(f"{lacks}. Nothing was done; `everfold acl {role}` prints the rights")
        self.role, self.missing = role, missing


class ServerNotTrusted(Misconfigured):
    """The server's certificate cannot be trusted; nothing was sent."""


class ServerInCluster(Misconfigured):
    """The server is one node of a Redis Cluster, which Everfold does not support."""


class PartitionMismatch(Misconfigured):
    """The namespace was made with another number of partitions."""

    def __init__(self, namespace: str, asked: int, actual: int) -> None:
        made = f"namespace {namespace!r} was made with {actual} partitions, not {asked}"
        super().__init__(f"{made}; leave the number out, or choose another namespace")
        self.namespace, self.asked, self.actual = namespace, asked, actual


class NamespaceTooNew(Misconfigured):
    """The namespace was written by a newer Everfold."""

    def __init__(self, namespace: str, actual: int, known: int, what: str = "has schema") -> None:
        newer = f"namespace {namespace!r} {what} {actual}"
        super().__init__(f"{newer}, this Everfold knows up to {known}; upgrade Everfold")
        self.namespace, self.actual, self.known = namespace, actual, known


class NamespaceMadeAnew(Misconfigured):
    """The server lost the namespace, and another program made it anew before this one could."""


class RunnerNameTaken(Misconfigured):
    """Another runner that lives has the same name: they would share their leases."""

    def __init__(self, name: str, host: str, pid: int) -> None:
        other = f"runner {name!r} works already, on host {host!r} as process {pid}"
        super().__init__(f"{other}; give each process start a name of its own (`runner_name()`)")
        self.name, self.host, self.pid = name, host, pid


class ArchiveForeign(Misconfigured):
    """The archive holds another namespace, or this one from before it was made anew."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(f"the archive {url} holds another log ({namespace!r}); use another folder")
        self.url, self.namespace = url, namespace


class NoServer(Misconfigured):
    """No Redis or Valkey server was named, found or startable."""


class EngineMismatch(Misconfigured):
    """The data folder was written by a server whose files the servers found here cannot read."""

    def __init__(self, folder: str, recorded: str, found: str) -> None:
        other = f"the data in {folder} was written by {recorded}, whose files no other engine reads"
        advice = "install it again, name one with REDIS_URL, or choose another EVERFOLD_DATA"
        super().__init__(f"{other}; found here: {found or 'none'}; {advice}")
        self.folder, self.recorded, self.found = folder, recorded, found


class BackendUrlInvalid(Misconfigured):
    """The URL of a backend cannot be used."""

    def __init__(self, url: str, why: str) -> None:
        advice = "write it like http://127.0.0.1:8188"
        super().__init__(f"{url!r} is not the URL of a ComfyUI server: {why}; {advice}")
        self.url, self.why = url, why


class CorruptLog(EverfoldError):
    """The log holds something that cannot be read. The job is parked; a person must look."""


class UndecodableEvent(CorruptLog):
    """An event whose type is unknown here, or whose JSON does not fit its type."""

    def __init__(self, job_id: str, seq: int, entry_id: str, why: str) -> None:
        super().__init__(f"event {seq} of job {job_id} (entry {entry_id}) cannot be read: {why}")
        self.job_id, self.seq, self.entry_id, self.why = job_id, seq, entry_id, why


class ArchiveDamaged(CorruptLog):
    """A file of the archive is not what was written. Nothing is read past it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the archive's file {name} is damaged: {why}")
        self.name, self.why = name, why


class Trimmed(CorruptLog):
    """Events that were asked for are no longer in the log, and in no archive that is known."""

    def __init__(self, partition: int, after: str, to: str) -> None:
        gone = f"partition {partition}: the events after {after} up to {to} were trimmed"
        super().__init__(f"{gone} from the log; name the archive that has them (--archive)")
        self.partition, self.after, self.to = partition, after, to


class WentBack(CorruptLog):
    """An event that was read is gone and was not trimmed: lost writes, or a new namespace."""

    def __init__(self, partition: int, cursor: str) -> None:
        gone = f"partition {partition}: entry {cursor} that was read before is gone"
        advice = "compare what you have with the jobs as they are now, and use a new cursor"
        super().__init__(f"{gone}: the log went back in time; {advice}")
        self.partition, self.cursor = partition, cursor


class BrokenChain(CorruptLog):
    """A job's events do not follow one another: some are missing from the log."""

    def __init__(self, job_id: str, expected: int, found: int) -> None:
        super().__init__(f"job {job_id} should go on with event {expected}; the log has {found}")
        self.job_id, self.expected, self.found = job_id, expected, found


class BrokenHead(CorruptLog):
    """The keys that guard the writes of a job are not as Everfold wrote them."""

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(f"job {job_id} cannot be written to: {why}")
        self.job_id, self.why = job_id, why


class WrongKeyType(CorruptLog):
    """A key of the namespace holds another type or shape than Everfold writes there."""


class Unavailable(EverfoldError):
    """The server cannot answer now. A write may have happened: repeat it with its event id."""


class ServerUnreachable(Unavailable):
    """No connection, a connection that broke, or no answer in time."""


class ServerLoading(Unavailable):
    """The server is up but still loads its data, or is busy with a script."""


class ServerReadOnly(Unavailable):
    """The server is a replica or refuses writes, as after a failover or a full disk."""


class ArchiveUnavailable(Unavailable):
    """The archive's store cannot be read or written now."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the archive {url} cannot be reached: {why}")
        self.url, self.why = url, why


class ServerOutOfMemory(Unavailable):
    """The server's maxmemory is reached and it refuses writes."""


class ServerError(Unavailable):
    """The server answered with an error that Everfold has no name for."""


OUTAGES = (Unavailable, ServerRefusesAccess, ServerNotTrusted, ServerInCluster, NoServer)
"""What a process that has worked before waits out: nothing of it is the fault of a job."""
