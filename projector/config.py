"""The settings of a projector: how long states live, and how long a partition's lease lasts."""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.events.ranges import check_config


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
    cached_jobs: int = 20_000
    """Open jobs cached per partition, so that folding them on needs no read."""

    def __post_init__(self) -> None:
        check_config(self, self.__struct_fields__)

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
