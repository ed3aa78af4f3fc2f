"""Try again with back-off and the same event id: a write may have happened."""

from __future__ import annotations

from everfold.streams.errors.base import EverfoldError
from everfold.streams.errors.misconfigured import (
    NoServer,
    ServerInCluster,
    ServerNotTrusted,
    ServerRefusesAccess,
)


class Unavailable(EverfoldError):
    """The server cannot answer now. A write may have happened: repeat it with its event id."""


class ServerUnreachable(Unavailable):
    """No connection, a connection that broke, or no answer in time."""


class ServerLoading(Unavailable):
    """The server is up but still loads its data, or is busy with a script."""


class ServerReadOnly(Unavailable):
    """The server is a replica or refuses writes, as after a failover or a full disk."""


class TooFewReplicas(Unavailable):
    """Fewer replicas than were asked for have a write in time.

    It stands on the primary: everybody sees it and a runner may act on it, and only a failover
    could lose it. A repeat with the same id changes nothing and waits for the replicas again.
    """

    def __init__(self, had: int, asked: int, within_s: float) -> None:
        super().__init__(
            f"{had} of the {asked} replicas that were asked for have it within {within_s:g} s: it "
            "is done, but a failover now could lose it; repeat it, or bring the replicas back"
        )
        self.had, self.asked, self.within_s = had, asked, within_s


class SlotMoved(Unavailable):
    """Keys are on their way to another node of the cluster, or have just come there."""


class ArchiveUnavailable(Unavailable):
    """The archive's store cannot be read or written now."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the archive {url} cannot be reached: {why}")
        self.url, self.why = url, why


class PartitionsUnavailable(Unavailable):
    """Some partitions do not answer now; the others do. `partitions` are their numbers."""

    def __init__(self, partitions: tuple[int, ...], why: str) -> None:
        named = f"partition{'s' if len(partitions) > 1 else ''} {', '.join(map(str, partitions))}"
        super().__init__(f"no answer from {named}: {why}")
        self.partitions, self.why = partitions, why


class ServerOutOfMemory(Unavailable):
    """The server's maxmemory is reached and it refuses writes."""


class ServerError(Unavailable):
    """The server answered with an error that Everfold has no name for."""


class AssetsUnavailable(Unavailable):
    """The store of assets cannot be read or written now; a full disk is one reason."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the store of assets {url} cannot be used: {why}")
        self.url, self.why = url, why


OUTAGES = (Unavailable, ServerRefusesAccess, ServerNotTrusted, ServerInCluster, NoServer)
"""What a process that has worked before waits out: nothing of it is the fault of a job."""
