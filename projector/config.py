"""The settings of a projector: how long states live, and how long a partition's lease lasts."""

from __future__ import annotations

from msgspec import Struct

from everfold.projector.job.index_names import INDEX_VERSION
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.checks import check_list, check_name
from everfold.streams.events.ranges import check_config

INDEX_METADATA_LIMIT = 8
"""Names of metadata that are indexed at most: each costs an entry of every job."""


class ProjectorConfig(Struct, frozen=True, kw_only=True):
    """Raises Misconfigured for a number that makes no sense."""

    job_ttl_s: float = 7200.0
    """Seconds that a state is kept after its job's last event, above 0; for an open job up to a
    hundredth longer. The state of an open job that has expired is folded again when it is read."""
    terminal_ttl_s: float | None = None
    """The same for a job that has ended. None: like `job_ttl_s`. 0: deleted when the job ends."""
    own_for_s: float = 5.0
    """Seconds that a partition's lease lasts without a renewal."""
    renew_every_s: float = 1.0
    """Seconds between renewals, and between looks for partitions to acquire."""
    index_metadata: tuple[str, ...] = ()
    """Names in the jobs' metadata by whose values lists find jobs without reading others, at most
    8. Another setting needs a rebuild, which makes the index for the jobs that are there."""
    cached_jobs: int = 20_000
    """Open jobs cached per partition, so that folding them on needs no read."""

    def __post_init__(self) -> None:
        numbers = [name for name in self.__struct_fields__ if name != "index_metadata"]
        check_config(self, numbers)
        try:
            for key in (keys := check_list("index_metadata", self.index_metadata)):
                check_name("index_metadata", key)
        except InvalidName as error:
            raise Misconfigured(str(error)) from error
        if len(keys) > INDEX_METADATA_LIMIT:
            most = f"an index of {len(keys)} names; {INDEX_METADATA_LIMIT} are the most"
            raise Misconfigured(f"index_metadata asks for {most}")

    @property
    def indexes(self) -> str:
        """The indexes that commits write, as words: their version, and the names of metadata."""
        return " ".join((INDEX_VERSION, *sorted(set(self.index_metadata))))

    @property
    def closed_ttl_ms(self) -> int:
        """How long the state of a job that has ended is kept after its end."""
        ttl_s = self.job_ttl_s if self.terminal_ttl_s is None else self.terminal_ttl_s
        return int(ttl_s * 1000)

    @property
    def open_step_ms(self) -> int:
        """How much longer an open job's state may be kept: a hundredth, a minute at most."""
        return max(1, min(60_000, self.open_ttl_ms // 100))

    @property
    def open_ttl_ms(self) -> int:
        """How long the state of an open job is kept after its last event, at least."""
        return int(self.job_ttl_s * 1000)
