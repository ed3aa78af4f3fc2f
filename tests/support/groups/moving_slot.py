"""A slot of a cluster that is on its way to another node, key by key, while a script is called.

Rule: a call is repeated in exactly the state in which it was made first; only where its keys are
differs.
"""

from __future__ import annotations

from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.support.groups.cluster import Cluster
from tests.support.servers import client
from tests.support.trouble.script_faults import Call, Contents, contents, send


class MovingSlot:
    """The slot of a key, and the two nodes between which it is moved."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self.slot = key_slot(key.encode())
        self.source = cluster.primary_of_slot(self.slot)
        self.target = next(node for node in cluster.primaries() if node is not self.source)
        self._ids = [node.text("CLUSTER", "MYID") for node in (self.source, self.target)]
        self.at_source, self._at_target = client(self.source.url), client(self.target.url)

    def close(self) -> None:
        for redis in (self.at_source, self._at_target):
            redis.close()

    def restore(self, call: Call) -> None:
        """Put all of the call's keys where they were, and let the slot rest at its node."""
        for node in (self.source, self.target):
            node.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")
        for redis in (self.at_source, self._at_target):
            send(redis, "FLUSHALL", "SYNC")
        for key, (until_ms, dumped) in call.before.items():
            send(self.at_source, "RESTORE", key, max(0, until_ms), dumped, "ABSTTL")

    def begin(self, *away: bytes) -> None:
        """Begin to move the slot, of which these keys have gone already."""
        source_id, target_id = self._ids
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", source_id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", target_id)
        if away:
            place = self.target.place
            send(self.at_source, "MIGRATE", place.host, place.port, "", 0, 5000, "KEYS", *away)

    def run(self, call: Call) -> object:
        """Send the call to the node that has the slot; return its reply, or its error."""
        try:
            return send(
                self.at_source, "EVAL", call.source, len(call.keys), *call.keys, *call.arguments
            )
        except RedisError as error:
            return error

    def touched(self, call: Call) -> set[bytes]:
        """Return the keys that the call names in commands, when nothing moves."""
        self.restore(call)
        with self.at_source.monitor() as monitor:  # type: ignore[no-untyped-call]
            reply = self.run(call)
            assert not isinstance(reply, RedisError), reply
            self.at_source.echo("end")
            keys: set[bytes] = set()
            while not (line := monitor.next_command())["command"].endswith("end"):
                if line["client_type"] == "lua":
                    keys |= {word.encode() for word in line["command"].split()[1:]}
        return keys

    def left(self) -> Contents:
        """Let the slot rest, and return what the node has from which it was moved."""
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")
        return contents(self.at_source)
