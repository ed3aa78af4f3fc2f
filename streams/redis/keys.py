"""Every key and channel of a namespace, each with its type. No other file spells a key.

All keys of a partition share its hash tag, so that one script may touch them all, on one server and
on Redis Cluster alike. On one server tags are `{namespace:partition}`, and scripts reach the keys
of the namespace, too: the shared layout. On a cluster each partition has a tag of its own part of
the slots (nodes/tags.py), and there what scripts need of the namespace, too: the spread layout.
"""

from __future__ import annotations

from zlib import crc32

from msgspec import Struct

from everfold.streams.errors import InvalidName
from everfold.streams.redis.partition_keys import (
    AssetKeys,
    JobsKeys,
    StatesKeys,
    SubscriptionKeys,
)

PRIORITIES = ("high", "normal", "low")

PROJECTOR_GROUP = "projector"
"""Consumer group on the log that feeds the projection."""

RUNNERS_GROUP = "runners"
"""Consumer group on each dispatch stream; its pending entries are the leases."""

RELEASED = "released"
"""Consumer to which the dispatch entries of released jobs belong until a runner claims them."""


def connection_name(runner: str) -> str:
    """Return the name that CLIENT LIST shows for a runner's connections."""
    return f"everfold:{runner}"


class Keyspace(Struct, frozen=True):
    """The keys of one namespace. Each method's docstring begins with the type of its key."""

    namespace: str
    partitions: int
    tags: tuple[str, ...] = ()
    """Of the partitions of a spread namespace, as `meta` has them; empty for a shared one."""

    @property
    def is_spread(self) -> bool:
        """Whether each partition has its own part of the slots of a cluster."""
        return bool(self.tags)

    def partition_of(self, job_id: str) -> int:
        """Return a job's partition: CRC-32 of its id as UTF-8. Raises InvalidName for no text."""
        try:
            return crc32(job_id.encode()) % self.partitions
        except (AttributeError, UnicodeError) as error:
            raise InvalidName("job id", job_id, "it must be a text") from error

    def tag(self, partition: int) -> str:
        """Return the hash tag with which all keys of a partition begin."""
        return f"{{{self.tags[partition] if self.tags else f'{self.namespace}:{partition}'}}}"

    @property
    def root(self) -> str:
        """What the keys of the namespace itself begin with."""
        return f"{{{self.namespace}}}" if self.tags else self.namespace

    def root_of(self, partition: int) -> str:
        """What the keys begin with that scripts of a partition use beside its own: the namespace,
        or the partition where it has its own of them."""
        return self.tag(partition) if self.tags else self.namespace

    def meta(self) -> str:
        """HASH: partitions, schema version, levels, generation id, run id of its first server."""
        return f"{self.root}:meta"

    def runners(self) -> str:
        """HASH: runner name -> its registry entry, as JSON; see streams/leases/registry.py."""
        return f"{self.root}:runners"

    def processes(self) -> str:
        """HASH: projector, consumer or producer -> what it can read, when it was seen, as JSON."""
        return f"{self.root}:processes"

    def backends(self) -> str:
        """HASH: address and server -> when last reached, as JSON; see leases/backends.py."""
        return f"{self.root}:backends"

    def object_info(self, content_hash: str) -> str:
        """STRING with a TTL: what a server has, packed; see runner/capabilities."""
        return f"{self.root}:object_info:{content_hash}"

    def node_costs(self) -> str:
        """HASH with a TTL: what nodes took in earlier runs, as JSON; see runner/costs."""
        return f"{self.root}:node_costs"

    def run_times(self) -> str:
        """HASH: queue -> how long its jobs run, as JSON; see projector/folding/run_times.py."""
        return f"{self.root}:run_times"

    def asset_sweep(self, place: str) -> str:
        """STRING with a TTL: the runner that has swept a store of assets lately."""
        return f"{self.root}:asset_sweep:{place}"

    def retention(self) -> str:
        """HASH: owner, until_ms (its lease); what it keeps, and what it did last, as JSON."""
        return f"{self.root}:retention"

    def retired(self) -> str:
        """HASH: backend -> who took it out of service, as JSON."""
        return f"{self.root}:retired"

    def abandoned(self) -> str:
        """HASH: prompt id -> a prompt to be stopped when its backend is seen again, as JSON."""
        return f"{self.root}:abandoned"

    def given_up(self) -> str:
        """HASH: job -> the attempt that an operator gave up, as JSON."""
        return f"{self.root}:given_up"

    def drains(self) -> str:
        """HASH: runner -> who asked it to drain, as JSON; see leases/drains.py."""
        return f"{self.root}:drains"

    def audit(self) -> str:
        """STREAM: what operators did and who, the newest acts; see leases/acts.py."""
        return f"{self.root}:audit"

    def projectors(self, name: str) -> str:
        """ZSET: processes that share a projection or subscription, by last heartbeat, Unix ms."""
        return f"{self.root}:projectors:{name}"

    def subscriptions(self) -> str:
        """HASH: subscription -> what it is about, as JSON."""
        return f"{self.root}:subscriptions"

    def lost_writes(self) -> str:
        """HASH: job -> what the server lost of it, as JSON; see appending/memory."""
        return f"{self.root}:rewound"

    def servers(self) -> str:
        """HASH: run id of a primary -> since when, what it lacks; see redis/server_watch.py."""
        return f"{self.root}:servers"

    def limits(self) -> str:
        """HASH: "running user ada", "share user ada" ... -> a number; see queues/limits.py."""
        return f"{self.root}:limits"

    def limits_at(self, partition: int) -> str:
        """HASH: the limits as scripts of a partition read them: a copy in the spread layout."""
        return f"{self.root_of(partition)}:limits"

    def running(self, partition: int, scope: str, name: str) -> str:
        """SET: heads of the jobs of a queue, user or kind (`scope`) that runners hold; in the
        shared layout those of all partitions."""
        return f"{self.root_of(partition)}:running:{scope}:{name}"

    def all_running(self, scope: str, name: str) -> list[str]:
        """Return the sets that together hold all of these jobs."""
        return [self.running(p, scope, name) for p in range(self.partitions if self.tags else 1)]

    def reserved(self, what: str) -> str:
        """ZSET: who is about to add to what has a limit, by until when, Unix ms; see limits.py."""
        return f"{self.root}:reserved:{what}"

    def order(self, queue: str, priority: str) -> str:
        """ZSET: user -> place of that user's next job, and how far the queue has come."""
        return f"{self.root}:order:{queue}:{priority}"

    def order_at(self, partition: int, queue: str, priority: str) -> str:
        """ZSET: the order as scripts of a partition know it: its own in the spread layout."""
        return f"{self.root_of(partition)}:order:{queue}:{priority}"

    def user_keys(self) -> str:
        """HASH: digest of a user -> the user's sealing key, wrapped, as JSON; see sealing/."""
        return f"{self.root}:user_keys"

    def gateway_keys(self) -> str:
        """HASH: key id -> a key of the gateway, without its text, as JSON; see web/access."""
        return f"{self.root}:gateway_keys"

    def gateway_key_uses(self) -> str:
        """HASH: key id -> about when a key was used last, Unix ms."""
        return f"{self.root}:gateway_key_uses"

    def gateway_session(self, digest: str) -> str:
        """STRING with a TTL: the id of the key with which a browser has logged in."""
        return f"{self.root}:gateway_session:{digest}"

    def erasures(self) -> str:
        """HASH: digest of a user that is being erased -> stored files to be removed, as JSON."""
        return f"{self.root}:erasures"

    def hidden(self, user: str) -> str:
        """ZSET with a TTL: jobs that a user deleted from a history, by time; `*`: all before."""
        return f"{self.root}:hidden:{user}"

    def paused(self) -> str:
        """HASH: queue of which no runner takes jobs -> who paused it, as JSON."""
        return f"{self.root}:paused"

    def paused_at(self, partition: int) -> str:
        """HASH: the paused queues as scripts of a partition read them: a copy if it is spread."""
        return f"{self.root_of(partition)}:paused"

    def listening(self) -> str:
        """STRING with a TTL: while it is there, a gateway listens to backends; see live/."""
        return f"{self.root}:listening"

    def wake(self) -> str:
        """CHANNEL: hints: `dispatch`, `release`, `cancel`, `drain`, `look`, `listen`."""
        return f"{self.root}:wake"

    def wake_at(self, partition: int) -> str:
        """CHANNEL: the hints about a partition and its jobs; one for all in the shared layout."""
        return f"{self.root_of(partition)}:wake"

    def log(self, partition: int) -> str:
        """STREAM: the events of the partition's jobs, in order."""
        return f"{self.tag(partition)}:log"

    def live(self, partition: int) -> str:
        """STREAM: what backends say of the jobs that run, the newest messages; see live/."""
        return f"{self.tag(partition)}:live"

    def preview(self, job_id: str) -> str:
        """STRING with a TTL: the newest preview of a job that runs."""
        return f"{self.tag(self.partition_of(job_id))}:preview:{job_id}"

    def readers(self, partition: int) -> str:
        """HASH: registered reader -> its position and until when it counts, as JSON."""
        return f"{self.tag(partition)}:readers"

    def trimmed(self, partition: int) -> str:
        """HASH: up to which entry the log was trimmed, and how many events that were."""
        return f"{self.tag(partition)}:trimmed"

    def head(self, job_id: str, partition: int | None = None) -> str:
        """HASH: the write-side record of a job: seq, epoch, phase, recent event ids ...

        `partition` is named where it may be no job's: an entry of no job has its id for a name.
        """
        at = self.partition_of(job_id) if partition is None else partition
        return f"{self.tag(at)}:head:{job_id}"

    def dispatch(self, partition: int, queue: str, priority: str) -> str:
        """STREAM: one entry per job that a runner holds; its pending entry is the lease."""
        return f"{self.tag(partition)}:dispatch:{queue}:{priority}"

    def waiting(self, partition: int, queue: str) -> str:
        """ZSET: the jobs of a queue that wait for a runner, by place."""
        return f"{self.tag(partition)}:waiting:{queue}"

    def lines(self, partition: int, queue: str) -> str:
        """ZSET: line -> place of its first job."""
        return f"{self.tag(partition)}:lines:{queue}"

    def line(self, partition: int, queue: str, line: str) -> str:
        """ZSET: a line's waiting jobs by place: of the same needs, and user or kind if limited."""
        return f"{self.tag(partition)}:line:{queue}:{line}"

    def queues(self, partition: int) -> str:
        """SET: the names of queues that ever held a job of this partition."""
        return f"{self.tag(partition)}:queues"

    def later(self, partition: int) -> str:
        """ZSET: open jobs that wait for a time, by that time in Unix milliseconds."""
        return f"{self.tag(partition)}:later"

    def blocked(self, partition: int) -> str:
        """ZSET: open jobs that some runners cannot read, by until when they wait, Unix ms."""
        return f"{self.tag(partition)}:blocked"

    def deadlines(self, partition: int) -> str:
        """ZSET: jobs that must have started by a time, by that time in Unix milliseconds."""
        return f"{self.tag(partition)}:deadlines"

    def clock(self, partition: int) -> str:
        """HASH: when the server's clock was looked at, and how far it was set in all."""
        return f"{self.tag(partition)}:clock"

    def unmoved(self, partition: int, name: str) -> str:
        """ZSET: what `later`, `deadlines` or `blocked` held before a step of the clock."""
        return f"{self.tag(partition)}:unmoved:{name}"

    def workflow(self, partition: int, sha256: str) -> str:
        """STRING: a submitted graph, with its extra_data if it has any, stored once by content."""
        return f"{self.tag(partition)}:workflow:{sha256}"

    def partner_keys(self, job_id: str, submit_id: str) -> str:
        """STRING with a TTL: keys for partner nodes, as JSON; of one submit, by its event's id."""
        return f"{self.tag(self.partition_of(job_id))}:partner_keys:{job_id}:{submit_id}"

    def workflows(self, partition: int) -> str:
        """HASH: sha256 -> number of open jobs that need the graph."""
        return f"{self.tag(partition)}:workflows"

    def graph_assets(self, partition: int) -> str:
        """HASH: sha256 of a stored graph -> the assets that it names, as JSON; see assets/."""
        return f"{self.tag(partition)}:graph_assets"

    def assets(self, partition: int) -> AssetKeys:
        """Return the keys of the assets of some owners."""
        return AssetKeys(f"{self.tag(partition)}:assets")

    def user_files(self, user: str) -> str:
        """HASH: path -> a small file that a user keeps here, whole; see user_files/."""
        return f"{self.tag(self.partition_of(user))}:user_files:{user}"

    def user_file_times(self, user: str) -> str:
        """HASH: path of such a file -> its bytes, when it was made and changed, in Unix ms."""
        return f"{self.tag(self.partition_of(user))}:user_file_times:{user}"

    def user_settings(self, user: str) -> str:
        """HASH: setting of a user -> its value, as JSON."""
        return f"{self.tag(self.partition_of(user))}:user_settings:{user}"

    def skipped(self, partition: int) -> str:
        """HASH: entry id of an unreadable event -> who decided to skip it, as JSON."""
        return f"{self.tag(partition)}:skipped"

    def jobs(self, partition: int, *, rebuilding: bool = False) -> JobsKeys:
        """Return the keys of the projection of jobs: the live one, or the one being rebuilt."""
        return JobsKeys(self.tag(partition) + ":rebuilt" * rebuilding)

    def states(self, partition: int, name: str, *, rebuilding: bool = False) -> StatesKeys:
        """Return the keys of a custom projection: the live one, or the one being rebuilt."""
        root = self.tag(partition) + ":rebuild" * rebuilding
        return StatesKeys(f"{root}:projection:{name}")

    def subscription(self, partition: int, name: str) -> SubscriptionKeys:
        """Return the keys of a subscription."""
        return SubscriptionKeys(f"{self.tag(partition)}:subscription:{name}")

    # The live projection of jobs, which other programs read.

    def job(self, job_id: str) -> str:
        return self.jobs(self.partition_of(job_id)).job(job_id)

    def active(self, partition: int) -> str:
        return self.jobs(partition).active()

    def ended(self, partition: int) -> str:
        return self.jobs(partition).ended()

    def parked(self, partition: int) -> str:
        return self.jobs(partition).parked()

    def projector(self, partition: int) -> str:
        return self.jobs(partition).projector()
